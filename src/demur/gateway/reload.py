"""Takes over a new router, keys and settings while serving; invalid ones are refused and the old ones stay in use."""

from __future__ import annotations

import asyncio
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from demur.errors import ArtifactError, DemurError, EndpointError, InputError
from demur.gate.router import Router
from demur.gateway.app import Gateway
from demur.gateway.clients.keys import check_budgets, read_keys
from demur.gateway.decision.batch_error import measure_batch_error
from demur.gateway.decision.decider import Decider
from demur.gateway.decision.request.routed_text import training_lines
from demur.gateway.decision.router_identity import trained_identity
from demur.gateway.learning.cold_start import CANARY, SERVING, canary_in_force, cold_router, router_in_force, version_of
from demur.gateway.operator.in_force import InForce, changes_between
from demur.gateway.settings import GatewaySettings, import_object, needs_restart
from demur.gateway.upstreams.upstream import unpriced_models
from demur.records import Role
from demur.routing.asked_as import ALONE, AskedAs, labelled_as
from demur.routing.prompt_router import PromptRouter
from demur.routing.recorded_models import recorded_model
from demur.routing.verdict import check_learned
from demur.serving_file import ANYWAY_KEY, proposed_command

OWN = ("encoder", "method", "entailment")  # settings that name objects of the user's own
ROLES: tuple[Role, ...] = ("weak", "strong")
ANYWAY = f"--anyway ({ANYWAY_KEY} in a settings file)"
PROBE = "Why is the sky blue?"  # what a new router must be able to score


def usable_router(settings: GatewaySettings, *, starting: bool = False, folder: str | None = None) -> Router:
    """A saved router, after a test that it can score a prompt. Raises DemurError.

    At the start an embeddings endpoint may be away: until it is back, every prompt goes to the strong model.
    ``folder``: another one than that in force.
    """
    folder = folder or router_in_force(settings)
    if folder is None:
        assert settings.weak is not None and settings.strong is not None, "settings that learn name both models"
        return cold_router(settings.weak.model, settings.strong.model)
    own = {key: import_object(name, key) for key in OWN if (name := getattr(settings, key))}
    try:
        router = _in_front_of(settings, Router.load(folder, **own, allow_endpoints=settings.endpoints))
        served_as = _served_as(settings, router.prompt_router.record)
        router = replace(router, prompt_router=replace(router.prompt_router, served_as=served_as))
        if settings.unknown:
            router = replace(router, prompt_router=replace(router.prompt_router, on_unknown=settings.unknown))
        anyway = settings.anyway or settings.learn is not None
        check_learned(router.prompt_router.record, folder, anyway=anyway, option=ANYWAY)
        score = float(router.prompt_router.score([PROBE])[0])
    except EndpointError as error:
        if not starting:
            raise
        print(f"demur: {error}; the strong model answers until it does", file=sys.stderr)
        return router
    except DemurError:
        raise
    except Exception as error:  # a router may be broken in ways that only its arithmetic finds
        raise ArtifactError(f"{folder}: cannot score a prompt ({type(error).__name__}: {error}); train again") from None
    if not math.isfinite(score):
        raise ArtifactError(f"{folder}: scores a prompt with {score}, which is not finite; train again")
    return router


def _served_as(settings: GatewaySettings, record: Mapping[str, Any]) -> AskedAs | None:
    """What stands around prompts; plain completions are for models that demur starts itself."""
    if not settings.as_labelled:
        return None if settings.learn else ALONE  # learning samples as its clients ask
    asked = labelled_as(record)
    remote = any(_base_url(settings, record, role) for role in ROLES)
    return ALONE if asked.plain and remote else asked


def _base_url(settings: GatewaySettings, record: Mapping[str, Any], role: Role) -> str | None:
    """Where a model is asked; None where demur starts it."""
    served = settings.served_model(role)
    return served.base_url if served else (recorded_model(record, role) or {}).get("base_url")


def _in_front_of(settings: GatewaySettings, router: Router) -> Router:
    """The router, told which models the settings name."""
    if settings.pair_changed_anyway:
        return router
    weak, strong = (one.model if one else None for one in (settings.weak, settings.strong))
    return router.serving(weak=weak, strong=strong)


