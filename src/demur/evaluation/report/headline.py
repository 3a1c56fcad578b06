"""What a router does at its threshold, in one line: how many calls stay local, what that costs, what quality is kept.

One function for every command that prints it, so that they agree on the same prompts: training prompts are scored by
fits that did not see them, share and cost are of all prompts, believed quality is of those whose samples show it, and
measured quality of those that a person graded. For a router with a gate it is what the gate is expected to do before
any answer is seen, and in `demur evaluate` what it did on the answers that were sampled; the line says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from demur.evaluation.report.kept_point import Costs, Pair, kept_point, kept_tier_point, weak_without_gap
from demur.evaluation.report.which_prompts import TRAINING
from demur.evaluation.tiers import believed_mean, tier_choices, tier_usd, tiers_of
from demur.gate.quality.believed_quality import believed_where_judged, judged_prompts, why_not_believed
from demur.gate.quality.two_stages import Use
from demur.gate.router import Router
from demur.measure.threshold import KEPT, KeptPoint
from demur.measure.tiers import take_chosen
from demur.models.prices import PRIVATE
from demur.records import BoolArray, FloatArray, Role, count_of, dollars
from demur.routing.known.known_prompts import Looked
from demur.routing.known.training_texts import training_texts
from demur.routing.prompt_router import PromptRouter
from demur.statistics import interval

DECIDED = "that could be judged"
EXPECTED, SAMPLED = "as expected", "on the answers that were sampled"
FREE = (
    " (a private address counts as $0; if it costs: `demur sample` again with --strong-usd IN/OUT, then `demur train`)"
)
WITHOUT_SAMPLES = "the router did not learn from samples of both models, by which quality is believed"
WORTH_SAYING = 0.01  # of the calls that stay local
ENOUGH = 0.9  # of always-strong's quality; where less is served, the line says so in words


@dataclass(frozen=True, slots=True)
class Headline:
    """A router at a threshold on some prompts. Money is in USD per 1,000 prompts, None where a price is unknown."""

    threshold: float
    calibrated: bool  # False: the threshold is the one that a router has before anybody has set one
    prompts: int
    on: str  # which prompts, such as "test prompts"
    strong_share: float
    quality: tuple[float, float, float] | None  # routed, with its 95 % interval over prompts; None: not known
    strong_quality: float | None  # of always-strong, in [0, 1]
    believed: bool  # the quality is believed by the strong model's own samples, without labels
    usd: float | None
    usd_strong: float | None  # of always-strong
    usd_strong_part: float | None  # what the strong model's answers cost of it
    unpriced: tuple[str, ...] = ()  # models whose price is unknown
    judged: int | None = None  # prompts that `quality` is of; None: all
    judged_share: float | None = None  # the strong share of those; None: as of all
    local_unjudged: float = 0.0  # fraction of the calls that stay local whose quality is not in `quality`
    gate: str = ""  # how a gate takes part; empty: none does
    by_setting: float = 0.0  # fraction of the prompts whose need is unknown, which go to one model whatever their score
    setting: Role = "strong"  # that model
    shares: tuple[tuple[str, float], ...] = ()  # of calls, by tier, where there are more than two models
    # Where most of the large model's quality is kept on these prompts; empty where no threshold keeps it; None where it
    # was not looked for.
    kept: KeptPoint | tuple[()] | None = None
    strong_private: bool = False  # the strong model counts as $0 for its private address alone
    by_grades: bool = False  # a person graded the `judged` prompts
    weighed: int = 0  # of these, those that the setting decides: quality is of all prompts, each part by its share
    quality_unknown: str = ""  # why quality is not known, where that has a reason of its own
    weak_without_gap: float | None = None  # quality of always-weak where grades do not show that strong is better
    forecast: bool = False  # no model was asked most of the `judged` prompts: quality is told by their scores alone

    @property
    def saved(self) -> float | None:
        """Fraction of always-strong's cost that is saved; negative for a loss, None where it is unknown or nothing."""
        return 1 - self.usd / self.usd_strong if self.usd is not None and self.usd_strong else None

    @property
    def quality_name(self) -> str:
        """What the quality is by its source: forecast from scores, believed from samples, or measured."""
        return "forecast quality" if self.forecast else "believed quality" if self.believed else "quality"

    @property
    def brief(self) -> str:
        """What it does, for somebody who decides: calls, quality and cost beside the large model alone."""
        said = []
        if self.quality is not None and self.strong_quality and self.weak_without_gap is None:
            told = "" if self.quality_name == "quality" else f" ({self.quality_name.split()[0]})"
            share = f"{self.quality[0] / self.strong_quality:.0%}"
            whose = f" on {self.scope(' of the prompts')}" if self.scope() else ""
            said.append(f"keeps {share} of the large model's quality{whose}{told}{self._by_few}")
        if self.saved is not None:
            word = "saves" if self.saved >= 0 else "adds"
            whose = "it" if said else "the large model"
            said.append(f"{word} {abs(self.saved):.0%} {'of' if self.saved >= 0 else 'to'} what {whose} costs alone")
        local = (
            f"{1 - self.strong_share:.0%} of calls stay with {'smaller models' if self.shares else 'the small model'}"
        )
        return f"{local}{'; this ' if said else ''}{' and '.join(said)}{self._no_gap}"

    @property
    def _no_gap(self) -> str:
        """That graded prompts do not show that the large model is better; empty where they do, or none is graded."""
        if self.weak_without_gap is None or self.strong_quality is None:
            return ""
        small, on = "smallest" if self.shares else "small", self._graded if self.by_grades else "these graded prompts"
        return (
            f". The {small} model's quality is {short(self.weak_without_gap)} and the large one's "
            f"{short(self.strong_quality)}, measured on {on}: they do not show that the large model is better"
        )

    @property
    def _by_few(self) -> str:
        """On how many graded prompts the quality was measured, with its interval; empty without grades."""
        if not self.by_grades or self.quality is None or self.strong_quality is None:
            return ""
        routed, low, high = map(short, self.quality)
        strong = short(self.strong_quality)
        return f", measured on {self._graded} ({routed} [{low}, {high}] of {strong}),"

    @property
    def _graded(self) -> str:
        """The graded prompts, and which part of all prompts they stand for."""
        judged = self.judged or 0
        count = count_of(judged, "graded prompt")
        if self.weighed:
            return (
                f"{count}, {judged - self.weighed:,} of the {1 - self.by_setting:.0%} that the score decides and "
                f"{self.weighed:,} of the others, each part weighed by its share of the prompts"
            )
        return count if self.judged_share is None else f"{count}, {1 - self.judged_share:.0%} of which stay local"

    def scope(self, of: str = "") -> str:
        """Which prompts quality is of, such as "the 54% that could be judged"; empty where it is of all."""
        if self.judged is None or self.weighed or (self.by_grades and not self.by_setting):
            return ""
        if self.by_grades:
            return f"the {1 - self.by_setting:.0%}{of} that the score decides"
        return f"the {self.judged / self.prompts:.0%}{of} that could be judged"

    @property
    def sentence(self) -> str:
        """The result as one sentence; a second one where much quality is given up."""
        name = "this threshold" if self.calibrated else "the threshold before calibration"
        local = f"At {name} {1 - self.strong_share:.0%} of calls stay local"
        if self.shares:
            local = f"At {name} {', '.join(f'{tier} answers {share:.0%}' for tier, share in self.shares)} of calls"
        return f"{local}, {self._quality}, {self._cost} ({self._of}){self._verdict}"

    @property
    def _verdict(self) -> str:
        if self.quality is None or not self.strong_quality or self.quality[0] >= ENOUGH * self.strong_quality:
            return ""
        whose = f" on {self.scope()}" if self.scope() else ""
        share = f". That is {self.quality[0] / self.strong_quality:.0%} of the large model's quality{whose}"
        said = self._no_gap or share
        if self.kept is None or self._no_gap:
            return said
        if not self.kept:
            return f"{said}; no threshold keeps {KEPT:.0%} of it on these prompts"
        point, saved = self.kept, self.kept.saved
        money = "" if saved is None else f", saving {saved:.0%}" if saved >= 0 else f", costing {-saved:.0%} more"
        local = "stay with smaller models" if self.shares else "stay local"
        return f"{said}; for {point.kept:.0%} of it {1 - point.share:.0%} of calls {local}{money}"

    @property
    def _of(self) -> str:
        setting = f"are unknown and go to the {self.setting} model whatever their score"
        told = f"; {self.by_setting:.0%} {setting}" if self.by_setting else ""
        if self.by_grades:
            told += f"; quality measured on {self._graded}"
        elif self.quality is not None and self.local_unjudged >= WORTH_SAYING:
            told += f"; {self.local_unjudged:.0%} of the calls that stay local could not be judged"
        on = self.on.replace("prompts", "prompt", 1) if self.prompts == 1 else self.on
        return f"{self.prompts:,} {on}{f', the gate {self.gate}' if self.gate else ''}{told}"

    @property
    def _quality(self) -> str:
        if self.quality is None or self.strong_quality is None:
            return f"quality not known{f' ({self.quality_unknown})' if self.quality_unknown else ''}"
        routed, low, high = map(short, self.quality)
        whose = f" of {self.scope()}" if self.scope() else ""
        return f"{self.quality_name}{whose} {routed} [{low}, {high}] of {short(self.strong_quality)} always-strong"

    @property
    def least_share(self) -> float:
        """The least strong share that a threshold can give."""
        return self.by_setting if self.setting == "strong" else 0.0

    @property
    def largest_share(self) -> float:
        """The largest strong share that a threshold can give."""
        return 1 - self.by_setting if self.setting == "weak" else 1.0

    @property
    def _cost(self) -> str:
        if self.usd is None:
            missing = f"no price of {' and '.join(self.unpriced)} is known"
            if self.usd_strong is None or self.usd_strong_part is None:
                return f"cost unknown: {missing}"
            part = (
                f"{dollars(self.usd_strong_part)} for the strong model instead of {dollars(self.usd_strong)} per 1,000"
            )
            return f"{part} ({missing})"
        if self.saved is None:
            return f"{dollars(self.usd)} per 1,000{FREE if self.strong_private else ''}"
        change = f"saves {self.saved:.0%}" if self.saved >= 0 else f"costs {-self.saved:.0%} more"
        return f"{dollars(self.usd)} instead of {dollars(self.usd_strong or 0.0)} per 1,000 ({change})"


