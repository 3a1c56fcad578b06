"""`demur evaluate`: measures every router of a run on its test prompts, and the served one also with its gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from demur.config.names import CASCADE
from demur.evaluation.gate_rows import HARD, PRESET, measure_gate
from demur.evaluation.graded_file import GradedFile, write_graded
from demur.evaluation.report.headline import headline, payback, tier_headline
from demur.evaluation.results import (
    Evaluation,
    TestSet,
    evaluate_router,
    examples,
    first_quality,
    grade_test_set,
    quality_warnings,
    reliability_of,
    served_usd,
    verdict_by_grades,
)
from demur.evaluation.tiers import measure_tiers
from demur.evaluation.unusable_answers import unusable_sentence
from demur.gate.router import Router
from demur.labels.beliefs.tier_beliefs import graded_tiers
from demur.labels.beliefs.unknown import UNKNOWN_FILE, read_unknown, saturation_of
from demur.labels.label_run import printed_targets
from demur.labels.preference_files import read_preferences
from demur.labels.targets import label_warnings
from demur.models.allowed_endpoints import without_keys
from demur.models.encoders.encoder import CachedEncoder
from demur.prompts.grading import grade
from demur.records import Encoder, FloatArray, Preference, Prompt
from demur.routing.prompt_router import PromptRouter
from demur.routing.train import train_hard, train_same_entropies
from demur.routing.verdict import recorded_verdict
from demur.runs.lineage import outdated_stages
from demur.runs.provenance import record_of
from demur.runs.run import Run
from demur.sampling.cost import pricing
from demur.sampling.pair import spend_of


def evaluate_run(run: Run) -> Evaluation | None:
    """All routers on the test prompts; None when no prompt has gold answers."""
    prompts = run.complete(run.test)
    if not prompts:
        return None
    config, samples, weak, strong = run.config, run.samples, run.pair.weak, run.pair.strong
    test = grade_test_set(prompts, samples.weak, samples.strong, (weak.price, strong.price), run.own.grader or grade)
    texts = [prompt.text for prompt in prompts]
    first_weak, first_strong = (first_quality(prompts, side, test.grader) for side in (samples.weak, samples.strong))
    graded = GradedFile(
        tuple(texts), first_weak, first_strong, measured_by(test)
    )  # of one answer per model: that is what is served
    write_graded(config.graded, graded)
    loaded = keep_vectors(run, load_served(run, run.own.classifier(config.router.served)))
    served, encoder = loaded.prompt_router, loaded.prompt_router.encoder
    rows = []
    for done, name in enumerate(config.router.methods):
        run.progress("measuring routers", done, len(config.router.methods))
        router = PromptRouter.load(config.routers / name, encoder=encoder, method=run.own.classifier(name))
        shown = f"{name}, prompt alone" if name == CASCADE and loaded.gate else name
        rows.append(evaluate_router(shown, router.score(texts), test))
        rows[-1].curve.interval("apgr")  # the slow part, while the bar is up
    run.progress("measuring routers", len(config.router.methods), len(config.router.methods))
    preferences = read_preferences(config.preferences)
    meanings = run.meanings if trained_on_meanings(run, loaded) else None
    recipes = paper_routers(run, preferences, encoder)
    staged, findings, sampled = measure_gate(loaded, config.router.served, test, recipes, meanings)
    firsts = [samples.weak[prompt.id][0] for prompt in prompts]
    unusable = unusable_sentence(prompts, firsts, first_weak, first_strong)
    targets = np.array([row.target for row in preferences])
    prices = pricing(run.pair, config.label.entailment)
    spent = spend_of(run.config, run.pair, run.prompts, samples, run.store)
    means = _mean(test.weak_usd), _mean(test.strong_usd)
    looked = served.look_at(texts)
    tiers = None
    if looked.values is None:
        in_line = headline(loaded, looked, texts, on="test prompts", quality=graded.means, usd=graded.usd)
    else:
        worth, usd = graded_tier_test(run, prompts), tier_test_usd(run, prompts)
        told = (looked.values, worth, usd, looked.unknown)
        tiers = measure_tiers(served, *told, on="test prompts", believed=False)
        in_line = tier_headline(
            *(served, looked.values, texts, looked.unknown),
            on="test prompts",
            threshold=None,
            quality=worth,
            usd=usd,
            believed=False,
        )
    serves = staged[-1].router if loaded.active else config.router.served
    return Evaluation(
        weak=served.weak,
        strong=served.strong,
        rows=(*rows, *staged),
        served=serves,
        headline=sampled or in_line,
        preferences=tuple(preferences),
        examples=examples(served, test),
        warnings=(
            *outdated_stages(config.folder),
            *quality_warnings(test),
            *label_warnings(targets, saturation_of(preferences, read_unknown(config.folder / UNKNOWN_FILE))),
        ),
        pricing=prices,
        payback=payback(spent.usd, sampled or in_line),
        usd_alone=(None if means[0] is None else 1000 * means[0], None if means[1] is None else 1000 * means[1]),
        findings=(*findings, *filter(None, [unusable])),
        notes=record_of(run, preferences),
        trials=loaded.trials,
        tiers=tiers,
        remarks=loaded.lines[1:],
        verdict=verdict_by_grades(
            next(row for row in (*rows, *staged) if row.router == serves), len(prompts), recorded_verdict(served.record)
        ),
        reliability=reliability_of(served, test),
    )


def paper_routers(run: Run, preferences: Sequence[Preference], encoder: Encoder) -> dict[str, PromptRouter]:
    """SW as the paper prints it, and SW on hard labels of the labels' own entropies; those that the run allows."""
    texts, names = [row.prompt for row in preferences], (preferences[0].model_a, preferences[0].model_b)
    printed = printed_targets(run, texts) if run.config.label.needs("samples") else None
    found = {
        PRESET: None if printed is None else train_hard(texts, printed, encoder, names, "paper"),
        HARD: train_same_entropies(preferences, encoder),
    }
    return {name: router for name, router in found.items() if router is not None}


