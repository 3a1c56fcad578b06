"""The setting `unknown`: which unknown prompts it sends to one model whatever their score, and which the score decides.

The one place that knows it. Decisions, thresholds, headlines, reports and the gateway ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.labels.beliefs.unknown import GUESSED
from demur.records import BoolArray, OnUnknown, OnUnlike, Role

UNLIKE = "unlike any training prompt, in meaning, length or language"  # a reason that a prompt is unknown
ANOTHER_LANGUAGE = "in a language that the router has not learned from, or to be answered in one"  # another
BOTH_GUESSED = "both models guessed on prompts like this one; the score decides"


def unlike_reason(why: str, known: bool, spoken: bool, setting: OnUnlike) -> str:
    """Why a prompt is unknown, "" where it is not: ``why``, by its neighbours, if it is like a training prompt.

    One that is not (not ``known``) gets no reason from a neighbour: that one is not like it. ``spoken``: is it in a
    language that was learned from? ``setting``: the value of `unlike`.
    """
    if known:
        return why
    if why or setting == "unknown" or (setting == "language" and not spoken):
        return UNLIKE if spoken else ANOTHER_LANGUAGE
    return ""


@dataclass(frozen=True, slots=True)
class UnknownSetting:
    """A value of the setting. A reason is why a prompt is unknown (`reason_of`), "" where it is not."""

    value: OnUnknown

    @property
    def role(self) -> Role:
        """The model of all prompts that the setting settles."""
        return "weak" if self.value == "weak" else "strong"

    def settles(self, reason: str) -> bool:
        """Whether the setting decides, whatever the score. Where both models guess at a question, neither gains."""
        if not reason or self.value == "score":
            return False
        return self.value != "strong-unless-guessed" or reason != GUESSED

    def settled_rows(self, reasons: Sequence[str]) -> BoolArray:
        """(n,) the same of many prompts."""
        return np.array([self.settles(one) for one in reasons], dtype=bool)

    def count_sides(self, reasons: Sequence[str]) -> tuple[int, int, int]:
        """How many of some prompts go by their scores, and to the strong and to the weak model whatever their score."""
        settled = int(self.settled_rows(reasons).sum())
        return len(reasons) - settled, *((settled, 0) if self.role == "strong" else (0, settled))

    def sentence(self, reason: str) -> str:
        """Why an unknown prompt goes where it goes, as part of a decision's reason."""
        if reason == GUESSED and not self.settles(reason):
            return BOTH_GUESSED
        like = (
            reason
            if reason in (UNLIKE, ANOTHER_LANGUAGE)
            else f"nearest to a prompt that could not be labelled ({reason})"
        )
        goes = f"go to the {self.role} model" if self.settles(reason) else "go by their score"
        return f"unknown: {like}; such prompts {goes} (unknown = {self.value})"
