"""Trains the models between the weak and the strong one of a run, beside the router of these two."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from demur.config import tier_name
from demur.errors import InputError
from demur.labels.beliefs.tier_beliefs import tier_qualities
from demur.labels.targets import gain_targets
from demur.methods.estimator import Estimator
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.fit.threads import one_thread
from demur.models.images.joined_encoder import embed
from demur.models.prices import ServingCost
from demur.records import FloatArray, Preference
from demur.routing.prompt_router import PromptRouter
from demur.routing.tiers import Tiers, gains_of
from demur.runs.run import Run


def add_tiers(run: Run, rows: Sequence[Preference], router: PromptRouter) -> PromptRouter:
    """The router between all models of a run. Raises InputError for labels that compare two models alone, an unknown
    price, and prices that do not rise."""
    known = {prompt.text: prompt for prompt in run.complete(run.train)}
    lacking = [row.prompt for row in rows if row.prompt not in known]
    if lacking:
        raise InputError(f"{len(lacking)} labelled prompts have no samples of all models, such as {lacking[0][:60]!r}")
    names, models = map(tier_name, run.config.models), [one.model for one in run.pair.all]
    learned, believed = tier_qualities(run, rows, [known[row.prompt] for row in rows])
    return with_tiers(router, tuple(names), models, learned - learned[:, :1], believed)


def with_tiers(
    router: PromptRouter, names: Sequence[str], models: Sequence[str], gains: FloatArray, qualities: FloatArray
) -> PromptRouter:
    """The same router between all these models by rising cost; its scores become those of `demur.measure.tiers`.

    ``gains``: (n, K) of each over the weak model on the training prompts, which are learned; ``qualities``: (n, K) how
    right each is believed. What they cost is in the router's record.
    Raises InputError for a method of the user's own, an unknown price, and costs that do not rise.
    """
    if not isinstance(router.method, Estimator):
        raise InputError("several models need one of demur's own methods; serve one of them (router.serve)")
    X = embed(router.encoder, [one.prompt for one in router.training])
    methods, held = [], []
    for name, column in zip(names[1:-1], gains.T[1:-1], strict=True):
        if np.ptp(column) == 0:
            raise InputError(
                f"{name} gains the same ({column[0]:.3f}) over {names[0]} on all {len(column)} prompts, so there is "
                "nothing to learn of it; leave it out of [[models]] and begin again with --again (no sample is lost)"
            )
        y, method = gain_targets(column), copy.deepcopy(router.method)
        with one_thread():
            held.append(held_out_scores(method, X, y))
            methods.append(method.fit(X, y))
    values = gains_of(held, router.training_scores)
    roles = ("weak", *names[1:-1], "strong")
    texts = [one.prompt for one in router.training]
    usd = tuple(_mean_usd(router.cost(role), name, texts) for role, name in zip(roles, names, strict=True))
    tiers = Tiers(tuple(names), tuple(models), tuple(methods), usd, qualities, values)
    return replace(router, tiers=tiers, training_scores=tiers.scores(values))


def _mean_usd(cost: ServingCost | None, name: str, texts: Sequence[str]) -> float:
    if cost is None:
        raise InputError(
            f"what {name} costs is unknown, and a choice of several models weighs their prices; give it "
            "usd_per_million_input and usd_per_million_output"
        )
    return float(np.mean([cost.usd(text) for text in texts]))