def short(quality: float) -> str:
    """A quality in two digits, such as .81."""
    return f"{quality:.2f}".removeprefix("0")


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
    made = _headline(router, use, served, judged, costs, believed=quality is None, on=on, threshold=threshold)
    kept = None if found is None else kept_point(router, looked, found, judged, costs)
    gate = EXPECTED if router.serving_gate else ""
    forecast = quality is None and _is_forecast(router.prompt_router, texts, judged)
    why = "" if found else why_not_believed(router, looked) or WITHOUT_SAMPLES
    made = replace(made, weak_without_gap=weak_without_gap(*quality) if quality else None, quality_unknown=why)
    return replace(made, **_by_setting(router, looked), gate=gate, kept=kept, forecast=forecast)


def _is_forecast(router: PromptRouter, texts: Sequence[str], judged: BoolArray) -> bool:
    """Whether most of the prompts that quality is of have no samples, as training prompts have."""
    own = set(training_texts(router))
    asked = sum(text in own for text, one in zip(texts, judged, strict=True) if one)
    return 2 * asked < int(judged.sum())


def sampled_headline(
    router: Router, looked: Looked, use: Use, drafts: FloatArray, strong: FloatArray, usd: Costs, *, on: str
) -> Headline:
    """A router with a gate on graded prompts whose weak answers were sampled: what it did with each of them.

    ``use`` of n prompts with r drafts each; quality of the ``drafts`` (n, r) and of the ``strong`` answers (n,).
    """
    served = np.where(use.strong, strong[:, None], drafts).mean(axis=1)
    judged = np.ones(len(strong), dtype=bool)
    made = _headline(router, use, (served, strong), judged, usd, believed=False, on=on, threshold=None)
    without = weak_without_gap(drafts.mean(axis=1), strong)
    return replace(made, **_by_setting(router, looked), gate=SAMPLED, weak_without_gap=without)


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


