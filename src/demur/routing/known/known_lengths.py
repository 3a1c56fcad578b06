"""Bounds the score of prompts far longer than the training prompts: it depends on length, and less on the method.

What a method learned on short questions does not hold for long ones: routers of NQ-Open are worse than random on MMLU,
while length alone is not (docs/method.md, "Prompts of another kind"). The direction is fixed beforehand: longer prompts
are harder. Within the lengths of the training prompts nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.records import BoolArray, FloatArray

TOLD_FROM = 100  # training prompts; with fewer, the longest 1 % is not known
LONGEST_SHARE = 0.99
FAR = 2.0  # times the length that 99 % of the training prompts do not exceed
LEAST_SPREAD = 0.1  # of log lengths, where all training prompts are of one length
NEAREST_TO_SURE = 1e-6  # log-odds of 0 and 1 are not finite


@dataclass(frozen=True, slots=True)
class KnownLengths:
    """Log lengths (of characters) of the training prompts, and the log-odds of their scores."""

    mean: float
    spread: float
    longest: float  # beyond it a prompt is of unknown length
    score_mean: float
    score_spread: float

    @classmethod
    def of(cls, prompts: Sequence[str], scores: FloatArray) -> KnownLengths | None:
        """Those of training prompts and their held-out scores, (n,); None for too few."""
        if len(prompts) < TOLD_FROM:
            return None
        lengths, odds = _log_lengths(prompts), _log_odds(scores)
        longest = float(np.quantile(lengths, LONGEST_SHARE) + np.log(FAR))
        spread = max(float(lengths.std()), LEAST_SPREAD)
        return cls(float(lengths.mean()), spread, longest, float(odds.mean()), float(odds.std()))

    def are_known(self, prompts: Sequence[str]) -> BoolArray:
        """(n,) whether each prompt is of a length that the scores are known to hold for."""
        return np.asarray(_log_lengths(prompts) <= self.longest)

    def score(self, scores: FloatArray, prompts: Sequence[str]) -> FloatArray:
        """(n,) scores: as given up to the longest known length, beyond it passing over to one that rises with length.

        The part of the method's own score falls by e per standard deviation of the training prompts' log lengths.
        """
        lengths = _log_lengths(prompts)
        far = lengths > self.longest
        if not far.any():
            return scores
        own = np.exp(-(lengths[far] - self.longest) / self.spread)
        by_length = self.score_spread * (lengths[far] - self.mean) / self.spread
        odds = self.score_mean + own * (_log_odds(scores[far]) - self.score_mean) + (1 - own) * by_length
        found = scores.copy()
        found[far] = 1 / (1 + np.exp(-odds))
        return found


def _log_lengths(prompts: Sequence[str]) -> FloatArray:
    return np.asarray(np.log1p(np.fromiter(map(len, prompts), dtype=float, count=len(prompts))))


def _log_odds(scores: FloatArray) -> FloatArray:
    inside = np.clip(scores, NEAREST_TO_SURE, 1 - NEAREST_TO_SURE)
    return np.asarray(np.log(inside / (1 - inside)))
