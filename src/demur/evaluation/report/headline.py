"""What a router does at its threshold: how many calls stay local, what that costs, what quality is kept.

One function for every command that prints it, so that they agree on the same prompts: training prompts are scored by
fits that did not see them, share and cost are of all prompts, believed quality is of those whose samples show it, and
measured quality of those that a person graded. For a router with a gate it is what the gate is expected to do before
any answer is seen, and on a run's test prompts what it did on the answers that were sampled; the notes say which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from demur.evaluation.report.headline_record import EXPECTED, SAMPLED, Headline
from demur.evaluation.report.kept_point import Costs, Pair, kept_point, kept_tier_point, without_gap
from demur.evaluation.report.which_prompts import TRAINING
from demur.evaluation.tiers import believed_mean, tier_choices, tier_usd, tiers_of
from demur.gate.quality.believed_quality import believed_where_judged, judged_prompts, why_not_believed
from demur.gate.quality.two_stages import Use
from demur.gate.router import Router
from demur.measure.tiers import take_chosen
from demur.models.prices import PRIVATE, Like
from demur.records import BoolArray, FloatArray, IntArray
from demur.routing.known.known_prompts import Looked
from demur.routing.known.training_texts import training_texts
from demur.routing.prompt_router import PromptRouter
from demur.routing.verdict import labels_from
from demur.statistics import first_rows, mean_interval

WITHOUT_SAMPLES = "the router did not learn from samples of both models, by which quality is believed"


def headline(
    router: Router,
    looked: Looked,
    texts: Sequence[str],
    *,
    on: str,
    threshold: float | None = None,
    quality: Pair | None = None,
    usd: Costs | None = None,
) -> Headline:
    """A router on new prompts, which it has ``looked`` at.

    ``quality`` in [0, 1] where the prompts are graded, else it is believed, and not known where belief has nothing to
    stand on; ``usd`` of one answer where it is known for each prompt, else as the labelling samples let expect.
    """
    if looked.values is not None:
        settled = router.prompt_router.unknown_setting.settled_rows(looked.untold)
        paid = tier_usd(router.prompt_router, texts, looked.like)
        return tier_headline(router.prompt_router, looked.values, texts, settled, on=on, threshold=threshold, usd=paid)
    use = expected_use(router, looked, threshold)
    judged = np.ones(len(texts), dtype=bool) if quality else judged_prompts(router, looked)
    found = quality or believed_pair(router, looked, texts)
    costs = usd or expected_costs(router, texts, looked.like)
    strong = use.strong.mean(axis=1)
    served = None if found is None else (strong * found[1] + (1 - strong) * found[0], found[1])
    groups = first_rows(texts)
    made = _headline(router, use, served, judged, costs, groups, believed=quality is None, on=on, threshold=threshold)
    kept = None if found is None else kept_point(router, looked, found, judged, costs)
    gate = EXPECTED if router.serving_gate else ""
    forecast = quality is None and _is_forecast(router.prompt_router, texts, judged)
    why = "" if found else why_not_believed(router, looked) or WITHOUT_SAMPLES
    made = replace(made, without_gap=without_gap(*quality, groups) if quality else None, quality_unknown=why)
    return replace(made, **_by_setting(router, looked), gate=gate, kept=kept, forecast=forecast)


def _is_forecast(router: PromptRouter, texts: Sequence[str], judged: BoolArray) -> bool:
    """Whether most of the prompts that quality is of have no samples, as training prompts have; of all where it is of
    none."""
    own, judged = set(training_texts(router)), judged if judged.any() else np.ones(len(texts), dtype=bool)
    asked = sum(text in own for text, one in zip(texts, judged, strict=True) if one)
    return 2 * asked < int(judged.sum())


def sampled_headline(
    router: Router,
    looked: Looked,
    use: Use,
    drafts: FloatArray,
    strong: FloatArray,
    usd: Costs,
    groups: IntArray | None = None,
    *,
    on: str,
    threshold: float | None = None,
) -> Headline:
    """A router with a gate on graded prompts whose weak answers were sampled: what it did with each of them.

    ``use`` of n prompts with r drafts each; quality of the ``drafts`` (n, r) and of the ``strong`` answers (n,).
    ``groups`` (n,): rows of one prompt.
    """
    served = np.where(use.strong, strong[:, None], drafts).mean(axis=1)
    judged = np.ones(len(strong), dtype=bool)
    made = _headline(router, use, (served, strong), judged, usd, groups, believed=False, on=on, threshold=threshold)
    found = without_gap(drafts.mean(axis=1), strong, groups)
    return replace(made, **_by_setting(router, looked), gate=SAMPLED, without_gap=found)


def _by_setting(router: Router, looked: Looked) -> dict[str, Any]:
    """The fields of a headline that say which prompts go to one model by the setting for unknown prompts."""
    prompts = router.prompt_router
    return {
        "by_setting": float(prompts.unknown_setting.settled_rows(looked.untold).mean()),
        "setting": prompts.unknown_setting.role,
    }


def expected_use(router: Router, looked: Looked, threshold: float | None = None) -> Use:
    """Which of new prompts are expected to go to the strong model, and which answers to be checked."""
    at = router.threshold if threshold is None else threshold
    return router.use(router.expected_scores(looked.scores, router.serving_gate), looked, at)


def training_headline(router: Router, threshold: float | None = None) -> Headline:
    """A router on all prompts that it was to learn from, each by a fit that did not see it; quality is believed.

    ``threshold``: another one than the router's.
    """
    prompts = router.prompt_router
    if prompts.tiers is not None:
        texts, known = [one.prompt for one in prompts.training], prompts.tiers
        found = tier_headline(
            *(prompts, known.training_values, texts, None), on=TRAINING, threshold=threshold, quality=known.qualities
        )
        why = why_not_believed(router)
        return replace(found, kept=None if why else kept_tier_point(prompts))
    texts, looked = learned_prompts(prompts)
    return headline(router, looked, texts, on=TRAINING, threshold=threshold)


def learned_prompts(router: PromptRouter) -> tuple[list[str], Looked]:
    """All prompts that a router was to learn from, the unknown ones last, scored by fits that did not see them."""
    return training_texts(router), router.learned


def tier_headline(
    router: PromptRouter,
    values: FloatArray,
    texts: Sequence[str],
    settled: BoolArray | None,
    *,
    on: str,
    threshold: float | None = None,
    quality: FloatArray | None = None,
    usd: FloatArray | None = None,
    believed: bool = True,
) -> Headline:
    """The same of a router of several models; ``values``, ``quality`` and ``usd`` are (n, K).

    Without ``quality`` the mean is believed by the training prompts, and has no interval.
    """
    tiers, used = tiers_of(router), router.threshold if threshold is None else threshold
    at, costs = tier_choices(router, values, used, settled), tier_usd(router, texts) if usd is None else usd
    routed, groups = None if quality is None else take_chosen(quality, at), first_rows(texts)
    paid, strong = take_chosen(costs, at), at == len(tiers.names) - 1
    mean = believed_mean(tiers, at, used)
    best = tiers.qualities if quality is None else quality
    return Headline(
        threshold=used,
        calibrated=threshold is not None or router.calibration is not None,
        set_for=router.calibration.wish if router.calibration and threshold is None else "",
        prompts=len(values),
        on=on,
        strong_share=float(strong.mean()),
        quality=(mean, mean, mean) if routed is None else mean_interval(routed, groups),
        strong_quality=float(best[:, -1].mean()),
        believed=believed,
        without_gap=None if quality is None or believed else without_gap(quality[:, 0], quality[:, -1], groups),
        forecast=quality is None and _is_forecast(router, texts, np.ones(len(texts), dtype=bool)),
        usd=1000 * float(paid.mean()),
        usd_strong=1000 * float(costs[:, -1].mean()),
        usd_strong_part=1000 * float((strong * costs[:, -1]).mean()),
        strong_private=_strong_private(router),
        labels=labels_from(router.record),
        shares=tuple((name, float(np.mean(at == m))) for m, name in enumerate(tiers.names)),
    )


def _headline(
    router: Router,
    use: Use,
    quality: Pair | None,
    judged: BoolArray,
    usd: Costs,
    groups: IntArray | None,
    *,
    believed: bool,
    on: str,
    threshold: float | None,
) -> Headline:
    """From what happens to each of n prompts at a threshold; ``quality`` as served and of always-strong, (n,) each,
    counts where ``judged``; ``groups`` (n,): rows of one prompt."""
    prompts, strong = router.prompt_router, use.strong.mean(axis=1)
    routed = None if quality is None else quality[0][judged]
    (weak_usd, strong_usd), local = usd, 1 - strong
    known = weak_usd is not None and strong_usd is not None
    return Headline(
        threshold=prompts.threshold if threshold is None else threshold,
        calibrated=threshold is not None or prompts.calibration is not None,
        set_for=prompts.calibration.wish if prompts.calibration and threshold is None else "",
        prompts=len(strong),
        on=on,
        strong_share=float(strong.mean()),
        quality=None if routed is None else mean_interval(routed, None if groups is None else groups[judged]),
        strong_quality=None if quality is None else float(quality[1][judged].mean()),
        believed=believed,
        usd=1000 * float(use.cost(weak_usd, strong_usd).mean()) if known else None,  # type: ignore[arg-type]
        usd_strong=None if strong_usd is None else 1000 * float(strong_usd.mean()),
        usd_strong_part=None if strong_usd is None else 1000 * float((strong * strong_usd).mean()),
        judged=None if judged.all() or quality is None else int(judged.sum()),
        judged_share=None if judged.all() or not judged.any() else float(strong[judged].mean()),
        local_unjudged=float(local[~judged].sum() / local.sum()) if local.any() else 0.0,
        strong_private=_strong_private(prompts),
        labels=labels_from(prompts.record),
        unpriced=tuple(name for name, cost in ((prompts.weak, weak_usd), (prompts.strong, strong_usd)) if cost is None),
    )


def _strong_private(router: PromptRouter) -> bool:
    cost = router.cost("strong")
    return cost is not None and cost.source == PRIVATE


def expected_costs(router: Router, texts: Sequence[str], like: Like = ()) -> Costs:
    """USD of one answer of each model to each prompt, as the labelling samples let expect; ``like``: `Looked.like`."""
    costs = (router.prompt_router.cost("weak"), router.prompt_router.cost("strong"))
    weak, strong = (None if cost is None else np.array(cost.usd_of_each(texts, like)) for cost in costs)
    return weak, strong


def believed_pair(router: Router, looked: Looked, texts: Sequence[str]) -> Pair | None:
    """Both models' believed quality, which counts for `judged_prompts`; None where belief has nothing to stand on."""
    if router.beliefs is None or why_not_believed(router, looked):
        return None
    return believed_where_judged(router, looked, texts)
