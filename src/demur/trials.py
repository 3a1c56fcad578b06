"""What a gate is worth with 0, 1, ... k extra samples, and what each costs: the knob, shown when it is learned.

Label-free, on the training prompts by fits that did not see them, over nine thresholds (strong shares 10 to 90 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.gate import Gate, Verdict, judge
from demur.records import FloatArray, Sample
from demur.two_stages import StagedScores

SHARES = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True, slots=True)
class Trial:
    """The gate with at most so many extra samples; all but the verdict a prompt, on average."""

    samples: int
    verdict: Verdict
    checked: float  # share of prompts whose weak answer is looked at
    extra: float  # weak samples beside the answers
    dropped: float  # weak answers that are thrown away for the strong model's
    tokens: tuple[float, float]  # read and written, by both

    @property
    def line(self) -> str:
        """In plain words; a sample is asked after the one before it, so each takes a weak answer's time."""
        low, high = self.verdict.low, self.verdict.high
        return (
            f"at most {self.samples} extra: {self.verdict.gain:+.4f} [{low:+.4f}, {high:+.4f}] believed gain; checks "
            f"{self.checked:.0%}, {self.extra:.2f} extra samples and {self.dropped:.2f} answers dropped a prompt "
            f"({self.tokens[0]:.0f} tokens read, {self.tokens[1]:.0f} written), {self.samples + 1} weak calls in a row "
            "at most"
        )


def trials(
    gate: Gate, prompt_scores: FloatArray, held: FloatArray, gains: FloatArray, tokens: tuple[float, float]
) -> tuple[Trial, ...]:
    """One a number of samples. ``held``: scores (k + 1, n, r) of `fit_gate`, ``gains`` (n, r) of its rows, ``tokens``:
    of one weak answer."""
    staged = StagedScores(prompt_scores, held, np.array([step.spread for step in gate.steps]), gate.band)
    before = np.broadcast_to(prompt_scores[:, None], gains.shape)
    found = []
    for samples in range(len(held)):
        limited = staged.at_most(samples)
        uses = [limited.use(float(np.quantile(limited.final, 1 - share))) for share in SHARES]
        checked, extra, dropped = (
            float(np.mean([part.mean() for part in parts]))
            for parts in zip(*((use.checked, use.extra, use.checked & use.strong) for use in uses), strict=True)
        )
        spent = extra + dropped
        each = (spent * tokens[0], spent * tokens[1])
        found.append(Trial(samples, judge(limited.final, before, gains), checked, extra, dropped, each))
    return tuple(found)


def answer_tokens(samples: Sequence[Sequence[Sample]]) -> tuple[float, float]:
    """Mean prompt and completion tokens of one answer."""
    every = [one for answers in samples for one in answers]
    return float(np.mean([one.prompt_tokens for one in every])), float(
        np.mean([one.completion_tokens for one in every])
    )
