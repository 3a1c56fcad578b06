"""Certified thresholds: the cheapest one whose loss against always-strong is bounded, with stated confidence.

Learn-then-Test (Angelopoulos et al. 2022): thresholds are tested one after another, from the safest (always strong) to
the cheapest, in an order fixed before the graded prompts were seen; the first that fails ends it, so the whole sequence
errs with probability 1 - confidence at most. Pure functions on arrays; how prompts are graded is not known here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from demur.errors import InputError
from demur.records import FloatArray
from demur.statistics import binomial_cdf

Loss = Literal["missed", "difference"]
MOST_PROMPTS = 2**22  # that are thought of when a promise is refused

LOSSES = {
    "missed": "the weak model served and the strong one would have been better",
    "difference": "mean quality lost against always-strong",
}
METHODS = {
    "missed": "Learn-then-Test, fixed sequence, exact binomial test",
    "difference": "Learn-then-Test, fixed sequence, betting test (Waudby-Smith and Ramdas 2023)",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """A guarantee and the data that it rests on."""

    threshold: float  # strong iff score >= threshold
    risk: float  # the loss is at most this ...
    confidence: float  # ... with this probability over the draw of the graded prompts
    loss: Loss
    measured_loss: float  # on the graded prompts, at this threshold
    strong_share: float  # of the graded prompts
    m: int  # graded prompts
    method: str
    data_hash: str  # of scores and qualities
    number: int = 0  # of the promises that these prompts have backed; 0: none other is made on them

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        tested = f"promise {self.number} on these prompts, tested at {self.tested_at:.2%} so that all hold together"
        among = f"; {tested}" if self.number else ""
        return (
            f"{LOSSES[self.loss]}: at most {self.risk:.1%} with {self.confidence:.0%} confidence (measured "
            f"{self.measured_loss:.1%} on {self.m:,} graded prompts, of which {self.strong_share:.0%} go to the strong "
            f"model; {self.method}{among})"
        )

    @property
    def tested_at(self) -> float:
        """The confidence of this test alone."""
        return confidence_of(self.number, self.confidence)


def confidence_of(number: int, confidence: float) -> float:
    """What the k-th promise on the same prompts is tested at: its error is a share 1 / (k (k + 1)) of what is allowed.

    The shares add to 1, so by the union bound all promises hold together with ``confidence``, however many follow.
    """
    return confidence if number == 0 else 1 - (1 - confidence) / (number * (number + 1))


def certify(
    scores: ArrayLike,
    weak_quality: ArrayLike,
    strong_quality: ArrayLike,
    thresholds: ArrayLike,
    *,
    risk: float,
    confidence: float = 0.95,
    loss: Loss = "missed",
    number: int = 0,
) -> Certificate:
    """The cheapest of ``thresholds`` whose loss is at most ``risk`` with ``confidence``.

    Arrays (m,) over graded prompts that were drawn like the ones to be served and did not train the router.
    ``thresholds`` must not come from these prompts; quantiles of the training scores are meant.
    ``number``: of the promises that these prompts have backed, this one included; all of them hold together. Raises
    InputError where no threshold passes that keeps a prompt on the weak model, and says how many graded prompts it
    would take.
    """
    score, weak, strong = (np.asarray(values, dtype=float) for values in (scores, weak_quality, strong_quality))
    _check(score, weak, strong, risk, confidence)
    tested_at = confidence_of(number, confidence)
    needed = prompts_needed(risk, tested_at, loss)
    if needed is None or len(score) < needed:
        enough = f"more than {MOST_PROMPTS:,}" if needed is None else f"at least {needed}"
        raise InputError(
            f"{len(score)} graded prompts cannot certify a risk of {risk:g} at {_level_text(confidence, number)}; "
            f"{enough} are needed, even if not one of them is lost"
        )
    order = np.random.default_rng(0).permutation(len(score))  # files may be sorted
    score, weak, strong = score[order], weak[order], strong[order]
    safe, failed = last_safe(score, weak, strong, thresholds, risk=risk, error=1 - tested_at, loss=loss)
    if failed is not None and (score >= safe).all():
        raise InputError(_refusal(failed, risk, confidence, loss, number))
    return Certificate(
        threshold=safe,
        risk=risk,
        confidence=confidence,
        loss=loss,
        measured_loss=float(losses_at(safe, score, weak, strong, loss).mean()),
        strong_share=float((score >= safe).mean()),
        m=len(score),
        method=METHODS[loss],
        data_hash=hashlib.sha256(np.stack([score, weak, strong]).tobytes()).hexdigest()[:32],
        number=number,
    )


def last_safe(
    scores: FloatArray,
    weak: FloatArray,
    strong: FloatArray,
    thresholds: ArrayLike,
    *,
    risk: float,
    error: float,
    loss: Loss,
) -> tuple[float, FloatArray | None]:
    """The last threshold, in rising order, before the first that fails (-inf: the first of all), and that one's losses.

    Arrays (m,) in random order, on which the betting test depends.
    """
    safe = -math.inf
    for threshold in np.unique(np.asarray(thresholds, dtype=float)):
        lost = losses_at(threshold, scores, weak, strong, loss)
        if lost.mean() > risk or not REJECTS[loss](lost, risk, error):
            return safe, lost
        safe = float(threshold)
    return safe, None


def _level_text(confidence: float, number: int) -> str:
    return f"{confidence:.0%} confidence" + (f" as promise {number} on them" if number > 1 else "")


def _refusal(lost: FloatArray, risk: float, confidence: float, loss: Loss, number: int) -> str:
    needed = prompts_needed(risk, confidence_of(number, confidence), loss, like=lost)
    more = f"about {needed:,} such prompts are needed" if needed else "no number of such prompts would do"
    return (
        f"{len(lost)} graded prompts cannot certify a risk of {risk:g} at {_level_text(confidence, number)}: at the "
        f"safest threshold that keeps any on the weak model {lost.mean():.1%} are lost; {more}, or a larger risk"
    )


def losses_at(threshold: float, scores: FloatArray, weak: FloatArray, strong: FloatArray, loss: Loss) -> FloatArray:
    """(m,) loss of each prompt: 0 or 1 where a better answer was missed, or the quality difference in [-1, 1]."""
    gained = strong - weak if loss == "difference" else (strong > weak).astype(float)
    return np.where(scores < threshold, gained, 0.0)


def prompts_needed(risk: float, confidence: float, loss: Loss = "missed", like: ArrayLike = (0.0,)) -> int | None:
    """The fewest graded prompts with which a threshold passes whose losses are ``like`` these, over and over again.

    By default none is lost. None where they lose as much as ``risk`` or nearly so: no number is enough.
    """
    lost = np.asarray(like, dtype=float)
    passes: Callable[[int], bool] = lambda m: REJECTS[loss](np.resize(lost, m), risk, 1 - confidence)  # noqa: E731
    high = 1
    while not passes(high):
        high *= 2
        if lost.mean() >= risk or high > MOST_PROMPTS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def _rejects_missed(lost: FloatArray, risk: float, error: float) -> bool:
    """Exact one-sided binomial test of "the risk is larger": the Clopper-Pearson upper bound is below it."""
    return binomial_cdf(int(lost.sum()), len(lost), risk) <= error


def _rejects_difference(lost: FloatArray, risk: float, error: float) -> bool:
    """Betting test of "the mean loss is larger": wealth against it reaches 1 / error (losses in [-1, 1]).

    Each bet is sized from the losses before it alone (plug-in variance), so wealth is a supermartingale under the
    hypothesis and Ville's inequality bounds the error.
    """
    x, mean = (lost + 1) / 2, (risk + 1) / 2
    n = np.arange(1, len(x) + 1)
    centre = (0.5 + np.cumsum(x)) / (n + 1)
    variance = (0.25 + np.cumsum((x - centre) ** 2)) / (n + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.minimum(np.sqrt(2 * math.log(1 / error) / (len(x) * before)), 0.75 / (1 - mean))
    wealth = np.cumsum(np.log1p(bets * (mean - x)))
    return bool(wealth.max(initial=0.0) >= math.log(1 / error))


REJECTS: Mapping[Loss, Callable[[FloatArray, float, float], bool]] = {
    "missed": _rejects_missed,
    "difference": _rejects_difference,
}


def _check(score: FloatArray, weak: FloatArray, strong: FloatArray, risk: float, confidence: float) -> None:
    if not 0 < risk < 1 or not 0 < confidence < 1:
        raise InputError(f"risk {risk} and confidence {confidence} must both lie between 0 and 1")
    if not len(score) == len(weak) == len(strong):
        raise InputError(
            f"{len(score)} scores, {len(weak)} weak and {len(strong)} strong qualities; give one per prompt"
        )
    values = np.concatenate([weak, strong])
    if not np.isfinite(score).all() or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError("scores must be finite, and qualities lie in [0, 1]")


def fixed_thresholds(training_scores: ArrayLike, count: int = 200) -> FloatArray:
    """The sequence that is tested: quantiles of the training scores, and one above them all (never strong)."""
    scores = np.asarray(training_scores, dtype=float)
    return np.append(np.unique(np.quantile(scores, np.linspace(0, 1, count))), np.nextafter(scores.max(), math.inf))
