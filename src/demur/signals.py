"""The uncertainty card: how well each definition of uncertainty tells a model's right answers from its wrong ones.

From a run's stored samples and gold answers; both models are asked about their own answers only where that is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.asking import asked_about
from demur.clustering import meaning_clusters
from demur.config import load_run
from demur.entailment import open_entailment
from demur.errors import InputError
from demur.evaluation import mean_quality
from demur.grading import grade
from demur.local import endpoint_of
from demur.pair import stored_pair
from demur.pipeline import STORE
from demur.prompts import load_prompts
from demur.records import FloatArray, IntArray, Progress, Sample, no_progress
from demur.sampling import Budget
from demur.store import Store
from demur.uncertainty import DEFINITIONS, NEEDS_LOGPROBS, uncertainty

RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One definition on one model: AUROC of wrong against right, with 95 % interval; None: not computable."""

    model: str
    definition: str
    auroc: float | None
    low: float | None
    high: float | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class UncertaintyCard:
    """All definitions on both models of a run."""

    prompts: int
    rows: tuple[SignalRow, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words, a line each, the best of each model marked."""
        best = {row.model: max((r for r in self.rows if r.model == row.model), key=_worth) for row in self.rows}
        found = [f"AUROC of wrong against right answers, {self.prompts} prompts with gold answers (95 % interval)"]
        for row in self.rows:
            if row.auroc is None:
                found.append(f"  {row.model:<26} {row.definition:<24} not computable: {row.why_not}")
                continue
            mark = "  <- use this one" if best[row.model] is row else ""
            found.append(
                f"  {row.model:<26} {row.definition:<24} {row.auroc:.3f}  [{row.low:.3f}, {row.high:.3f}]{mark}"
            )
        return tuple(found)


def _worth(row: SignalRow) -> float:
    return -1.0 if row.auroc is None else row.auroc


def signals(
    *, run: str = "run", ask: bool = False, max_usd: float | None = None, progress: Progress = no_progress
) -> UncertaintyCard:
    """The card of a run; ``ask`` adds P(true) and verbalised confidence, two short calls a prompt and model.

    Raises InputError when no prompt has gold answers or samples are missing; EndpointError, BudgetError where asked.
    """
    config = load_run(run)
    prompts = [prompt for prompt in load_prompts(config.prompts) if prompt.answers]
    if not prompts:
        raise InputError(f"{config.prompts}: no prompt has gold answers, so right and wrong cannot be told")
    rows: list[SignalRow] = []
    money = Budget(max_usd)
    with Store(config.folder / STORE) as store:
        samples = stored_pair(config, prompts, store)
        with open_entailment(config.label.entailment, store, progress) as entailment:
            for side, model in ((samples.weak, config.weak), (samples.strong, config.strong)):
                answers = [[one.text for one in side[prompt.id]] for prompt in prompts]
                texts = [prompt.text for prompt in prompts]
                found = meaning_clusters(
                    texts, answers, entailment=entailment, rules=config.label.rules, progress=progress
                )
                quality = mean_quality(prompts, side)
                name = endpoint_of(model).model
                rows += card_rows(name, found.ids, [side[prompt.id] for prompt in prompts], quality)
                if ask:
                    about = asyncio.run(asked_about(prompts, side, model, store, budget=money, progress=progress))
                    first = np.array([grade(prompt, side[prompt.id][0].text) for prompt in prompts])
                    rows += [asked_row(name, definition, values, first) for definition, values in about.items()]
    return UncertaintyCard(len(prompts), tuple(rows))


def card_rows(
    model: str, clusters: Sequence[IntArray], samples: Sequence[Sequence[Sample]], quality: FloatArray
) -> list[SignalRow]:
    """A row a definition; quality (n,) is the mean correctness of each prompt's samples."""
    given = all(one.logprobs is not None or not one.text for answers in samples for one in answers)
    rows = []
    for definition in DEFINITIONS:
        if definition in NEEDS_LOGPROBS and not given:
            rows.append(SignalRow(model, definition, None, None, None, "the endpoint gave no log-probs"))
        elif not 0 < quality.mean() < 1:
            rows.append(SignalRow(model, definition, None, None, None, "every answer is right, or every one wrong"))
        else:
            values = np.array(
                [
                    uncertainty(ids, [one.logprobs or () for one in answers] if given else None, definition)
                    for ids, answers in zip(clusters, samples, strict=True)
                ]
            )
            rows.append(SignalRow(model, definition, *auroc_with_interval(values, quality)))
    return rows


def asked_row(model: str, definition: str, values: FloatArray, quality: FloatArray) -> SignalRow:
    """What a model said of its first answers, whose quality is (n,); replies that say nothing (nan) are left out."""
    told = ~np.isnan(values)
    if told.sum() < len(values) / 2:
        return SignalRow(model, definition, None, None, None, f"{(~told).sum()} of {len(values)} replies say nothing")
    if not 0 < quality[told].mean() < 1:
        return SignalRow(model, definition, None, None, None, "every answer is right, or every one wrong")
    return SignalRow(model, definition, *auroc_with_interval(values[told], quality[told]))


def auroc(values: FloatArray, quality: FloatArray) -> float:
    """P(a wrong answer is the more uncertain), ties half; each prompt is right with weight ``quality``."""
    levels, place = np.unique(values, return_inverse=True)
    right = np.bincount(place, quality, len(levels))
    wrong = np.bincount(place, 1 - quality, len(levels))
    below = np.concatenate([[0.0], np.cumsum(right)[:-1]])
    total = right.sum() * wrong.sum()
    return float((wrong * (below + right / 2)).sum() / total) if total > 0 else float("nan")


def auroc_with_interval(values: FloatArray, quality: FloatArray) -> tuple[float, float, float]:
    """The same with its 95 % bootstrap interval over prompts."""
    random, n = np.random.default_rng(0), len(values)
    drawn = [auroc(values[i], quality[i]) for i in (random.integers(0, n, n) for _ in range(RESAMPLES))]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return auroc(values, quality), float(low), float(high)
