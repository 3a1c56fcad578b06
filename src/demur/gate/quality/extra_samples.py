"""The value and cost of a gate with 0, 1, ... k extra samples, printed by `demur train`.

Label-free and held out on the training prompts, averaged over nine thresholds (strong shares 10 to 90 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.gate.gate import Gate, GateVerdict, gate_verdict
from demur.gate.quality.two_stages import StagedScores, Use
from demur.records import FloatArray, IntArray, Sample
from demur.statistics import interval

SHARES = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True, slots=True)
class ExtraSamplesTrial:
    """The gate with at most so many extra samples; all values but the verdict are means per prompt."""

    samples: int
    verdict: GateVerdict
    checked: float  # share of prompts whose weak answer is looked at
    extra: float  # weak samples beside the answers
    dropped: float  # weak answers that are thrown away for the strong model's
    tokens: tuple[float, float]  # read and written, by both
    for_the_money: tuple[float, float, float] | None = None  # believed gain at equal USD, 95 %; None: no prices

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table of `COLUMNS`. Samples are requested one after another, each takes a weak answer's time."""
        verdict, money = self.verdict, self.for_the_money
        return (
            str(self.samples),
            _per_100(verdict.gain, verdict.low, verdict.high),
            _per_100(*money) if money else "-",
            f"{self.checked:.0%}",
            f"{self.extra:.2f}",
            f"{self.dropped:.2f}",
            f"{self.tokens[0]:.0f} / {self.tokens[1]:.0f}",
        )


COLUMNS = (  # all per prompt but the first three
    *("extra samples at most", "right answers more per 100", "the same at equal USD", "answers checked"),
    *("extra samples", "answers dropped", "tokens read / written"),
)


def _per_100(gain: float, low: float, high: float) -> str:
    return f"{100 * gain:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def trials(
    gate: Gate,
    prompt_scores: FloatArray,
    held: FloatArray,
    gains: FloatArray,
    tokens: tuple[float, float],
    usd: tuple[FloatArray, FloatArray] | None = None,
    groups: IntArray | None = None,
) -> tuple[ExtraSamplesTrial, ...]:
    """One trial per number of extra samples.

    ``held``: scores (k + 1, n, r) of `fit_gate`; ``gains`` (n, r) of its rows; ``tokens`` read and written of one weak
    answer; ``usd`` (n,) of an answer of the weak and of the strong model; ``groups`` (n,): rows of one prompt.
    """
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
        spent = ((extra + dropped) * tokens[0], (extra + dropped) * tokens[1])
        money = None if usd is None else gain_for_the_money(uses, prompt_scores, gains, *usd, groups=groups)
        found.append(
            ExtraSamplesTrial(
                samples, gate_verdict(limited.final, before, gains, groups), checked, extra, dropped, spent, money
            )
        )
    return tuple(found)


def gain_for_the_money(
    uses: Sequence[Use],
    prompt_scores: FloatArray,
    gains: FloatArray,
    weak_usd: FloatArray,
    strong_usd: FloatArray,
    *,
    groups: IntArray | None = None,
) -> tuple[float, float, float]:
    """The gain of the gate over the prompt's score alone, if the latter may spend the gate's cost on strong answers.

    Mean of ``gains`` (n, r) over ``uses``, with a 95 % bootstrap interval over prompts at these costs; ``groups`` (n,):
    rows of one prompt.
    """
    n = len(prompt_scores)
    order = np.argsort(-prompt_scores, kind="stable")
    all_weak = float(weak_usd.mean())
    bought = all_weak + np.concatenate([[0.0], np.cumsum((strong_usd - weak_usd)[order]) / n])  # by so many strong ones
    each = np.zeros(n)
    for use in uses:
        affordable = np.interp(use.cost(weak_usd, strong_usd).mean(), bought, np.arange(n + 1))
        alone = np.empty(n)
        alone[order] = np.clip(affordable - np.arange(n), 0.0, 1.0)  # the last one in part
        each += (gains * (use.strong - alone[:, None])).mean(axis=1) / len(uses)
    return float(each.mean()), *interval(each, groups=groups)


def answer_tokens(samples: Sequence[Sequence[Sample]]) -> tuple[float, float]:
    """Mean prompt and completion tokens of one answer."""
    every = [one for answers in samples for one in answers]
    return float(np.mean([one.prompt_tokens for one in every])), float(
        np.mean([one.completion_tokens for one in every])
    )