def _models_of(router: PromptRouter) -> tuple[str, ...]:
    return router.tiers.models if router.tiers else (router.weak, router.strong)


async def reload_all(gateway: Gateway, by: str, *, say: bool = True) -> float:
    """Read settings, keys and router again and use them from now on; returns the threshold.

    One line on stderr says what has changed, or what is refused, and ``by`` whom (without ``say`` the latter alone).
    On any error the old ones stay in use. Raises ArtifactError, or InputError for what only a restart can change.
    """
    async with gateway.reloading:  # one after the other: the last that was asked for is the one that stays
        before = gateway.last_told or _in_force(gateway)
        try:
            threshold = await _take_over(gateway)
        except DemurError as error:
            print(f"demur: reload by {by}: what is new is refused, the old stays: {error}", file=sys.stderr)
            raise
        gateway.last_told = None if say else before
        if say:
            changed = "; ".join(changes_between(before, _in_force(gateway)))
            print(f"demur: reloaded by {by}: {changed}{uncalibrated_note(gateway)}", file=sys.stderr)
        return threshold


def _in_force(gateway: Gateway) -> InForce:
    router, routers = gateway.decider.router, gateway.routers
    trained = trained_identity(router)
    canary = routers.canary.version if routers.canary else 0
    keys = gateway.admission.keys
    held = gateway.target.threshold_sentence if gateway.target else ""
    return InForce(gateway.settings, keys, trained, router.threshold, routers.main.version, canary, held)


async def take_canary(gateway: Gateway) -> None:
    """Try the router that learning has named as canary; one that cannot be read is said and not tried."""
    settings = gateway.settings
    folder, version = canary_in_force(settings), version_of(settings, CANARY)
    if folder is None or settings.learn is None:
        gateway.routers.end_canary()
        return
    try:
        router = await asyncio.to_thread(usable_router, settings, folder=folder)
    except DemurError as error:
        print(f"demur: version {version} is not tried: {error}", file=sys.stderr)
        gateway.routers.end_canary()
        return
    batch_error = await asyncio.to_thread(measure_batch_error, router.prompt_router)
    gateway.routers.try_canary(Decider(router, settings.decide_seconds, batch_error), version, settings.learn.canary)


async def _take_over(gateway: Gateway) -> float:
    settings = gateway.read_again() if gateway.read_again else gateway.settings
    changed = needs_restart(gateway.settings, settings)
    if changed:
        raise InputError(f"{changed} has changed, and only a restart can change it")
    keys = read_keys(settings.keys) if settings.keys else None
    check_budgets(keys, unpriced_models(gateway.upstreams.values()))
    router, held = await asyncio.to_thread(usable_router, settings), gateway.decider.router.prompt_router
    fresh = router.prompt_router
    if _models_of(fresh) != _models_of(held):
        raise ArtifactError(
            f"it routes between {' and '.join(_models_of(fresh))}, this gateway serves {' and '.join(_models_of(held))}"
        )
    batch_error = await asyncio.to_thread(measure_batch_error, fresh)
    lines = await asyncio.to_thread(training_lines, fresh)
    target = gateway.target and gateway.target.serve(router, cold=router_in_force(settings) is None)
    gateway.settings, gateway.admission.keys = settings, keys
    gateway.decider.exchange_router(router, batch_error)
    gateway.texts.keep_lines(lines)
    gateway.target = target
    gateway.routers.set_version(version_of(settings, SERVING))
    await take_canary(gateway)
    gateway.decider.seconds = settings.decide_seconds
    gateway.changes.begin_again()
    gateway.loaded()
    return fresh.threshold


def uncalibrated_note(gateway: Gateway) -> str:
    """What to say of a threshold that `demur calibrate` has not set, as a clause; empty where it has, or where a target
    decides in its place."""
    settings = gateway.settings
    if gateway.target and gateway.target.threshold_sentence:
        return ""
    if gateway.decider.router.prompt_router.calibration or router_in_force(settings) != settings.router:
        return ""
    usual = f"demur calibrate PROMPTS --strong-share .3 --router {shlex.quote(settings.router)}"
    command = proposed_command(Path(settings.router)) or usual  # of a router that no run of now has trained
    return f", the middle of the training scores until one is set: {command}"
