"""Measures a run's routers on their own training prompts, each scored by a fit that did not see it.

Without gold answers quality is what the strong model's samples believe; where a person has graded some prompts
(`demur grade`), it is their grades of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict

import numpy as np

from demur.config import RunConfig
from demur.errors import InputError
from demur.evaluation.evaluate_run import keep_vectors, load_served, usd_per_1k
from demur.evaluation.gate_rows import gate_in_brief
from demur.evaluation.graded_file import USUAL_GRADES, read_graded
from demur.evaluation.grades import (
    FEWEST_GRADED,
    UNKNOWN_FIRST,
    decided_prompts,
    grade_more,
    read_grades,
)
from demur.evaluation.report.cautions import cautions_of
from demur.evaluation.report.graded_headline import counted_prompts, graded_headline
from demur.evaluation.report.headline import expected_costs, learned_prompts, training_headline
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.kept_point import Pair, points_at_shares, scored_prompts, without_gap
from demur.evaluation.report.kinds_table import kinds_table
from demur.evaluation.report.tables import CHOICES
from demur.evaluation.report.which_prompts import TRAINING
from demur.evaluation.results import (
    Evaluation,
    EvaluationRow,
    Example,
    gap_warnings,
    labels_of_judge,
    payback,
    verdict_by_grades,
)
from demur.evaluation.tiers import TiersMeasured, measure_tiers, tier_usd
from demur.gate.explanation import scores_are_chances
from demur.gate.quality.believed_quality import judged_prompts
from demur.gate.router import Router
from demur.labels.beliefs.unknown import UNKNOWN_FILE, read_unknown, saturation_of
from demur.labels.preference_files import read_preferences
from demur.labels.targets import label_warnings
from demur.measure.curve import cost_quality_curve
from demur.measure.threshold import KeptPoint
from demur.prompts import why_untested
from demur.records import IntArray, count_of
from demur.routing.known.training_texts import labelled_part, training_texts
from demur.routing.prompt_router import NEIGHBOURS, PromptRouter
from demur.routing.verdict import RouterVerdict, recorded_verdict
from demur.runs.lineage import GRADES_FILE, keep_headline, outdated_stages
from demur.runs.provenance import record_of
from demur.runs.run import Run
from demur.sampling.cost import price_facts, price_line
from demur.sampling.pair import spend_of
from demur.statistics import first_rows


def evaluate_by_grades(run: Run) -> Evaluation:
    """By a person's grades; raises InputError, with what to do, where there are none, or too few."""
    if not (run.config.folder / GRADES_FILE).is_file():
        raise InputError(
            f"{run.config.prompts}: {why_untested(run.prompts, run.config.test_share)} (for a guarantee grade prompts "
            "that have not trained the router: demur docs report)"
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
    """How many of the prompts that the score decides a person has graded; others do not measure a router."""
    grades = read_grades(run.config.folder / GRADES_FILE)
    return len(decided_prompts(run.config) & grades.keys()) if grades else 0


def evaluate_held_out(run: Run, *, graded: bool) -> Evaluation:
    """All routers on the training prompts, by belief; with ``graded`` on those that a person has graded.

    Raises InputError where the router was trained without samples or gate, or too few prompts are graded.
    """
    config = run.config
    loaded = keep_vectors(run, load_served(run, run.own.classifier(config.router.served)))
    served = loaded.prompt_router
    grades = read_grades(config.folder / GRADES_FILE) if graded else {}
    measured = _graded_quality(run, loaded) if graded else None
    few = measured is not None and loaded.beliefs is not None and _are_few(training_texts(served), *measured)
    rows, quality = _believed_quality(run, loaded) if measured is None or few else measured
    believed = measured is None or few
    texts = [training_texts(served)[i] for i in rows]
    costs = expected_costs(loaded, texts)
    weak_usd, strong_usd = (None, None) if costs[0] is None or costs[1] is None else costs
    curves = [
        EvaluationRow(
            name,
            cost_quality_curve(
                *(learned_prompts(router)[1].scores[rows], *quality),
                weak_cost=weak_usd,
                strong_cost=strong_usd,
                groups=first_rows(texts),
            ),
        )
        for name, router in _routers(run, served)
    ]
    preferences, remembered = read_preferences(config.preferences), read_unknown(config.folder / UNKNOWN_FILE)
    spent = spend_of(run.config, run.pair, run.prompts, run.samples, run.store)
    row = next(one for one in curves if one.router == config.router.served)
    verdict = recorded_verdict(served.record)
    in_line = graded_headline(loaded, grades) if graded else training_headline(loaded)
    drawn = training_headline(loaded) if few else in_line
    if drawn.weighed:  # the curve is of the prompts that the score decides, and so is what stands beside it
        drawn = graded_headline(loaded, grades, by_score_alone=True)
    judge = labels_of_judge(config)
    told = f"{len(remembered)} of {len(preferences) + len(remembered)} prompts could not be labelled from their samples"
    guessed = len(rows) - len(served.training) if believed else 0
    if guessed > 0:
        told += f"; {guessed} of them, on which both models guess, count as answered right by neither"
    found = Evaluation(
        weak=served.weak,
        strong=served.strong,
        rows=tuple(curves),
        served=config.router.served,
        headline=in_line,
        preferences=tuple(preferences),
        examples=_examples(run, served, rows, quality, believed=believed),
        warnings=(
            *outdated_stages(config.folder),
            *(_notes_of_grades(loaded, measured[0], grades, in_line, config, few=few) if measured else ()),
            *gap_warnings(row.curve, drawn.judged_prompts),
            *label_warnings(np.array([one.target for one in preferences]), saturation_of(preferences, remembered)),
        ),
        pricing=price_line(price_facts(run.pair)),
        payback=payback(spent.total_usd, in_line, spent.uncounted_models),
        usd_alone=(usd_per_1k(costs[0]), usd_per_1k(costs[1])),  # of the table's own prompts
        findings=(*(judge or (told,)), gate_in_brief(loaded)),
        cautions=cautions_of(loaded, folder=config.folder, graded=not believed),
        choices=_choices(loaded, rows, quality),
        chance=scores_are_chances(served),
        kinds=kinds_table(loaded, read_grades(config.folder / GRADES_FILE)),
        notes=record_of(run, preferences),
        trials=loaded.trials,
        tiers=_tiers(served) if believed else None,
        remarks=loaded.lines[1:],
        believed=believed,
        verdict=_verdict_sentence(verdict, labelled_part(served))
        if believed
        else verdict_by_grades(row, len(set(texts)), verdict),
        curve_line=None if drawn is in_line else drawn,
        graded_by=_graded_by(config, counted_prompts(loaded, grades)) if measured else "",
        folder=config.folder,
    )
    keep_headline(config.folder, asdict(found.block))
    return found


def _graded_by(config: RunConfig, texts: Set[str]) -> str:
    """By whom the prompts were graded that the quality of the first line is of."""
    graded = read_graded(config.folder / GRADES_FILE)
    last = {text: i for i, text in enumerate(graded.prompts) if text in texts}  # as `read_grades` takes them
    return graded.take(list(last.values())).graded_by


def _choices(router: Router, rows: IntArray, quality: Pair) -> tuple[KeptPoint, ...]:
    """`Evaluation.choices`, by the quality of the prompts at ``rows``; none of a router of several models."""
    texts, looked = learned_prompts(router.prompt_router)
    if looked.values is not None:
        return ()
    judged = np.zeros(len(texts), dtype=bool)
    judged[rows] = True
    weak, strong = np.zeros(len(texts)), np.zeros(len(texts))
    weak[rows], strong[rows] = quality
    return points_at_shares(router, looked, (weak, strong), judged, expected_costs(router, texts), CHOICES)


def _verdict_sentence(verdict: RouterVerdict | None, whose: str) -> str:
    """What a router has learned, and of ``whose`` prompts; that it was not shown to have is a caution."""
    if verdict is None or not verdict.learned:
        return ""
    return f"{verdict.gained} over random{whose} (held out, {verdict.basis or 'believed'})"


def _tiers(router: PromptRouter) -> TiersMeasured | None:
    """The models of a router of several on its training prompts, by belief."""
    if router.tiers is None:
        return None
    texts = [one.prompt for one in router.training]
    usd = tier_usd(router, texts)
    values, qualities = router.tiers.training_values, router.tiers.qualities
    return measure_tiers(router, values, qualities, usd, texts=texts, on=TRAINING, believed=True)


def _believed_quality(run: Run, router: Router) -> tuple[IntArray, Pair]:
    """The prompts that could be judged as places in `learned_prompts`, and both models' believed quality."""
    if router.beliefs is None:
        raise InputError(
            f"{run.config.prompts}: no prompt has gold answers, and nothing is believed of a router that was trained "
            "without samples or with --gate off; grade some answers by hand: `demur grade`"
        )
    texts, looked = learned_prompts(router.prompt_router)
    learned = len(router.prompt_router.training)
    several = router.prompt_router.tiers is not None
    rows = np.arange(learned) if several else np.flatnonzero(judged_prompts(router, looked))
    weak, strong = np.pad(router.beliefs, ((0, 0), (0, len(texts) - learned)))  # neither is right where both guess
    return rows, (weak[rows], strong[rows])


def _graded_quality(run: Run, router: Router) -> tuple[IntArray, Pair]:
    """The prompts that the score decides and a person has graded, as places in `learned_prompts`, and both answers'
    quality."""
    grades = read_grades(run.config.folder / GRADES_FILE)
    texts, looked = learned_prompts(router.prompt_router)
    by_score = scored_prompts(router, looked)
    rows = [i for i, text in enumerate(texts) if by_score[i] and text in grades]
    if (count := len({texts[i] for i in rows})) < FEWEST_GRADED:
        given = count_of(len(grades), "prompt is", "prompts are")
        raise InputError(
            f"{run.config.folder / GRADES_FILE}: {given} graded, {count} of them are training prompts that the "
            f"score decides; {FEWEST_GRADED} such are needed, {USUAL_GRADES} are better: demur grade --run "
            f"{run.config.run} asks for those first"
        )
    found = np.array([grades[texts[i]] for i in rows], dtype=float)
    return np.array(rows), (found[:, 0], found[:, 1])


def _routers(run: Run, served: PromptRouter) -> list[tuple[str, PromptRouter]]:
    """Every method's router; one that learned from other prompts than the served one cannot be set beside it."""
    found = []
    for name in run.config.router.methods:
        router = PromptRouter.load(run.config.routers / name, encoder=served.encoder, method=run.own.classifier(name))
        if [one.prompt for one in router.training] == [one.prompt for one in served.training]:
            found.append((name, router))
    return found


def _are_few(learned: Sequence[str], rows: IntArray, quality: Pair) -> bool:
    """Whether grades tell too little to draw curves from: fewer than usual, and the large model not shown to be better,
    without which a curve of them shows chance."""
    texts = [learned[i] for i in rows]
    return len(set(texts)) < USUAL_GRADES and without_gap(*quality, first_rows(texts)) is not None


def _notes_of_grades(
    router: Router, rows: IntArray, grades: Mapping[str, object], line: Headline, config: RunConfig, *, few: bool
) -> tuple[str, ...]:
    """What grades are still too few for, with the command that asks for more, and what becomes of those that measure no
    router: more of these are advised only where no others are missing, so that one command is."""
    learned = training_texts(router.prompt_router)
    used = {learned[i] for i in rows}
    more = grade_more(config.folder) if len(used) < USUAL_GRADES else ""
    beside = _beside_the_score(used, grades, learned, line, config.run, advise=not more)
    return (*beside, *(_few_grades(len(used), more, few=few) if len(used) < USUAL_GRADES else ()))


def _beside_the_score(
    used: Set[str],
    grades: Mapping[str, object],
    learned: Sequence[str],
    line: Headline,
    run: str,
    *,
    advise: bool,
) -> tuple[str, ...]:
    """What becomes of graded prompts that no router is measured on, because their model is fixed, or because no router
    was to learn from them; empty where there are none. ``advise``: with the command that grades more of them."""
    fixed = len((grades.keys() & set(learned)) - used)
    strange, said = len(grades) - len(used) - fixed, []
    if fixed:
        counts = f"they count in the first line's quality alone, as {line.by_setting:.0%} of the prompts"
        if not line.weighed:
            more = f": demur grade --run {run} {UNKNOWN_FIRST} --number {len(grades) + FEWEST_GRADED - fixed}"
            needed = f"{FEWEST_GRADED} of them are needed to measure all prompts{more if advise else ''}"
            counts = f"they are left out, and {needed}"
        said.append(
            f"{fixed:,} of {len(grades):,} graded prompts are unknown and go to the {line.setting} model whatever "
            f"their score, so they do not measure a router: {counts}"
        )
    elif advise and line.by_setting * line.prompts >= FEWEST_GRADED:
        said.append(
            f"no grade is of the {line.by_setting:.0%} of the prompts that go to the {line.setting} model whatever "
            f"their score; to measure all prompts grade {FEWEST_GRADED} of them: demur grade --run {run} "
            f"{UNKNOWN_FIRST} --number {len(grades) + FEWEST_GRADED}"
        )
    if strange:
        said.append(
            f"{strange:,} of {len(grades):,} graded prompts are left out: the router was not trained on them or on "
            "samples of them"
        )
    return tuple(said)


def _few_grades(number: int, more: str, *, few: bool) -> tuple[str, ...]:
    """What fewer grades than usual do not tell; ``few``: so little that curves and tables go by belief."""
    said = f"{count_of(number, 'graded prompt is', 'graded prompts are')} too few to decide between routers"
    said += f", and the table goes by belief until {USUAL_GRADES} are graded" if few else ", unless they differ much"
    return (f"{said}: {more}" if more else said,)


def _examples(run: Run, router: PromptRouter, rows: IntArray, quality: Pair, *, believed: bool) -> tuple[Example, ...]:
    """The decision on each prompt by its held-out score, beside both first answers and other training prompts."""
    ids = {prompt.text: prompt.id for prompt in run.prompts}
    found = []
    texts, looked = learned_prompts(router)
    for i, weak, strong in zip(rows, *quality, strict=True):
        text, score = texts[i], float(looked.scores[i])
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
                samples=len(run.samples.strong.get(ids.get(text, ""), ())) if believed else 0,
            )
        )
    return tuple(found)


def _first(samples: Mapping[str, Sequence[object]], prompt: str | None) -> str:
    answers = samples.get(prompt or "", ())
    return str(getattr(answers[0], "text", "")) if answers else ""
