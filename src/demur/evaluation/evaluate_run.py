"""`demur evaluate`: measures every router of a run on its test prompts, and the served one also with its gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from demur.config.names import CASCADE
from demur.evaluation.gate_rows import HARD, PRESET, measure_gate
from demur.evaluation.graded_file import BY_GOLD, GradedFile, write_graded
from demur.evaluation.grades import read_grades
from demur.evaluation.report.cautions import cautions_of
from demur.evaluation.report.headline import headline, tier_headline
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.kinds_table import kinds_table
from demur.evaluation.results import (
    Evaluation,
    EvaluationRow,
    TestSet,
    evaluate_router,
    examples,
    first_quality,
    gap_warnings,
    grade_test_set,
    labels_of_judge,
    payback,
    reliability_of,
    served_usd,
    verdict_by_grades,
)
from demur.evaluation.tiers import TiersMeasured, measure_tiers
from demur.evaluation.unusable_answers import unusable_sentence
from demur.gate.explanation import scores_are_chances
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
from demur.runs.lineage import GRADES_FILE, keep_headline, outdated_stages
from demur.runs.provenance import record_of
from demur.runs.run import Run
from demur.sampling.cost import price_facts, price_line
from demur.sampling.pair import spend_of


def evaluate_by_gold(run: Run) -> Evaluation | None:
    """All routers on the test prompts; None when no prompt has gold answers."""
    prompts = run.complete(run.held_back)
    if not prompts:
        return None
    config, samples = run.config, run.samples
    prices = run.pair.weak.price, run.pair.strong.price
    test = grade_test_set(prompts, samples.weak, samples.strong, prices, run.own.grader or grade)
    graded = graded_firsts(run, prompts, test)
    write_graded(config.graded, graded)
    loaded = keep_vectors(run, load_served(run, run.own.classifier(config.router.served)))
    rows = measure_routers(run, loaded, test, graded.prompts)
    preferences = read_preferences(config.preferences)
    meanings = run.meanings if trained_on_meanings(run, loaded) else None
    recipes = paper_routers(run, preferences, loaded.prompt_router.encoder)
    staged, findings, remarks, sampled = measure_gate(loaded, config.router.served, test, recipes, meanings)
    rows += staged
    firsts = [samples.weak[prompt.id][0] for prompt in prompts]
    unusable = unusable_sentence(prompts, firsts, graded.weak_quality, graded.strong_quality)
    spent = spend_of(config, run.pair, run.prompts, samples, run.store)
    tiers, in_line = measure_served(run, loaded, prompts, graded)
    serves = staged[-1].router if loaded.active else config.router.served
    served = loaded.prompt_router
    found = Evaluation(
        weak=served.weak,
        strong=served.strong,
        rows=tuple(rows),
        served=serves,
        headline=sampled or in_line,
        preferences=tuple(preferences),
        examples=examples(served, test),
        warnings=evaluation_warnings(run, rows[0], preferences),
        pricing=price_line(price_facts(run.pair)),
        payback=payback(spent.total_usd, sampled or in_line, spent.uncounted_models),
        usd_alone=(usd_per_1k(test.weak_usd), usd_per_1k(test.strong_usd)),
        findings=(*labels_of_judge(config), *findings, *filter(None, [unusable])),
        cautions=cautions_of(loaded, folder=config.folder, graded=True),
        kinds=kinds_table(loaded, read_grades(config.folder / GRADES_FILE)),
        notes=record_of(run, preferences),
        trials=loaded.trials,
        tiers=tiers,
        remarks=remarks,
        verdict=verdict_by_grades(
            next(row for row in rows if row.router == serves), len(prompts), recorded_verdict(served.record)
        ),
        chance=scores_are_chances(served),
        reliability=reliability_of(served, test),
        graded_by=f"{len(prompts):,} by {'your grader' if run.own.grader else BY_GOLD}",
        folder=config.folder,
    )
    keep_headline(config.folder, asdict(found.block))
    return found


def graded_firsts(run: Run, prompts: Sequence[Prompt], test: TestSet) -> GradedFile:
    """Grades of one answer per model, the first: that is what is served."""
    weak, strong = (first_quality(prompts, side, test.grader) for side in (run.samples.weak, run.samples.strong))
    return GradedFile(tuple(prompt.text for prompt in prompts), weak, strong, measured_by(test))


def measure_routers(run: Run, served: Router, test: TestSet, texts: Sequence[str]) -> list[EvaluationRow]:
    """A row per router of the run, on the prompt alone."""
    names, rows = run.config.router.methods, list[EvaluationRow]()
    for done, name in enumerate(names):
        run.progress("measuring routers", done, len(names))
        folder, method = run.config.routers / name, run.own.classifier(name)
        router = PromptRouter.load(folder, encoder=served.prompt_router.encoder, method=method)
        shown = f"{name}, prompt alone" if name == CASCADE and served.gate else name
        rows.append(evaluate_router(shown, router.score(texts), test))
        rows[-1].curve.interval("apgr")  # the slow part, while the bar is up
    run.progress("measuring routers", len(names), len(names))
    return rows


def measure_served(
    run: Run, router: Router, prompts: Sequence[Prompt], graded: GradedFile
) -> tuple[TiersMeasured | None, Headline]:
    """What is served on the test prompts: of several models, all that is measured of them, and the headline."""
    served, texts = router.prompt_router, graded.prompts
    looked = served.look_at(texts)
    if looked.values is None:
        return None, headline(router, looked, texts, on="test prompts", quality=graded.means, usd=graded.usd)
    worth, usd = graded_tier_test(run, prompts), tier_test_usd(run, prompts)
    settled = served.unknown_setting.settled_rows(looked.untold)
    tiers = measure_tiers(served, looked.values, worth, usd, settled, texts=texts, on="test prompts", believed=False)
    return tiers, tier_headline(
        *(served, looked.values, texts, settled),
        on="test prompts",
        threshold=None,
        quality=worth,
        usd=usd,
        believed=False,
    )


def evaluation_warnings(run: Run, row: EvaluationRow, preferences: Sequence[Preference]) -> tuple[str, ...]:
    """What is outdated in the run, and what its test prompts and its labels cannot tell."""
    targets = np.array([row.target for row in preferences])
    saturation = saturation_of(preferences, read_unknown(run.config.folder / UNKNOWN_FILE))
    return (
        *outdated_stages(run.config.folder),
        *gap_warnings(row.curve),
        *label_warnings(targets, saturation),
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


def usd_per_1k(usd: FloatArray | None) -> float | None:
    """USD of 1,000 answers like these, (n,); None where a price is unknown."""
    return None if usd is None else 1000 * float(usd.mean())
