"""The words' vector and the pictures' vector of a prompt as one, behind the `Encoder` seam.

A row is (words, weight x mean of its pictures' unit vectors, features); without pictures the latter two are zeros, so
that a prompt of words alone is compared with others by its words. The share that is text, where it is asked for, comes
last, so that rows without it are as they always were.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from demur.errors import PictureError
from demur.models.images.image_encoder import ImageEncoder
from demur.models.images.preprocessing import bytes_of, opened_picture
from demur.models.images.text_share import TextDetector
from demur.prompts.pictures import ShownText, count_pictures, told_of, words_of
from demur.records import Encoder, FloatArray, on_one_line

# Of the pictures' vector beside the words', both of length 1: vision models' vectors lie closer together. Chosen among
# .5, 1, 2 and 4 on drawings that are not those of docs/method.md.
WEIGHT = 2.0
FEATURES = 5  # beside the vectors: width, height, bytes, how many pictures, and that there are some
FEATURE_WEIGHT = 0.1  # of the logs of pixels and bytes: they tell less than the content
TEXT_WEIGHT = 2.0  # of the share that is text; chosen among 0.1 to 8 on pages that are not those of docs/method.md
MOST_LOOKED = 8  # pictures of a prompt, the first; a request may hold thousands
BULK = 64  # texts from which on all cores look at pictures; what serves never comes as many at once
USUAL = (6.0, 6.0, 10.0)  # logs of width, height and bytes of a picture of 400 x 400 pixels and 22 kB


class JoinedEncoder:
    """An encoder of words with an image encoder beside it; float32 rows."""

    sees_pictures = True

    def __init__(
        self, words: Encoder, images: ImageEncoder, named: str = "", *, detector: TextDetector | None = None
    ) -> None:
        """``named``: what `open_image_encoder` gives the image encoder by; a path is kept absolute. ``detector``: of
        text, whose share becomes a column."""
        self.words, self.images, self.detector = words, images, detector
        self.named = str(Path(named).absolute()) if named and Path(named).exists() else named
        identity = getattr(words, "identity", type(words).__qualname__)
        self.identity = f"{identity} + {images.identity} weight {WEIGHT:g}"
        self.identity += f" + {detector.identity} weight {TEXT_WEIGHT:g}" if detector else ""

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts, with the pictures of those that are a `ShownText`; shape (n, d + D + 5), or one column more
        with a detector of text.

        A text that only names pictures, read from a file, has no vector of them. Raises InputError for an empty text,
        PictureError for a picture that cannot be looked at.
        """
        return self._join_rows(self.words.encode(list(map(told_of, texts))), texts)

    def encode_together(self, texts: Sequence[str], /) -> FloatArray:
        """As `encode`, the words in batches where their encoder has them."""
        together = getattr(self.words, "encode_together", self.words.encode)
        return self._join_rows(together(list(map(told_of, texts))), texts)

    def _join_rows(self, rows: FloatArray, texts: Sequence[str]) -> FloatArray:
        if not texts:
            return rows
        with ThreadPoolExecutor(os.cpu_count() if len(texts) >= BULK else 1) as workers:
            seen = np.stack(list(workers.map(self._picture_row, texts)))
        return np.column_stack([rows, seen]).astype(np.float32)

    def _picture_row(self, text: str) -> FloatArray:
        """(D + 5,) of a text's pictures: their mean vector, mean logs of width, height and bytes, how many, and that
        there are some; then the mean share that is text, with a detector."""
        vector, features = np.zeros(self.images.dimension), np.zeros(FEATURES + (self.detector is not None))
        count = count_pictures(text)
        if count:
            features[FEATURES - 2 : FEATURES] = FEATURE_WEIGHT * np.log1p(count), FEATURE_WEIGHT
        pictures = text.pictures[:MOST_LOOKED] if isinstance(text, ShownText) else ()
        if pictures:
            vectors, sizes, shares = zip(*(self._look(one, text) for one in pictures), strict=True)
            vector = WEIGHT * np.mean(vectors, axis=0)
            features[: FEATURES - 2] = FEATURE_WEIGHT * (np.log(np.mean(sizes, axis=0)) - USUAL)
            features[FEATURES:] = TEXT_WEIGHT * np.mean(shares)
        return np.concatenate([vector, features]).astype(np.float32)

    def _look(self, address: str, text: str) -> tuple[FloatArray, FloatArray, float]:
        """A picture's vector, its width, height (pixels) and bytes, and its share of text; 0 without a detector."""
        try:
            data = bytes_of(address)
            picture = opened_picture(data)
            sizes = np.array([*picture.size, len(data)], dtype=np.float32)
            return self.images.vector(picture), sizes, self.detector.share(picture) if self.detector else 0.0
        except PictureError as error:
            named = (isinstance(text, ShownText) and text.where) or f"prompt {on_one_line(words_of(text), 60)!r}"
            raise PictureError(error.problem, named) from None


def sees_pictures(encoder: Encoder) -> bool:
    """Whether an encoder looks at pictures; any other is given ``[image]`` in place of each."""
    return bool(getattr(encoder, "sees_pictures", False))


def embed(encoder: Encoder, texts: Sequence[str], *, together: bool = False) -> FloatArray:
    """(n, d) float32 of texts by any encoder, in batches where it has them and ``together`` allows that."""
    given = list(texts) if sees_pictures(encoder) else list(map(told_of, texts))
    asked = getattr(encoder, "encode_together", encoder.encode) if together else encoder.encode
    return np.asarray(asked(given), dtype=np.float32)
