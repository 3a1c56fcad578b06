"""`demur pairs`: which pair of several sampled models is worth serving within a budget, without grades.

Every model's answers are compared with those of the strongest one, by meaning: how often they mean the same is what the
strongest believes of them, sum_c p_s(c) p_m(c). A router that predicts each model's belief from the prompt, held out,
says which model to ask. Nothing is asked of a model here: the samples of runs on the same prompts are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from demur.config import load_run
from demur.errors import InputError
from demur.labels.scores.uncertainty import consistency
from demur.meaning.clusters import Clustering
from demur.measure.ladder import Ladder, ladders
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.models.endpoint import Endpoint
from demur.models.prices import usd_of_serving
from demur.records import FloatArray, Progress, Prompt, Sample, count_of, dollars, no_progress
from demur.runs.run import Run, open_run

SHOWN = 10
Answers = Sequence[Sequence[Sample]]  # of every prompt


@dataclass(frozen=True, slots=True)
class PairsFound:
    """Every single model, pair and ladder of three within a budget, the best first."""

    models: tuple[str, ...]
    strongest: str  # whose samples believe
    usd_per_1k: float
    prompts: int
    alone: tuple[tuple[float, float], ...]  # believed quality and USD per 1,000 prompts of each model alone
    ladders: tuple[Ladder, ...]

    @property
    def best_pair(self) -> Ladder | None:
        """The best of two models; None where the budget allows none."""
        return next((one for one in self.ladders if len(one.models) == 2), None)

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        width = max(len(self._names(one)) for one in self.ladders[:SHOWN])
        rows = [
            f"  {self._names(one):<{width}}  {one.quality:.3f} [{one.low:.3f}, {one.high:.3f}]  "
            f"{dollars(1000 * one.usd)}  " + " / ".join(f"{share:.0%}" for share in one.shares)
            for one in self.ladders[:SHOWN]
        ]
        alone = ", ".join(
            f"{name} {quality:.3f} at {dollars(usd)}"
            for name, (quality, usd) in zip(self.models, self.alone, strict=True)
        )
        return (
            f"{count_of(self.prompts, 'prompt')}, at most {dollars(self.usd_per_1k)} per 1,000; quality is believed by "
            f"{self.strongest}'s samples (no labels used), routed by the prompt alone, held out",
            f"alone: {alone}",
            "models, by rising cost; believed quality [95 %]; USD per 1,000; share of calls to each",
            *rows,
            *self._advice,
        )

    @property
    def _advice(self) -> tuple[str, ...]:
        best, pair = self.ladders[0], self.best_pair
        if len(best.models) == 1:
            return (f"{self._names(best)} alone is best within this budget: nothing is gained by routing",)
        if len(best.models) > 2 and pair is not None:
            more = 100 * (best.quality - pair.quality)
            return (
                f"a ladder of three is believed {more:.1f} right answers per 100 better than the best pair, "
                f"{self._names(pair)}; name all three as [[models]] of a run file, by rising price",
            )
        return ()

    def _names(self, one: Ladder) -> str:
        return " -> ".join(self.models[i] for i in one.models)


def pairs(
    runs: Sequence[str],
    usd_per_1k: float,
    *,
    strongest: str | None = None,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> PairsFound:
    """Rank the models of several runs on the same prompts, alone, in pairs and in threes, within a budget.

    ``strongest``: the model whose samples are believed; None: the dearest. Raises InputError for runs that do not fit
    together, and where a price is unknown or nothing fits the budget.
    """
    with ExitStack() as stack:
        every = [
            stack.enter_context(open_run(load_run(run), allow_endpoints=allow_endpoints, progress=progress))
            for run in runs
        ]
        prompts, answers, endpoints = _together(every)
        names = list(answers)
        usd = np.column_stack([_costs(answers[name], endpoints[name]) for name in names])
        believer = _strongest(names, usd, strongest)
        believed = beliefs(
            [prompt.text for prompt in prompts], [answers[name] for name in names], believer, every[0].meanings
        )
        vectors = np.asarray(every[0].encoder.encode([prompt.text for prompt in prompts]), dtype=np.float32)
    return rank(names, believer, vectors, believed, usd, usd_per_1k)


def rank(
    names: Sequence[str], believer: int, vectors: FloatArray, believed: FloatArray, usd: FloatArray, usd_per_1k: float
) -> PairsFound:
    """From embeddings (n, d), believed quality and USD of an answer, (n, M)."""
    predicted = predict(vectors, believed)
    return PairsFound(
        models=tuple(names),
        strongest=names[believer],
        usd_per_1k=usd_per_1k,
        prompts=len(believed),
        alone=tuple(zip(believed.mean(axis=0).tolist(), (1000 * usd.mean(axis=0)).tolist(), strict=True)),
        ladders=tuple(ladders(predicted, believed, usd, usd_per_1k / 1000)),
    )


def predict(vectors: FloatArray, quality: FloatArray) -> FloatArray:
    """(n, M) each model's quality as a router predicts it from the prompt, by fits that did not see it."""
    columns = [
        held_out_scores(KernelRidge(), vectors, column) if np.ptp(column) > 0 else column for column in quality.T
    ]
    return np.column_stack(columns)


