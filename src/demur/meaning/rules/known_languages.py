"""The languages of the training prompts: they choose the encoder, and a prompt in another language is unfamiliar.

Languages are recognised by rule and by a small detector (`demur.meaning.rules.languages.language_of`); of very short
prompts none is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demur.meaning.rules.languages import language_of
from demur.records import BoolArray

KEY = "languages"  # in a router's record
ENGLISH = "en"
LEAST_SHARE = 0.01  # of the training prompts, from which a language is known
MOSTLY = 0.8  # of the prompts are English where the encoder may be of English alone
LOOKED_AT = 500  # prompts whose language is told before an encoder is chosen
ENCODER, MULTILINGUAL_ENCODER = "bge-small-6", "multilingual-e5-small"
AUTO = "auto"  # the encoder of a run that names none
SHOWN = 4  # languages in a sentence


@dataclass(frozen=True, slots=True)
class KnownLanguages:
    """Shares of languages among some prompts; of no prompts, and of prompts too short to tell, none."""

    shares: Mapping[str, float]

    @classmethod
    def of(cls, prompts: Sequence[str]) -> KnownLanguages:
        """Those of the prompts whose language can be told, by falling share."""
        counts = Counter(language for prompt in prompts if (language := language_of(prompt)))
        return cls({language: count / counts.total() for language, count in counts.most_common()})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> KnownLanguages | None:
        """What a router was saved with; None of one saved before demur wrote it."""
        found = record.get(KEY)
        return cls(found) if found else None

    def as_record(self) -> dict[str, Any]:
        """As a part of a router's record."""
        return {KEY: dict(self.shares)}

    def are_known(self, prompts: Sequence[str]) -> BoolArray:
        """(n,) whether each prompt is in a language of the training prompts; one too short to tell is."""
        known = {language for language, share in self.shares.items() if share >= LEAST_SHARE}
        return np.array([language_of(prompt) in known | {""} for prompt in prompts], dtype=bool)

    @property
    def encoder(self) -> str:
        """The encoder for prompts like these."""
        mostly_english = not self.shares or self.shares.get(ENGLISH, 0.0) >= MOSTLY
        return ENCODER if mostly_english else MULTILINGUAL_ENCODER

    @property
    def sentence(self) -> str:
        """The shares of the most frequent languages, and the encoder that they ask for."""
        shown = ", ".join(f"{language} {share:.0%}" for language, share in list(self.shares.items())[:SHOWN])
        return f"encoder {self.encoder}: prompts are {shown or 'too short to tell their language'}"