def training_headline(router: Router) -> Headline:
    """A router on all prompts that it was to learn from, each by a fit that did not see it; quality is believed."""
    prompts = router.prompt_router
    if prompts.tiers is not None:
        texts, known = [one.prompt for one in prompts.training], prompts.tiers
        found = tier_headline(prompts, known.training_values, texts, None, on=TRAINING, quality=known.qualities)
        why = why_not_believed(router)
        return replace(found, kept=None if why else kept_tier_point(prompts))
    texts, looked = learned_prompts(prompts)
    return headline(router, looked, texts, on=TRAINING)


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
    routed = None if quality is None else take_chosen(quality, at)
    paid, strong = take_chosen(costs, at), at == len(tiers.names) - 1
    mean = believed_mean(tiers, at, used)
    best = tiers.qualities if quality is None else quality
    return Headline(
        threshold=used,
        calibrated=threshold is not None or router.calibration is not None,
        prompts=len(values),
        on=on,
        strong_share=float(strong.mean()),
        quality=(mean, mean, mean) if routed is None else (float(routed.mean()), *interval(routed)),
        strong_quality=float(best[:, -1].mean()),
        believed=believed,
        weak_without_gap=None if quality is None or believed else weak_without_gap(quality[:, 0], quality[:, -1]),
        forecast=quality is None and _is_forecast(router, texts, np.ones(len(texts), dtype=bool)),
        usd=1000 * float(paid.mean()),
        usd_strong=1000 * float(costs[:, -1].mean()),
        usd_strong_part=1000 * float((strong * costs[:, -1]).mean()),
        strong_private=_strong_private(router),
        shares=tuple((name, float(np.mean(at == m))) for m, name in enumerate(tiers.names)),
    )


