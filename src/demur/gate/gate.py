"""The gate: after the weak model has answered, how its answer and a few extra samples change the router's score.

It is learned without labels: the target is the gain over the draft that the strong model's samples suggest. After j
extra samples the score is linear in the prompt's score and the signals. The gate does not know prompts, models or
thresholds; `demur.gate.router` decides with it. Its verdict is whether it captures more believed gain than the prompt's
score alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from demur.config import MOST_EXTRA_SAMPLES
from demur.errors import InputError
from demur.gate.cascade.answer_scorer import AnswerScorer
from demur.labels.beliefs.believed_gain import area_interval, believed_area
from demur.labels.scores.uncertainty import cluster_shares, mean_nll, shannon
from demur.records import BoolArray, FloatArray, IntArray
from demur.statistics import FOLDS, folds, group_numbers, held_out

SIGNALS = (
    "NLL of the draft",
    "its log",
    "mean NLL",
    "entropy",
    "share with the draft's meaning",
    "largest share",
)
HEAD_TOKENS = 8  # of a stream, held back before it is passed on
EMPTY_NLL = 3.0  # nats: an empty answer has no tokens and counts as uncertain
PENALTY = 20.0
BAND_SHARE = 0.8  # the band is as wide as this share of the changes that the gate makes to training scores
CERTAIN = 2.0  # in standard deviations of the change by further samples


@dataclass(frozen=True, slots=True)
class GateStep:
    """The score after the draft and some extra samples: offset + slope * prompt score + weights * signals."""

    offset: float
    slope: float
    weights: tuple[float, ...]
    spread: float = 0.0  # standard deviation of what the samples still to come change; 0 for the last step

    def score(self, prompt_scores: FloatArray, signals: FloatArray) -> FloatArray:
        """(...) from prompt scores (...) and signals (..., s)."""
        return np.asarray(self.offset + self.slope * prompt_scores + signals @ np.asarray(self.weights))


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether the gate pays: the believed gain that it captures (quality per prompt, above random), label-free."""

    prompt_only: float
    gain: float  # captured beyond prompt_only
    low: float  # 95 % interval of gain
    high: float

    @property
    def pays(self) -> bool:
        """True when the low end of the interval is above zero."""
        return self.low > 0

    @property
    def brief(self) -> str:
        """The result, without what it is measured against and how."""
        more = f"{100 * self.gain:+.2f} [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"
        return f"The gate {'pays' if self.pays else 'does not pay'}: {more} right answers per 100 prompts"

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        return f"{self.brief} beyond what the prompt alone gains (believed without labels, mean over all shares)"


@dataclass(frozen=True, slots=True)
class GateRows:
    """What a gate is learned from: n prompts, and r drafts of each with k further samples beside it."""

    prompt_scores: FloatArray  # (n,) by routers that did not see the prompt
    signals: FloatArray  # (k + 1, n, r, s) after the draft and 0, 1, ... k extra samples
    gains: FloatArray  # (n, r) believed to be gained over the draft, from samples that no signal was read from
    heads: FloatArray | None = None  # (n, r, 2) from `read_head`; None where the endpoint gives no log-probs
    groups: IntArray | None = None  # (n,) rows of one prompt; None: each is of its own


@dataclass(frozen=True, slots=True)
class Gate:
    """A learned gate. ``steps[j]`` applies after j extra samples; ``head`` to the first tokens of a stream."""

    steps: tuple[GateStep, ...]
    head: GateStep | None  # of the first HEAD_TOKENS tokens alone; None without log-probs
    band: float  # only prompts whose score is this close to the threshold are checked
    verdict: GateVerdict  # with all extra samples
    head_verdict: GateVerdict | None = None  # of the first tokens alone; None: not judged
    scorer: AnswerScorer | None = None  # of a cascade: its one signal is P(wrong) by the answer's words

    @property
    def samples(self) -> int:
        """Most extra samples that it asks for."""
        return len(self.steps) - 1

    @property
    def checks_streams(self) -> bool:
        """True if the first tokens of a stream are informative enough to hold them back; otherwise its prompt
        decides.
        """
        return self.head is not None and (self.head_verdict is None or self.head_verdict.pays)

    @property
    def needs_logprobs(self) -> bool:
        """True where it was learned with token log-probs."""
        return self.head is not None

    def confine(self, scores: FloatArray, prompt_scores: FloatArray) -> FloatArray:
        """The prompt's score is moved by the band at most: one score per prompt then holds for every threshold."""
        return np.clip(scores, prompt_scores - self.band, prompt_scores + self.band)

    def is_settled(self, step: int, score: float, threshold: float) -> bool:
        """True when further samples are unlikely to reverse the decision."""
        return step >= self.samples or abs(score - threshold) > CERTAIN * self.steps[step].spread


