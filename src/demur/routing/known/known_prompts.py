"""The prompts that a router's scores hold for: of the lengths and in the languages of its training prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from demur.meaning.rules.known_languages import KnownLanguages
from demur.models.prices import Like
from demur.records import BoolArray, FloatArray
from demur.routing.known.known_lengths import KnownLengths


@dataclass(frozen=True)
class KnownPrompts:
    """Either part is None where nothing is known: of too few prompts, or of a router saved before it was recorded."""

    lengths: KnownLengths | None
    languages: KnownLanguages | None
    texts: Sequence[str] = ()  # that it was to learn from: each is known, however rare its length or language

    @classmethod
    def of(
        cls, prompts: Sequence[str], scores: FloatArray, record: Mapping[str, Any], unknown: Sequence[str] = ()
    ) -> KnownPrompts:
        """From the training prompts, their held-out scores, (n,), the router's record, and its unknown prompts."""
        return cls(KnownLengths.of(prompts, scores), KnownLanguages.from_record(record), [*prompts, *unknown])

    def look(self, prompts: Sequence[str]) -> tuple[BoolArray, BoolArray]:
        """(n,) each: is a prompt of a known length and in a known language, and is it in a known language; what the
        router was to learn from is both."""
        length, language = (
            part.are_known(prompts) if part else np.ones(len(prompts), dtype=bool)
            for part in (self.lengths, self.languages)
        )
        if (length & language).all():
            return length, language
        own = np.array([one in self._own for one in prompts], dtype=bool)
        return (length & language) | own, language | own

    @cached_property
    def _own(self) -> frozenset[str]:
        return frozenset(self.texts)

    def score(self, scores: FloatArray, prompts: Sequence[str]) -> FloatArray:
        """(n,) scores, of prompts of unknown length by their length."""
        return self.lengths.score(scores, prompts) if self.lengths else scores


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What a router sees of n prompts."""

    scores: FloatArray  # (n,) P(the strong model is needed)
    familiar: BoolArray  # (n,) like some prompt that it was to learn from
    untold: list[str]  # why each is unknown; "" where it is not
    values: FloatArray | None = None  # (n, K) gains over the weak model of every tier; None of a pair
    # (n,) by how much similarities may move until it is unknown or not, or for another reason; None: by any.
    margins: FloatArray | None = None
    # (n,) the most similar prompts that it was to learn from, whose answers tell how long those to it are; () where
    # they are not looked for, as by a gateway.
    like: Like = ()

    def values_of(self, row: int) -> tuple[float, ...]:
        """The gains of one prompt."""
        return () if self.values is None else tuple(map(float, self.values[row]))

    @property
    def unknown(self) -> BoolArray:
        """(n,) those that are unknown."""
        return np.array([bool(why) for why in self.untold], dtype=bool)