def _headline(
    router: Router,
    use: Use,
    quality: Pair | None,
    judged: BoolArray,
    usd: Costs,
    *,
    believed: bool,
    on: str,
    threshold: float | None,
) -> Headline:
    """From what happens to each of n prompts at a threshold; ``quality`` as served and of always-strong, (n,) each,
    counts where ``judged``."""
    prompts, strong = router.prompt_router, use.strong.mean(axis=1)
    routed = None if quality is None else quality[0][judged]
    (weak_usd, strong_usd), local = usd, 1 - strong
    known = weak_usd is not None and strong_usd is not None
    return Headline(
        threshold=prompts.threshold if threshold is None else threshold,
        calibrated=threshold is not None or prompts.calibration is not None,
        prompts=len(strong),
        on=on,
        strong_share=float(strong.mean()),
        quality=None if routed is None else (float(routed.mean()), *interval(routed)),
        strong_quality=None if quality is None else float(quality[1][judged].mean()),
        believed=believed,
        usd=1000 * float(use.cost(weak_usd, strong_usd).mean()) if known else None,  # type: ignore[arg-type]
        usd_strong=None if strong_usd is None else 1000 * float(strong_usd.mean()),
        usd_strong_part=None if strong_usd is None else 1000 * float((strong * strong_usd).mean()),
        judged=None if judged.all() or quality is None else int(judged.sum()),
        judged_share=None if judged.all() or not judged.any() else float(strong[judged].mean()),
        local_unjudged=float(local[~judged].sum() / local.sum()) if local.any() else 0.0,
        strong_private=_strong_private(prompts),
        unpriced=tuple(name for name, cost in ((prompts.weak, weak_usd), (prompts.strong, strong_usd)) if cost is None),
    )


def _strong_private(router: PromptRouter) -> bool:
    cost = router.cost("strong")
    return cost is not None and cost.source == PRIVATE


def expected_costs(router: Router, texts: Sequence[str], like: Sequence[str] = ()) -> Costs:
    """USD of one answer of each model to each prompt, as the labelling samples let expect; ``like``: `Looked.like`."""
    costs = (router.prompt_router.cost("weak"), router.prompt_router.cost("strong"))
    weak, strong = (None if cost is None else np.array(cost.usd_of_each(texts, like)) for cost in costs)
    return weak, strong


def believed_pair(router: Router, looked: Looked, texts: Sequence[str]) -> Pair | None:
    """Both models' believed quality, which counts for `judged_prompts`; None where belief has nothing to stand on."""
    if router.beliefs is None or why_not_believed(router, looked):
        return None
    return believed_where_judged(router, looked, texts)
