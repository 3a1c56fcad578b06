"""The languages of the training prompts: they choose the encoder, and a prompt in another language, or one that asks
for answers in another, is unfamiliar.

Languages are recognised by rule and by a small detector (`demur.meaning.rules.languages.language_of`); of very short
prompts none is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demur.meaning.asked_language import asked_language
from demur.meaning.rules.languages import language_of
from demur.records import BoolArray

KEY, ASKED_KEY = "languages", "asked_languages"  # in a router's record
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
    asked: Mapping[str, float] = field(default_factory=dict)  # that prompts ask for answers in: shares of all prompts

    @classmethod
    def of(cls, prompts: Sequence[str]) -> KnownLanguages:
        """Those of the prompts whose language can be told, by falling share."""
        counts = Counter(language for prompt in prompts if (language := language_of(prompt)))
        asked = Counter(language for prompt in prompts if (language := asked_language(prompt)))
        return cls(
            {language: count / counts.total() for language, count in counts.most_common()},
            {language: count / len(prompts) for language, count in asked.most_common()},
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> KnownLanguages | None:
        """What a router was saved with; None of one saved before demur wrote it."""
        found = record.get(KEY)
        return cls(found, record.get(ASKED_KEY, {})) if found else None

    def as_record(self) -> dict[str, Any]:
        """As a part of a router's record."""
        return {KEY: dict(self.shares)} | ({ASKED_KEY: dict(self.asked)} if self.asked else {})

    def are_known(self, prompts: Sequence[str]) -> BoolArray:
        """(n,) whether each prompt is in a language of the training prompts, and asks for answers in none but those
        that these are in or ask for; one too short to tell is."""
        return np.array(
            [self.knows(language_of(prompt), asked_language(prompt)) for prompt in prompts],
            dtype=bool,
        )

    def knows(self, language: str, asked: str = "") -> bool:
        """Whether prompts in a language were learned from, and answers in the one that is asked for; "" is known."""
        answered = self.shares.get(asked, 0.0) >= LEAST_SHARE or self.asked.get(asked, 0.0) >= LEAST_SHARE
        return (not language or self.shares.get(language, 0.0) >= LEAST_SHARE) and (not asked or answered)

    @property
    def encoder(self) -> str:
        """The encoder for prompts like these."""
        mostly_english = not self.shares or self.shares.get(ENGLISH, 0.0) >= MOSTLY
        return ENCODER if mostly_english else MULTILINGUAL_ENCODER

    @property
    def sentence(self) -> str:
        """The shares of the most frequent languages that are known, and the encoder that they ask for."""
        known = [(language, share) for language, share in self.shares.items() if share >= LEAST_SHARE]
        shown = ", ".join(f"{language} {share:.0%}" for language, share in known[:SHOWN])
        return f"encoder {self.encoder}: prompts are {shown or 'too short to tell their language'}"