def graded_tier_test(run: Run, prompts: Sequence[Prompt]) -> FloatArray:
    """(n, K) mean graded quality of what every model serves."""
    sides = [[side[prompt.id] for prompt in prompts] for side in run.samples.all]
    votes = [model.votes for model in run.config.models]
    return graded_tiers(prompts, sides, votes, run.meanings, run.own.grader or grade)


def tier_test_usd(run: Run, prompts: Sequence[Prompt]) -> FloatArray:
    """(n, K) USD of one answer of every model."""
    columns = []
    for side, endpoint, model in zip(run.samples.all, run.pair.all, run.config.models, strict=True):
        usd = served_usd(prompts, side, endpoint.price)
        assert usd is not None, "a router of several models knows their prices"
        columns.append(model.votes * usd)
    return np.column_stack(columns)


def measured_by(test: TestSet) -> dict[str, FloatArray]:
    """What the test prompts were measured by, beside the one answer that is served: all samples, and their tokens."""
    found = {"weak_mean_quality": test.weak_quality, "strong_mean_quality": test.strong_quality}
    costs = {"weak_usd": test.weak_usd, "strong_usd": test.strong_usd}
    return found | {name: usd for name, usd in costs.items() if usd is not None and np.isfinite(usd).all()}


def load_served(run: Run, method: object | None) -> Router:
    """The router that the run saved; ``method`` where it is a classifier of the user's own."""
    own, config = run.own, run.config
    return Router.load(
        config.served_router,
        encoder=own.encoder,
        entailment=own.entailment,
        method=method,
        allow_endpoints=run.allow_endpoints,
    )


def keep_vectors(run: Run, router: Router) -> Router:
    """The same router, whose encoder keeps its vectors in the run's store."""
    encoder = CachedEncoder(router.prompt_router.encoder, run.store, progress=run.progress)
    return replace(router, prompt_router=replace(router.prompt_router, encoder=encoder))


def trained_on_meanings(run: Run, router: Router) -> bool:
    """True where the gate was learned from meanings as the run's record decides them today."""
    label = run.config.label
    learned = router.prompt_router.record.get("labels", {}).get("entailment"), router.rules
    return learned == (without_keys(label.entailment), label.rules)


def _mean(values: FloatArray | None) -> float | None:
    return None if values is None else float(values.mean())
