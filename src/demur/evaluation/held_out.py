"""Measures a run's routers on their own training prompts, each scored by a fit that did not see it.

Without gold answers quality is what the strong model's samples believe; where a person has graded some prompts
(`demur grade`), it is their grades of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from demur.errors import InputError
from demur.evaluation.evaluate_run import keep_vectors, load_served, usd_per_1k
from demur.evaluation.graded_file import BY_HAND
from demur.evaluation.grades import GRADES_FILE, USUAL_GRADES, read_grades
from demur.evaluation.report.headline import expected_costs, graded_headline, training_headline
from demur.evaluation.report.kept_point import Pair
from demur.evaluation.results import Evaluation, EvaluationRow, Example, payback, verdict_by_grades
from demur.evaluation.tiers import TiersMeasured, measure_tiers, tier_usd
from demur.gate.router import Router
from demur.labels.beliefs.unknown import UNKNOWN_FILE, read_unknown, saturation_of
from demur.labels.preference_files import read_preferences
from demur.labels.targets import label_warnings
from demur.measure.curve import cost_quality_curve
from demur.prompts import why_untested
from demur.records import IntArray, count_of
from demur.routing.prompt_router import NEIGHBOURS, PromptRouter
from demur.routing.verdict import recorded_verdict
from demur.runs.lineage import outdated_stages
from demur.runs.provenance import record_of
from demur.runs.run import Run
from demur.sampling.cost import pricing
from demur.sampling.pair import spend_of

FEWEST_GRADED = 20  # with fewer no interval means anything


def evaluate_by_grades(run: Run) -> Evaluation:
    """By a person's grades; raises InputError, with what to do, where there are none, or too few."""
    if not (run.config.folder / GRADES_FILE).is_file():
        raise InputError(
            f"{run.config.prompts}: {why_untested(run.prompts, run.config.test_share)}; a guarantee (`demur calibrate "
            f"--risk`) needs prompts that have not trained the router: {BY_HAND}"
        )
    return evaluate_held_out(run, graded=True)


def evaluate_without_gold(run: Run) -> Evaluation:
    """By a person's grades where there are enough, else by what the strong model's samples believe."""
    return evaluate_held_out(run, graded=count_graded_prompts(run) >= FEWEST_GRADED)


def try_without_gold(run: Run, router: Router) -> Evaluation | None:
    """The same; None where too few prompts are graded and nothing is believed of a router."""
    if router.beliefs is None and count_graded_prompts(run) < FEWEST_GRADED:
        return None
    return evaluate_without_gold(run)


def count_graded_prompts(run: Run) -> int:
    """How many of the labelled prompts a person has graded; the others count for nothing in measuring a router."""
    grades = read_grades(run.config.folder / GRADES_FILE)
    return sum(one.prompt in grades for one in read_preferences(run.config.preferences)) if grades else 0


def evaluate_held_out(run: Run, *, graded: bool) -> Evaluation:
    """All routers on the training prompts, by belief; with ``graded`` on those that a person has graded.

    Raises InputError where the router was trained without samples or gate, or too few prompts are graded.
    """
    config = run.config
    loaded = keep_vectors(run, load_served(run, run.own.classifier(config.router.served)))
    served = loaded.prompt_router
    rows, quality = _graded_quality(run, served) if graded else _believed_quality(run, loaded)
    texts = [served.training[i].prompt for i in rows]
    costs = expected_costs(loaded, texts)
    weak_usd, strong_usd = (None, None) if costs[0] is None or costs[1] is None else costs
    curves = [
        EvaluationRow(
            name,
            cost_quality_curve(router.training_scores[rows], *quality, weak_cost=weak_usd, strong_cost=strong_usd),
        )
        for name, router in _routers(run, served)
    ]
    preferences, remembered = read_preferences(config.preferences), read_unknown(config.folder / UNKNOWN_FILE)
    spent = spend_of(run.config, run.pair, run.prompts, run.samples, run.store)
    row = next(one for one in curves if one.router == config.router.served)
    verdict = recorded_verdict(served.record)
    in_line = graded_headline(loaded, rows, quality) if graded else training_headline(loaded)
    told = f"{len(remembered)} of {len(preferences) + len(remembered)} prompts could not be labelled from their samples"
    return Evaluation(
        weak=served.weak,
        strong=served.strong,
        rows=tuple(curves),
        served=config.router.served,
        headline=in_line,
        preferences=tuple(preferences),
        examples=_examples(run, served, rows, quality),
        warnings=(
            *outdated_stages(config.folder),
            *(_left_out(run, len(rows)) if graded else ()),
            *(_few_grades(len(rows), config.run) if graded else ()),
            *(_no_gap(quality) if quality[1].mean() <= quality[0].mean() else ()),
            *label_warnings(np.array([one.target for one in preferences]), saturation_of(preferences, remembered)),
        ),
        pricing=pricing(run.pair, config.label.entailment),
        payback=payback(spent.usd, in_line),
        usd_alone=(usd_per_1k(costs[0]), usd_per_1k(costs[1])),  # of the table's own prompts
        findings=(told, loaded.sentence),
        notes=record_of(run, preferences),
        trials=loaded.trials,
        tiers=_tiers(served) if not graded else None,
        remarks=loaded.lines[1:],
        believed=not graded,
        verdict=verdict_by_grades(row, len(rows), verdict) if graded else verdict.sentence if verdict else "",
    )


