"""The words' vector and the pictures' vector of a prompt as one, behind the `Encoder` seam.

A row is (words, weight x mean of its pictures' unit vectors, features); without pictures the latter two are zeros, so
that a prompt of words alone is compared with others by its words.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from demur.errors import PictureError
from demur.models.images.image_encoder import FEATURES, ImageEncoder
from demur.prompts.pictures import ShownText, count_pictures, told_of, words_of
from demur.records import Encoder, FloatArray, on_one_line

# Of the pictures' vector beside the words', both of length 1: vision models' vectors lie closer together. Chosen among
# .5, 1, 2 and 4 on drawings that are not those of docs/method.md.
WEIGHT = 2.0
FEATURE_WEIGHT = 0.1  # of the logs of pixels and bytes: they tell less than the content
BULK = 64  # texts from which on all cores look at pictures; what serves never comes as many at once
USUAL = (6.0, 6.0, 10.0)  # logs of width, height and bytes of a picture of 400 x 400 pixels and 22 kB


class JoinedEncoder:
    """An encoder of words with an image encoder beside it; float32 rows."""

    sees_pictures = True

    def __init__(self, words: Encoder, images: ImageEncoder, named: str = "") -> None:
        """``named``: what `open_image_encoder` gives the image encoder by; a path is kept absolute."""
        self.words, self.images = words, images
        self.named = str(Path(named).absolute()) if named and Path(named).exists() else named
        identity = getattr(words, "identity", type(words).__qualname__)
        self.identity = f"{identity} + {images.identity} weight {WEIGHT:g}"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed texts, with the pictures of those that are a `ShownText`; shape (n, d + D + 5).

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
        there are some."""
        found = np.zeros(self.images.dimension + FEATURES, dtype=np.float32)
        count = count_pictures(text)
        if not count:
            return found
        found[-2:] = FEATURE_WEIGHT * np.log1p(count), FEATURE_WEIGHT
        pictures = text.pictures if isinstance(text, ShownText) else ()
        if pictures:
            vectors, sizes = zip(*(self._look(one, text) for one in pictures), strict=True)
            found[: self.images.dimension] = WEIGHT * np.mean(vectors, axis=0)
            found[-FEATURES:-2] = FEATURE_WEIGHT * (np.log(np.mean(sizes, axis=0)) - USUAL)
        return found

    def _look(self, picture: str, text: str) -> tuple[FloatArray, FloatArray]:
        try:
            return self.images.vector(picture)
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
