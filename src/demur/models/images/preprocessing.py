"""From a picture's bytes to what a vision model reads: opened, resized, cropped and normalised as its file says.

The settings are those of ``preprocessor_config.json`` as CLIP's, SigLIP's and DINO's exports have it. Needs Pillow.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ModelError, PictureError, require
from demur.prompts.pictures import LARGEST_BYTES
from demur.records import FloatArray

LARGEST_PIXELS = 50_000_000  # of a picture, width times height; a small file can hold many more
LONGEST_SIDE = 100  # times the shorter one; a thin picture, scaled by its shorter side, has more pixels than memory
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
BICUBIC = 3  # Pillow's number of the filter, where the file names none


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to a picture; sizes in pixels."""

    shortest: int | None  # length of its shorter side after resizing; None: `resized` says both
    resized: tuple[int, int] | None  # height and width after resizing
    crop: tuple[int, int] | None  # height and width that are cut out of the middle
    filter: int  # Pillow's number of the resampling filter
    scale: float  # of the bytes 0..255
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def read(cls, path: Path) -> Preprocessing:
        """Of a preprocessor_config.json. Raises ModelError for one that cannot be read, or without a size."""
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            shortest, resized = _size(given.get("size")) if given.get("do_resize", True) else (None, None)
            normal = given.get("do_normalize", True)
            return cls(
                shortest,
                resized,
                _size(given.get("crop_size"), square=True)[1] if given.get("do_center_crop", False) else None,
                int(given.get("resample", BICUBIC)),
                float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else 1.0,
                _three(given["image_mean"]) if normal else (0.0, 0.0, 0.0),
                _three(given["image_std"]) if normal else (1.0, 1.0, 1.0),
            )
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}); it comes with the vision model") from None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{path}: not the preprocessor_config.json of a vision model ({type(error).__name__}: {error})"
            ) from None

    def pixels(self, picture: Any) -> FloatArray:
        """(3, height, width) of an opened picture, as the model reads it."""
        width, height = picture.size
        if self.shortest is not None:
            short, long = self.shortest, int(self.shortest * max(width, height) / min(width, height))
            picture = picture.resize((short, long) if width <= height else (long, short), self.filter)
        elif self.resized is not None:
            picture = picture.resize(self.resized[::-1], self.filter)
        values = np.asarray(picture, dtype=np.float32)
        if self.crop is not None:
            values = _middle(values, *self.crop)
        values = (values * self.scale - np.array(self.mean)) / np.array(self.std)
        return np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)


def _size(given: Any, *, square: bool = False) -> tuple[int | None, tuple[int, int] | None]:
    """(shortest side, (height, width)) of a size: a number, {shortest_edge}, or {height, width}."""
    if isinstance(given, Mapping) and "shortest_edge" in given:
        return int(given["shortest_edge"]), None
    if isinstance(given, Mapping):
        return None, (int(given["height"]), int(given["width"]))
    return (None, (int(given), int(given))) if square else (int(given), None)


def _three(given: Any) -> tuple[float, float, float]:
    red, green, blue = (float(one) for one in given)
    return red, green, blue


def _middle(values: FloatArray, height: int, width: int) -> FloatArray:
    """The middle of (rows, columns, 3), black around it where it is smaller."""
    found = np.zeros((height, width, 3), dtype=np.float32)
    rows, columns = min(height, values.shape[0]), min(width, values.shape[1])
    top, left = (values.shape[0] - rows) // 2, (values.shape[1] - columns) // 2
    at, beside = (height - rows) // 2, (width - columns) // 2
    found[at : at + rows, beside : beside + columns] = values[top : top + rows, left : left + columns]
    return found


def bytes_of(address: str) -> bytes:
    """The bytes of a data URL. Raises PictureError for one that is broken or too large, and for any other address."""
    if not address.startswith("data:"):
        raise PictureError(f"the picture {address[:80]!r} is not fetched; give the file itself, or a data URL")
    head, comma, data = address.partition(",")
    if not comma or not head.endswith(";base64"):
        raise PictureError(f"the picture {address[:40]!r} is not a base64 data URL")
    if len(data) * 3 // 4 > LARGEST_BYTES + 3:
        raise PictureError(
            f"a picture has {len(data) * 3 // 4 / 2**20:.0f} MiB, at most {LARGEST_BYTES >> 20} are looked at; make it "
            "smaller"
        )
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"the picture {address[:40]!r} is not base64 ({error})") from None


def opened_picture(data: bytes) -> Any:
    """A Pillow image in RGB of a picture's bytes, its first frame. Raises PictureError for bytes that are not a
    picture, too many pixels, and a picture that is too thin.
    """
    image = require("PIL.Image", extra="images", purpose="looking at pictures")
    try:
        opened = image.open(io.BytesIO(data), formats=FORMATS)
        width, height = opened.size
        if width * height <= LARGEST_PIXELS and max(width, height) <= LONGEST_SIDE * min(width, height):
            return opened.convert("RGB")
    except Exception as error:  # decoders raise errors of many kinds; each means that nobody can look at it
        raise PictureError(f"a picture cannot be opened ({type(error).__name__}: {str(error)[:80]})") from None
    raise PictureError(
        f"a picture has {width} x {height} pixels; at most {LARGEST_PIXELS:,} in all are looked at, and a longer side "
        f"of {LONGEST_SIDE} times the shorter one"
    )
