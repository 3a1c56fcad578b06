"""A vision model in ONNX that makes a vector of a picture: CLIP's vision half, or another of its layout.

A folder holds the model (one of `FILES`, there or below ``onnx/``) and ``preprocessor_config.json``; a repository of
the hub such as Xenova/clip-vit-base-patch32 is laid out so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ModelError, require
from demur.models.images.preprocessing import Preprocessing
from demur.records import FloatArray

SETTINGS = "preprocessor_config.json"
FILES = ("vision_model_quantized.onnx", "vision_model.onnx", "model_quantized.onnx", "model.onnx")  # the first is taken
POOLED = ("image_embeds", "pooler_output")  # outputs that are a picture's vector; else the mean over its patches


class ImageEncoder:
    """A vision model, one thread; unit-length rows. Raises ModelError for files that are not a vision model."""

    def __init__(self, model: Path, settings: Path, named: str = "") -> None:
        """``named``: its repository of the hub."""
        import onnxruntime

        require("PIL.Image", extra="images", purpose="looking at pictures")
        self.model, self.settings, self.named = model, settings, named
        self.preprocessing = Preprocessing.read(settings)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena keeps the largest picture's memory for good
        try:
            content = hashlib.sha256(model.read_bytes() + settings.read_bytes()).hexdigest()
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises bare Exceptions of its own
            raise ModelError(f"{model}: the image encoder cannot be opened: {str(error)[:160]}") from error
        self.identity = f"images {content[:16]}"
        given = [one for one in self._session.get_inputs() if len(one.shape) == 4]
        if len(given) != 1 or len(self._session.get_inputs()) != 1 or given[0].type != "tensor(float)":
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in self._session.get_inputs())
            raise ModelError(
                f"{model}: it reads {found}, not one picture of float (n, 3, height, width); name the vision half"
            )
        self._input = given[0].name
        names = [one.name for one in self._session.get_outputs()]
        self._output = next((name for name in POOLED if name in names), names[0])
        self.dimension = len(self._embed(np.zeros((1, *self._shape(given[0].shape)), dtype=np.float32)))

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is opened again; a repository of the hub may lie elsewhere on another machine."""
        return _opened_again, (self.named, self.model.absolute(), self.settings.absolute(), self.identity)

    def _shape(self, declared: Sequence[Any]) -> tuple[int, int, int]:
        """Channels, height and width of what it reads; those of its settings where the model leaves them open."""
        cut = self.preprocessing.crop or self.preprocessing.resized or (self.preprocessing.shortest or 224,) * 2
        height, width = (size if isinstance(size, int) else own for size, own in zip(declared[2:], cut, strict=True))
        return 3, height, width

    def vector(self, picture: Any) -> FloatArray:
        """(d,) of a Pillow picture in RGB, of length 1. Raises ModelError for a size that the model does not take."""
        return self._embed(self.preprocessing.pixels(picture)[None])

    def _embed(self, pixels: FloatArray) -> FloatArray:
        try:
            found = np.asarray(self._session.run([self._output], {self._input: pixels})[0], dtype=np.float32)
        except Exception as error:  # as above: a size that the model does not take
            raise ModelError(
                f"{self.model}: it does not take pictures of {pixels.shape[2]} x {pixels.shape[3]} pixels, to which "
                f"{SETTINGS} brings them: {str(error)[:120]}"
            ) from error
        row = found[0] if found.ndim == 2 else found[0].reshape(-1, found.shape[-1]).mean(axis=0)
        return np.asarray(row / (np.linalg.norm(row) or 1.0), dtype=np.float32)


def open_image_encoder(named: str) -> ImageEncoder:
    """The image encoder of a file, a folder, or a repository of the hub ``ORG/NAME``.

    Raises ModelError where it is not there, MissingExtraError without Pillow or the hub's client.
    """
    path = Path(named)
    if path.is_file():
        beside = (path.parent / SETTINGS, path.parent.parent / SETTINGS)
        return ImageEncoder(path, next((one for one in beside if one.is_file()), beside[0]))
    if path.is_dir():
        tried = [folder / name for folder in (path, path / "onnx") for name in FILES]
        model = next((one for one in tried if one.is_file()), None)
        if model is None:
            raise ModelError(f"{path}: no image encoder here; it holds {' or '.join(FILES[:2])}, also below onnx/")
        return ImageEncoder(model, path / SETTINGS)
    if named.count("/") != 1 or named.startswith((".", "/", "~")) or named.endswith(".onnx"):
        raise ModelError(
            f"the image encoder {named!r} is not there; name a .onnx file, its folder, or ORG/NAME of the model hub"
        )
    return ImageEncoder(*_from_hub(named), named)


def _opened_again(named: str, model: Path, settings: Path, identity: str) -> ImageEncoder:
    """Raises ModelError where the files are not those of the other process."""
    found = open_image_encoder(named) if named else ImageEncoder(model, settings)
    if found.identity != identity:
        raise ModelError(f"{found.model}: {found.identity} here, {identity} where the work comes from; copy the file")
    return found


def _from_hub(repository: str) -> tuple[Path, Path]:
    """Model and settings of a repository, from the hub's own cache or the hub."""
    hub = require("huggingface_hub", extra="hub", purpose=f"the image encoder {repository}")
    problem: Exception | None = None
    for name in FILES:
        try:
            model = hub.hf_hub_download(repository, f"onnx/{name}")
            return Path(model), Path(hub.hf_hub_download(repository, SETTINGS))
        except hub.errors.EntryNotFoundError as error:
            problem = error
        except Exception as error:  # the client raises errors of several libraries
            problem = error
            break
    raise ModelError(
        f"the image encoder {repository}: not in the hub's cache, and the hub does not give it "
        f"({type(problem).__name__}); name a local folder that holds {FILES[0]} and {SETTINGS}"
    )