def _tiers(router: PromptRouter) -> TiersMeasured | None:
    """The models of a router of several on its training prompts, by belief."""
    if router.tiers is None:
        return None
    usd = tier_usd(router, [one.prompt for one in router.training])
    values, qualities = router.tiers.training_values, router.tiers.qualities
    return measure_tiers(router, values, qualities, usd, on="training prompts, held out", believed=True)


def _believed_quality(run: Run, router: Router) -> tuple[IntArray, Pair]:
    """All training prompts, and both models' believed quality."""
    if router.beliefs is None:
        raise InputError(
            f"{run.config.prompts}: no prompt has gold answers, and nothing is believed of a router that was trained "
            "without samples or with --gate off; grade some answers by hand: demur grade"
        )
    return np.arange(len(router.prompt_router.training)), (router.beliefs[0], router.beliefs[1])


def _graded_quality(run: Run, router: PromptRouter) -> tuple[IntArray, Pair]:
    """The training prompts that a person has graded, and both answers' quality."""
    grades = read_grades(run.config.folder / GRADES_FILE)
    rows = [i for i, one in enumerate(router.training) if one.prompt in grades]
    if len(rows) < FEWEST_GRADED:
        given = count_of(len(grades), "prompt is", "prompts are")
        raise InputError(
            f"{run.config.folder / GRADES_FILE}: {given} graded, {len(rows)} of them are training prompts of the "
            f"router; {FEWEST_GRADED} such are needed, 100 are better: demur grade --run {run.config.run} asks for "
            "those first"
        )
    found = np.array([grades[router.training[i].prompt] for i in rows], dtype=float)
    return np.array(rows), (found[:, 0], found[:, 1])


def _routers(run: Run, served: PromptRouter) -> list[tuple[str, PromptRouter]]:
    """Every method's router; one that learned from other prompts than the served one cannot be set beside it."""
    found = []
    for name in run.config.router.methods:
        router = PromptRouter.load(run.config.routers / name, encoder=served.encoder, method=run.own.classifier(name))
        if [one.prompt for one in router.training] == [one.prompt for one in served.training]:
            found.append((name, router))
    return found


def _left_out(run: Run, used: int) -> tuple[str, ...]:
    """That grades of prompts which trained no router are left out, and why; empty where all are used."""
    given = len(read_grades(run.config.folder / GRADES_FILE))
    if given == used:
        return ()
    return (
        f"{given - used:,} of {given:,} graded prompts are left out: the router did not learn from them (their samples "
        "gave no label), so no fit without them can score them",
    )


def _few_grades(number: int, run: str) -> tuple[str, ...]:
    if number >= USUAL_GRADES:
        return ()
    return (
        f"{count_of(number, 'graded prompt is', 'graded prompts are')} too few to decide between routers, unless they "
        "differ much; grade "
        f"{USUAL_GRADES} or more: demur grade --run {run}",
    )


def _no_gap(quality: Pair) -> tuple[str, ...]:
    weak, strong = (float(side.mean()) for side in quality)
    return (
        f"the strong model is no better than the weak one here ({strong:.3f} against {weak:.3f}): CPT and APGR have no "
        "meaning",
    )


def _examples(run: Run, router: PromptRouter, rows: IntArray, quality: Pair) -> tuple[Example, ...]:
    """The decision on each prompt by its held-out score, beside both first answers and other training prompts."""
    ids = {prompt.text: prompt.id for prompt in run.prompts}
    found = []
    for i, weak, strong in zip(rows, *quality, strict=True):
        text, score = router.training[i].prompt, float(router.training_scores[i])
        near = router.route(text, neighbours=NEIGHBOURS + 1).neighbours
        found.append(
            Example(
                prompt=text,
                score=score,
                role="strong" if score >= router.threshold else "weak",
                weak_answer=_first(run.samples.weak, ids.get(text)),
                strong_answer=_first(run.samples.strong, ids.get(text)),
                weak_quality=float(weak),
                strong_quality=float(strong),
                neighbours=tuple(one for one in near if one.prompt != text)[:NEIGHBOURS],
            )
        )
    return tuple(found)


def _first(samples: Mapping[str, Sequence[object]], prompt: str | None) -> str:
    answers = samples.get(prompt or "", ())
    return str(getattr(answers[0], "text", "")) if answers else ""