def beliefs(questions: Sequence[str], answers: Sequence[Answers], believer: int, meanings: Clustering) -> FloatArray:
    """(n, M) how right the ``believer``'s samples believe each model's answers to be; none is compared with itself."""
    ids = meanings(questions, [[one.text for side in answers for one in side[i]] for i in range(len(questions))]).ids
    found = np.empty((len(questions), len(answers)))
    for i, of_all in enumerate(ids):
        parts = np.split(np.asarray(of_all), np.cumsum([len(side[i]) for side in answers])[:-1])
        for m, part in enumerate(parts):
            alike = float(np.mean(part[:, None] == parts[believer]))
            found[i, m] = consistency(part) if m == believer else alike
    return found


def _together(runs: Sequence[Run]) -> tuple[list[Prompt], Mapping[str, Answers], Mapping[str, Endpoint]]:
    """The prompts that all models of the runs have answered, their answers and endpoints, by the models' names."""
    first = runs[0].config
    for run in runs[1:]:
        if run.config.sampling != first.sampling:
            raise InputError(f"{run.config.run} was sampled with other settings than {first.run}; sample both alike")
    by_text = [{prompt.text: prompt for prompt in run.complete(run.prompts)} for run in runs]
    shared = [text for text in by_text[0] if all(text in one for one in by_text[1:])]
    if not shared:
        raise InputError(f"{', '.join(run.config.run for run in runs)} have no prompt in common; sample the same file")
    answers: dict[str, Answers] = {}
    endpoints: dict[str, Endpoint] = {}
    for run, known in zip(runs, by_text, strict=True):
        for endpoint, samples in ((run.pair.weak, run.samples.weak), (run.pair.strong, run.samples.strong)):
            if endpoints.get(endpoint.model, endpoint).name != endpoint.name:
                raise InputError(
                    f"two models are called {endpoint.model!r}: {endpoint.name} and another; name one apart"
                )
            endpoints[endpoint.model] = endpoint
            answers[endpoint.model] = [samples[known[text].id] for text in shared]
    return [by_text[0][text] for text in shared], answers, endpoints


def _costs(answers: Answers, endpoint: Endpoint) -> FloatArray:
    """(n,) USD of one answer to each prompt. Raises InputError where the price or a count is unknown."""
    costs = [usd_of_serving(each, endpoint.price) for each in answers]
    if any(cost is None for cost in costs):
        raise InputError(
            f"{endpoint.model}: what it costs is unknown, so no budget can be kept; sample it with --weak-usd or "
            "--strong-usd IN/OUT"
        )
    return np.array(costs, dtype=float)


def _strongest(names: Sequence[str], usd: FloatArray, wanted: str | None) -> int:
    if wanted is None:
        return int(np.argmax(usd.mean(axis=0)))
    if wanted not in names:
        raise InputError(f"strongest is {wanted!r}, which is not one of the runs' models: {', '.join(names)}")
    return names.index(wanted)
