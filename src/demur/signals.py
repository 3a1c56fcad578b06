"""The uncertainty card of a model: how well each signal tells its right answers from its wrong ones (AUROC).

A signal is a definition of `demur.uncertainty` over one prompt's samples. Pure on arrays; reading comes last.
MARS and LARS are left out: both need a trained token-importance model, and neither can be had faithfully here.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demur.clustering import meaning_clusters
from demur.entailment import exact_match
from demur.errors import InputError
from demur.grading import grade
from demur.records import FloatArray, IntArray, Prompt
from demur.uncertainty import DEFINITIONS, NEEDS_LOGPROBS, uncertainty

RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal on one model and data set."""

    name: str
    auroc: float  # P(a wrong answer is more uncertain than a right one), ties half
    low: float  # 95 % bootstrap interval over prompts
    high: float


@dataclass(frozen=True, slots=True)
class UncertaintyCard:
    """All signals of one model, best first."""

    model: str
    data: str
    n: int
    accuracy: float
    signals: tuple[Signal, ...]

    @property
    def lines(self) -> list[str]:
        """As text, with advice."""
        best = self.signals[0]
        rows = [f"  {s.name:<26}{s.auroc:.3f} [{s.low:.3f}, {s.high:.3f}]" for s in self.signals]
        as_good = [s.name for s in self.signals[1:] if s.high >= best.auroc]
        advice = f"  use {best.name}" + (f"; no worse within the interval: {', '.join(as_good)}" if as_good else "")
        if best.low <= 0.5:
            advice = "  use none of them: no signal is surely better than chance here"
        return [f"{self.model} on {self.data}: {self.n} prompts, accuracy {self.accuracy:.3f}", *rows, advice]


def auroc(uncertainty: FloatArray, wrong: FloatArray) -> float:
    """P(a wrong prompt is more uncertain than a right one), ties counted half; nan when all are alike."""
    bad = np.asarray(wrong, dtype=bool)
    if bad.all() or not bad.any():
        return float("nan")
    _, places, counts = np.unique(uncertainty, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # mean rank of each block, from 1
    return float((ranks[bad].sum() - bad.sum() * (bad.sum() + 1) / 2) / (bad.sum() * (~bad).sum()))


def card(
    model: str, data: str, values: Mapping[str, FloatArray], wrong: FloatArray, *, seed: int = 0
) -> UncertaintyCard:
    """The card from every signal's values (n,) and which prompts were answered wrong (n,). Raises InputError."""
    if len(np.unique(np.asarray(wrong, dtype=bool))) < 2:
        raise InputError(
            f"{model} on {data}: all answers are {'wrong' if np.all(wrong) else 'right'}; AUROC needs both"
        )
    random, n = np.random.default_rng(seed), len(wrong)
    draws = [random.integers(0, n, n) for _ in range(RESAMPLES)]
    found = [_signal(name, np.asarray(value, dtype=float), np.asarray(wrong), draws) for name, value in values.items()]
    ordered = tuple(sorted(found, key=lambda one: -one.auroc))
    return UncertaintyCard(model, data, n, float(1 - np.mean(wrong)), ordered)


def _signal(name: str, value: FloatArray, wrong: FloatArray, draws: Sequence[IntArray]) -> Signal:
    drawn = np.array([auroc(value[d], wrong[d]) for d in draws])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Signal(name, auroc(value, wrong), float(low), float(high))


def measured(
    questions: Sequence[str], answers: Sequence[Sequence[str]], logprobs: Sequence[Sequence[Sequence[float]]] | None
) -> dict[str, FloatArray]:
    """Every definition over every prompt's answers, (n,) each; clustered by rules and exact match."""
    ids = meaning_clusters(questions, answers, entailment=exact_match).ids
    names = [name for name in DEFINITIONS if logprobs is not None or name not in NEEDS_LOGPROBS]
    given = [None] * len(ids) if logprobs is None else logprobs
    return {name: np.array([uncertainty(i, lp, name) for i, lp in zip(ids, given, strict=True)]) for name in names}


def signals(samples: str | Path) -> list[UncertaintyCard]:
    """A card a model from a .jsonl(.gz) file of samples in the form of ``local_pair``: models -> greedy and samples.

    Raises InputError when the file is missing or a row lacks answers, gold or samples.
    """
    path = Path(samples)
    if not path.is_file():
        raise InputError(f"{path}: no such file of samples")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    try:
        return [_card_of(model, path.name.partition(".")[0], rows) for model in rows[0]["models"]]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path}: a row lacks {error}; needed: question, answers, models.*.greedy and .samples"
        ) from None


def _card_of(model: str, data: str, rows: Sequence[Mapping[str, object]]) -> UncertaintyCard:
    sides = [row["models"][model] for row in rows]  # type: ignore[index]
    questions = [str(row["question"]) for row in rows]
    answers = [[one["text"] for one in side["samples"]] for side in sides]
    logprobs = [[one["token_logprobs"] for one in side["samples"]] for side in sides]
    prompts = [Prompt("", str(row["question"]), tuple(row["answers"])) for row in rows]  # type: ignore[arg-type]
    wrong = np.array([1 - grade(p, side["greedy"]["text"]) for p, side in zip(prompts, sides, strict=True)])
    values = measured(questions, answers, logprobs)
    values["greedy mean log-prob"] = np.array([_minus_mean(side["greedy"]["token_logprobs"]) for side in sides])
    return card(model, data, values, wrong)


def _minus_mean(logprobs: Sequence[float]) -> float:
    return float(-np.mean(logprobs)) if len(logprobs) else 0.0