def read_signals(clusters: Sequence[int] | IntArray, logprobs: Sequence[Sequence[float] | None]) -> FloatArray:
    """(s,) the SIGNALS of a draft (first) and its extra samples.

    Log-probs: None if unknown (the signals from tokens are then 0), () for an answer without tokens.
    """
    ids = np.asarray(clusters)
    nlls = np.array([0.0 if one is None else mean_nll(one) if len(one) else EMPTY_NLL for one in logprobs])
    shares = cluster_shares(ids)
    of_tokens = (nlls[0], np.log(nlls[0] + 1e-3) if nlls.any() else 0.0, nlls.mean())
    return np.array([*of_tokens, shannon(shares), np.mean(ids == ids[0]), shares.max()])


def read_head(logprobs: Sequence[float]) -> FloatArray:
    """(2,) mean and largest NLL of the first HEAD_TOKENS tokens of a draft; EMPTY_NLL without any."""
    nlls = -np.asarray(logprobs[:HEAD_TOKENS], dtype=float)
    return np.array([nlls.mean(), nlls.max()]) if len(nlls) else np.full(2, EMPTY_NLL)


def gate_verdict(
    after: FloatArray, before: FloatArray, gains: FloatArray, groups: IntArray | None = None
) -> GateVerdict:
    """How much of the believed ``gains`` the scores (n, r) after the drafts capture beyond the scores before them;
    ``groups`` (n,): rows of one prompt."""
    caught = believed_area(before, gains)
    return GateVerdict(caught, believed_area(after, gains) - caught, *area_interval(after, before, gains, groups))


def fit_gate(rows: GateRows) -> tuple[Gate, FloatArray]:
    """Learn a gate; also the scores (k + 1, n, r) of the same drafts after each step, within the band, by fits that did
    not see their prompts.

    Raises InputError for too few prompts or too many samples.
    """
    n = len(np.unique(group_numbers(len(rows.prompt_scores), rows.groups)))
    if n < 2 * FOLDS:
        raise InputError(f"{n} training prompts cannot teach a gate; give at least {2 * FOLDS}")
    if len(rows.signals) - 1 > MOST_EXTRA_SAMPLES:
        raise InputError(f"{len(rows.signals) - 1} extra samples: a gate takes at most {MOST_EXTRA_SAMPLES}")
    fitted = [_fit_step(rows, signals) for signals in rows.signals]
    held = np.stack([scores for _, scores in fitted])
    before = np.broadcast_to(rows.prompt_scores[:, None], rows.gains.shape)
    band = float(np.quantile(np.abs(held[-1] - before), BAND_SHARE))
    confined = np.clip(held, before - band, before + band)
    steps = tuple(replace(step, spread=float(np.std(held[-1] - scores))) for step, scores in fitted)
    head, head_verdict = None, None
    if rows.heads is not None:
        head, after = _fit_step(rows, rows.heads)
        head_verdict = gate_verdict(np.clip(after, before - band, before + band), before, rows.gains, rows.groups)
    verdict = gate_verdict(confined[-1], before, rows.gains, rows.groups)
    return Gate(steps, head, band, verdict, head_verdict), confined


def _fit_step(rows: GateRows, signals: FloatArray) -> tuple[GateStep, FloatArray]:
    """The combined score as a step, and its held-out values (n, r).

    A regression on the signals alone would trust them too much: the weak model's overconfidence is in the target as
    well as in them. So the regression's estimate counts only as much as the prompt's score (both at unit variance), and
    the sum gets the prompt score's mean and spread again, so that a threshold keeps its meaning.
    """
    n, r = rows.gains.shape
    X = np.column_stack([np.repeat(rows.prompt_scores, r), signals.reshape(n * r, -1)])
    y = rows.gains.ravel()

    def estimate_held_out(train: BoolArray, held: BoolArray) -> FloatArray:
        offset, weights = _ridge(X[train], y[train])
        return np.asarray(offset + X[held] @ weights)

    estimate = held_out(folds(n, groups=rows.groups, seed=1).repeat(r), estimate_held_out)
    offset, weights = _ridge(X, y)
    mean, spread = float(X[:, 0].mean()), _positive(X[:, 0].std())
    own_mean, own_spread = float(estimate.mean()), _positive(estimate.std())
    both = (X[:, 0] - mean) / spread + (estimate - own_mean) / own_spread
    scale = spread / _positive(both.std())
    onto = scale / own_spread  # from the estimate to the combined score
    step = GateStep(
        offset=float(mean - scale * mean / spread + onto * (offset - own_mean)),
        slope=float(scale / spread + onto * weights[0]),
        weights=tuple((onto * weights[1:]).tolist()),
    )
    return step, (mean + scale * both).reshape(n, r)


def _ridge(rows: FloatArray, targets: FloatArray) -> tuple[float, FloatArray]:
    """Offset and weights (in the rows' own units) of a ridge regression on standardised columns."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(deviation > 1e-9, deviation, np.inf)  # a constant column gets no weight
    X = (rows - mean) / scale
    weights = np.linalg.solve(X.T @ X + PENALTY * np.eye(X.shape[1]), X.T @ targets) / scale  # X is centred
    return float(targets.mean() - mean @ weights), weights


def _positive(value: float | np.floating[Any]) -> float:
    return float(value) if value > 1e-12 else 1.0
