"""Trains every router of a run on its preferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from demur.labels.beliefs.unknown import UNKNOWN_FILE, UnknownPrompt, read_unknown, told_by
from demur.labels.label_run import believed_needs
from demur.labels.preference_files import read_preferences
from demur.records import Preference
from demur.routing.prompt_router import PromptRouter
from demur.routing.train import method_of, train_routers, with_probabilities
from demur.routing.train_tiers import add_tiers
from demur.runs.provenance import answer_lengths, record_of, serving_costs
from demur.runs.run import Run


def train_run(run: Run) -> tuple[dict[str, PromptRouter], PromptRouter]:
    """A router per method, and the one to serve, which of several models decides among all of them."""
    config, served = run.config, run.config.router.served
    preferences, unknown = read_preferences(config.preferences), read_unknown(config.folder / UNKNOWN_FILE)
    fitted = train_routers(
        *(preferences, run.encoder, _methods_of(run), run.mapping),
        record=_router_record(run, preferences, unknown),
        unknown=unknown,
        on_unknown=config.router.unknown,
        progress=run.progress,
    )
    needs = believed_needs(run, [row.prompt for row in preferences])
    routers = fitted
    if needs is not None:
        routers = {name: with_probabilities(router, needs) for name, router in fitted.items()}
    return routers, add_tiers(run, preferences, fitted[served]) if config.between else routers[served]


def _methods_of(run: Run) -> dict[str, Any]:
    """The run's methods by name, unfitted: the user's own, or demur's."""
    return {name: run.own.methods.get(name, method_of(name, run.config.router)) for name in run.config.router.methods}


def _router_record(run: Run, preferences: Sequence[Preference], unknown: Sequence[UnknownPrompt]) -> dict[str, Any]:
    """What a router keeps of the run that it was trained in."""
    record = record_of(run, preferences) | {"serving_cost": serving_costs(run), "answer_lengths": answer_lengths(run)}
    return record | {"told": told_by(preferences, unknown), "unlike": run.config.router.unlike}
