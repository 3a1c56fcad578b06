"""The uncertainty card: how well each definition of uncertainty tells a model's right answers from its wrong ones.

By model and set of prompts. All definitions are measured on one target, the first answer, so that they can be compared.
From a run's stored samples and gold answers; both models are asked about their own answers only on request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demur.config import load_run
from demur.config.names import DEFINITION_NAMES, LLM
from demur.errors import InputError
from demur.event_loop import run_to_end
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.self_report import SETTINGS, asked_about
from demur.labels.scores.token_scores import first_answer_doubt
from demur.labels.scores.uncertainty import DEFINITIONS, NEEDS_LOGPROBS, OF_FIRST_ANSWER, has_tokens, uncertainty
from demur.prompts.grading import grade
from demur.records import FloatArray, IntArray, Progress, Prompt, Sample, count_of, no_progress
from demur.runs.run import Run, open_run
from demur.sampling.budget import Budget
from demur.statistics import auroc, bootstrap, first_rows, group_numbers, percentile_interval

FEWEST = 5  # answers of either kind: with fewer the bootstrap draws the same few again and claims too much
ALL = "all sets"
SHOWN = tuple(name for name in DEFINITIONS if name != "eigv")  # over hard clusters it is the number of meanings
COST = {  # beside a run's samples: log-probs of one, of all; pairs of the entailment model; a call more, or grades
    **{"perplexity": 0, "predictive_entropy": 1, "meanings": 2, "degree": 2, "discrete": 2, "rao_blackwell": 2},
    **{"mars": 2, "lars": 3},
    **{"verbalised": 3, "p_true": 3},
}  # Eq. 2 as printed is not among them: shown, never advised, since two models do not compare by it


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One definition: AUROC of wrong against right, with 95 % bootstrap interval; None: not computable."""

    definition: str
    auroc: float | None
    low: float | None
    high: float | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class SignalTable:
    """All definitions on one model and set, against one and the same target: is its first answer wrong?"""

    model: str
    prompts: str  # the set: their own ``source``, or ALL
    n: int
    right: float  # share of the first answers
    rows: tuple[SignalRow, ...]
    use: str | None  # the definition to use: the cheapest that tells as well as the best; None: none tells

    @property
    def advice(self) -> str:
        """Which definition to use, or that none is informative."""
        if self.use is None:
            return "none tells right from wrong answers: no interval lies above .5, Eq. 2 as printed aside"
        known = {row.definition: row.auroc for row in self.rows if row.auroc is not None and row.definition in COST}
        best = max(known, key=lambda name: known[name])
        if known[best] == known[self.use]:
            return "use this one"
        return f"use this one: the cheapest that {self.n} prompts cannot tell from the best, {best}"

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        head = f"{self.model} on {self.prompts}: {self.n} prompts, {self.right:.0%} answered right"
        whys = {row.why_not for row in self.rows}
        if len(whys) == 1 and "" not in whys:
            return head, f"  not computable: {whys.pop()}"
        shown = [head]
        for row in self.rows:
            value = f"not computable: {row.why_not}"
            if row.auroc is not None:
                mark = f"  <- {self.advice}" if row.definition == self.use else ""
                value = f"{row.auroc:.3f}  [{row.low:.3f}, {row.high:.3f}]{mark}"
            shown.append(f"  {row.definition:<24} {value}")
        if self.use is None:
            shown.append(f"  {self.advice}")
        return tuple(shown)


@dataclass(frozen=True, slots=True)
class UncertaintyCard:
    """All definitions on both models of a run, by set."""

    prompts: int
    tables: tuple[SignalTable, ...]
    believed: bool = False  # there are no gold answers: what is right is what most of the strong model's samples say

    @property
    def definitions(self) -> tuple[str, ...]:
        """Those to label by: what each model's table of all prompts advises, where labels can be made by it."""
        first = {table.model: table for table in reversed(self.tables)}  # each model's table of all sets
        advised = dict.fromkeys(table.use for table in reversed(first.values()))
        return tuple(one for one in advised if one in DEFINITION_NAMES)

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        by = (
            "without gold answers: right is what most of the strong model's (other) samples say"
            if self.believed
            else ""
        )
        head = "AUROC of wrong against right first answers (95 % interval), "
        head += f"{count_of(self.prompts, 'prompt')} {by or 'with gold answers'}"
        circular = (
            "the strong model's own entropies are measured by its own samples here: they look better than they are"
        )
        return (head, *([circular] if self.believed else []), *(line for table in self.tables for line in table.lines))


def signals(
    *,
    run: str = "run",
    ask: bool = False,
    max_usd: float | None = None,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> UncertaintyCard:
    """The card of a run; ``ask`` adds P(true) and verbalised confidence, two short calls per prompt and model.

    Without gold answers, an answer counts as right where most of the strong model's other samples mean the same.
    ``allow_endpoints``: as `demur.pipeline.evaluate` takes them; a model that is asked is one of them, or on loopback.
    Raises InputError when samples are missing; EndpointError, BudgetError where asked.
    """
    with open_run(load_run(run), allow_endpoints=allow_endpoints, progress=progress) as opened:
        return uncertainty_card(opened, Budget(max_usd, within=_within(opened)) if ask else None)


def _within(run: Run) -> Budget:
    """What the run leaves for questions to both models about their own answers."""
    return run.budget_for(*((one, by) for one in (run.pair.weak, run.pair.strong) for by in SETTINGS.values()))


def uncertainty_card(run: Run, budget: Budget | None = None) -> UncertaintyCard:
    """The card of an open run; both models are asked about their own answers where there is a budget for it."""
    gold = run.complete([prompt for prompt in run.prompts if prompt.answers])
    prompts = gold or run.complete(run.prompts)
    rights = None if gold else believed_right(run, prompts)
    sets = [prompt.source or Path(run.config.prompts).name for prompt in prompts]
    tables: list[SignalTable] = []
    for side, model, endpoint in (
        (run.samples.weak, run.config.weak, run.pair.weak),
        (run.samples.strong, run.config.strong, run.pair.strong),
    ):
        answers = [side[prompt.id] for prompt in prompts]
        found = run.meanings([prompt.text for prompt in prompts], [[one.text for one in each] for each in answers])
        values = measure_signals(found.ids, answers) | first_answer_signals(run, prompts, answers, budget)
        if budget:
            about = asked_about(
                prompts, side, run.allowed_model(model), run.store, budget=budget, progress=run.progress
            )
            values |= run_to_end(about)
        right = (
            np.array([grade(prompt, each[0].text) for prompt, each in zip(prompts, answers, strict=True)])
            if rights is None
            else rights[side is run.samples.strong]
        )
        tables += tables_by_set(endpoint.model, sets, values, right, first_rows([prompt.text for prompt in prompts]))
    return UncertaintyCard(len(prompts), tuple(tables), believed=not gold)


def believed_right(run: Run, prompts: Sequence[Prompt]) -> tuple[FloatArray, FloatArray]:
    """(n,) whether either model's first answer means the same as most of the strong one's other samples: weak, strong.

    Raises InputError for one sample per prompt, beside which there is no other.
    """
    weak, strong = ([side[prompt.id] for prompt in prompts] for side in (run.samples.weak, run.samples.strong))
    if min(map(len, strong)) < 2:
        raise InputError(
            f"{run.config.run}: without gold answers it takes 2 samples per prompt; sample with --n 2 or more"
        )
    ids = joint_clusters(prompts, weak, strong, run.meanings).ids
    of_weak = [
        float(np.mean(each[1 : len(own)] == each[len(own)]) > 0.5) for each, own in zip(ids, strong, strict=True)
    ]
    of_strong = [float(np.mean(each[1 : len(own)] == each[0]) > 0.5) for each, own in zip(ids, strong, strict=True)]
    return np.array(of_weak), np.array(of_strong)


def first_answer_signals(
    run: Run, prompts: Sequence[Prompt], samples: Sequence[Sequence[Sample]], budget: Budget | None = None
) -> dict[str, FloatArray]:
    """MARS and LARS (n,) of each prompt's first answer; nan throughout without log-probs.

    MARS asks the run's entailment model about at most 32 pairs per prompt, kept in the store. A judge that may be paid
    per pair is asked only where there is a budget; without one there is no such row.
    """
    free = budget is not None or not run.config.label.entailment.startswith(LLM)
    graded = all(prompt.answers for prompt in prompts)  # lars learns from gold answers
    names = [name for name in OF_FIRST_ANSWER if (free or name != "mars") and (graded or name != "lars")]
    if not has_tokens(samples):
        return {name: np.full(len(prompts), np.nan) for name in names}
    return {name: first_answer_doubt(name, prompts, samples, run.meanings.entailment) for name in names}


def measure_signals(clusters: Sequence[IntArray], samples: Sequence[Sequence[Sample]]) -> dict[str, FloatArray]:
    """Definition -> (n,) uncertainty of each prompt; nan throughout where it needs log-probs that are not there."""
    given = has_tokens(samples)
    logprobs = [[one.logprobs or () for one in answers] for answers in samples]
    return {
        name: np.full(len(samples), np.nan)
        if name in NEEDS_LOGPROBS and not given
        else np.array([uncertainty(ids, tokens, name) for ids, tokens in zip(clusters, logprobs, strict=True)])
        for name in SHOWN
    }


def tables_by_set(
    model: str,
    sets: Sequence[str],
    values: Mapping[str, FloatArray],
    right: FloatArray,
    groups: IntArray | None = None,
) -> list[SignalTable]:
    """One table per set of prompts, and before them one of all prompts if there are several sets.

    ``sets`` and ``right`` (the first answer's quality) and each definition's ``values`` are (n,); ``groups`` (n,):
    rows of one prompt.
    """
    names, of, number = sorted(set(sets)), np.array(sets), group_numbers(len(sets), groups)
    chosen = {ALL: np.full(len(of), True)} if len(names) > 1 else {}
    chosen |= {name: of == name for name in names}
    return [
        signal_table(model, name, {key: one[here] for key, one in values.items()}, right[here], number[here])
        for name, here in chosen.items()
    ]


def signal_table(
    model: str, prompts: str, values: Mapping[str, FloatArray], right: FloatArray, groups: IntArray | None = None
) -> SignalTable:
    """All definitions on the same prompts and draws, and which of them to use."""
    whys = {name: _why_not(name, one, right) for name, one in values.items()}
    drawn = {name: auroc_draws(one, right, groups) for name, one in values.items() if not whys[name]}
    point = {name: auroc(values[name], right) for name in drawn}
    rows = []
    for name, why in whys.items():
        low, high = percentile_interval(drawn[name]).tolist() if name in drawn else (None, None)
        rows.append(SignalRow(name, point.get(name), low, high, why))
    return SignalTable(model, prompts, len(right), float(right.mean()), tuple(rows), _to_use(point, drawn))


def _to_use(point: Mapping[str, float], drawn: Mapping[str, FloatArray]) -> str | None:
    """Of those whose interval lies above .5, the cheapest that the paired interval cannot tell from the best one.

    None where no interval does.
    """
    telling = [name for name in drawn if name in COST and percentile_interval(drawn[name])[0] > 0.5]
    if not telling:
        return None
    best = max(telling, key=lambda name: point[name])
    equal = [name for name in telling if percentile_interval(drawn[best] - drawn[name])[0] <= 0]
    return min(equal, key=lambda name: (COST[name], -point[name]))


def _why_not(definition: str, values: FloatArray, right: FloatArray) -> str:
    """Why an AUROC cannot be computed; "" where it can."""
    told = ~np.isnan(values)
    if definition in (*NEEDS_LOGPROBS, *OF_FIRST_ANSWER) and not told.any():
        return "the endpoint gave no log-probs"
    if told.sum() < len(values) / 2:
        return f"{(~told).sum()} of {len(values)} replies say nothing"
    good = right[told].sum()
    if min(good, told.sum() - good) < FEWEST:
        return f"{good:.0f} right and {told.sum() - good:.0f} wrong answers; an interval takes {FEWEST} of each"
    return ""


def auroc_draws(values: FloatArray, quality: FloatArray, groups: IntArray | None = None) -> FloatArray:
    """(RESAMPLES,) AUROC of prompts drawn again, the same draws whatever the values, so that definitions are paired.

    Values that are nan are left out; a draw of right answers only gives nan.
    """
    both = np.column_stack([values, quality])
    return bootstrap(both, lambda rows: auroc(rows[:, 0], rows[:, 1]), groups=groups)
