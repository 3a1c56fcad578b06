"""What is held for another try holds as long as the router and threshold that decided it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import needed
from demur.gate.router import Router
from demur.gateway.decision.router_identity import router_identity
from demur.gateway.ledger.totals.bills import bills
from demur.gateway.reload import take_canary
from demur.gateway.settings import LearnSettings
from demur.measure.threshold import Calibration
from gateways import EASY, Running, gateway, save_router
from test_gateway_check_draft import SURE, WAVERING, by_draft

AT_ALL = {"x-demur-threshold": "-1"}


def set_threshold(folder: Path, threshold: float) -> None:
    """As `demur calibrate` does."""
    saved = Router.load(folder)
    calibration = Calibration(threshold, 0.5, 18, "strong share 50%")
    replace(saved, prompt_router=replace(saved.prompt_router, calibration=calibration)).save(folder)


async def reload(found: Running) -> None:
    async with found.session.post(f"{found.operator}/admin/reload") as answer:
        assert answer.status == 200


async def answered_by(found: Running, **more: Any) -> str:
    return str((await found.ask(EASY, **more))[2]["model"])


async def answered_after_a_draft(found: Running) -> str:
    """Who answers where the gate's look at the small model's answer decides for the large one; later answers are
    better.
    """
    found.weak.logprob = WAVERING
    model = await answered_by(found)
    found.weak.logprob = SURE
    return model


async def test_another_try_is_held_until_the_threshold_changes(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        assert await answered_after_a_draft(found) == "large"
        assert await answered_by(found) == "large"
        await reload(found)  # of what it has loaded already
        assert await answered_by(found) == "large"
        set_threshold(tmp_path / "router", 0.6)
        await reload(found)
        assert await answered_by(found) == "small"


async def test_a_restart_with_the_same_router_holds_another_try_and_one_with_another_target_does_not(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        assert await answered_after_a_draft(found) == "large"
    async with gateway(tmp_path, gate=by_draft()) as found:
        assert await answered_by(found) == "large"
    async with gateway(tmp_path, gate=by_draft(), target="50%") as found:
        assert await answered_by(found) == "small"


async def test_a_conversation_with_turns_stays_with_its_model_at_another_threshold(tmp_path: Path) -> None:
    history = [{"role": "user", "content": EASY}, {"role": "assistant", "content": "yes"}]
    messages = [*history, {"role": "user", "content": "aaa aaa?"}]
    async with gateway(tmp_path) as found:
        assert await answered_by(found, headers=AT_ALL) == "large"
        set_threshold(tmp_path / "router", 0.6)
        await reload(found)
        assert (await found.ask(messages=messages))[2]["model"] == "large"
        assert (await found.ask(messages=messages))[2]["model"] == "large"


async def test_a_canary_decides_what_the_router_in_force_has_decided(tmp_path: Path) -> None:
    learned = tmp_path / "learned" / "versions" / "1" / "router"
    async with gateway(tmp_path) as found:
        assert await answered_by(found, headers=AT_ALL) == "large"
        save_router(learned)
        set_threshold(learned, 0.6)
        (tmp_path / "learned" / "canary").symlink_to(learned)
        learn = LearnSettings(folder=str(tmp_path / "learned"), canary=1.0)
        found.gateway.settings = replace(found.gateway.settings, learn=learn)
        await take_canary(found.gateway)
        assert await answered_by(found) == "small"
        found.gateway.routers.end_canary()


@pytest.mark.slow
async def test_replicas_hold_what_another_decided_by_the_same_threshold(tmp_path: Path, postgres: Any) -> None:
    """Through PostgreSQL; a record of an earlier version, without what has decided, holds as before.

    The ledger counts what was held.
    """
    async with (
        gateway(tmp_path / "one", gate=by_draft(), ledger=postgres.url) as one,
        gateway(tmp_path / "two", gate=by_draft(), ledger=postgres.url) as two,
    ):
        assert await answered_after_a_draft(one) == "large"
        assert await answered_by(two) == "large"
        set_threshold(tmp_path / "two" / "router", 0.6)
        await reload(two)
        assert await answered_by(two) == "small"
        assert await answered_after_a_draft(one) == "large"
        with needed("psycopg").connect(postgres.url, autocommit=True) as db:
            db.execute("update conversations set decided_by = ''")  # as of a version that did not note it
    async with gateway(tmp_path / "two", gate=by_draft(), ledger=postgres.url) as two:
        set_threshold(tmp_path / "two" / "router", 0.6)
        await reload(two)
        assert await answered_by(two) == "large"
    found = {one.name: (one.requests, one.strong, one.held) for one in bills(postgres.url, by="threshold")}
    assert found == {"0.5000": (3, 3, 1), "0.6000": (2, 1, 1)}


def test_a_router_is_known_again_after_it_was_loaded_again(tmp_path: Path) -> None:
    save_router(tmp_path)
    assert router_identity(Router.load(tmp_path)) == router_identity(Router.load(tmp_path))


@pytest.mark.parametrize(
    "other",
    [
        {"training_scores": np.arange(18) / 18},
        {"calibration": Calibration(0.6, 0.5, 18, "strong share 50%")},
        {"on_unknown": "weak"},
        {"record": {"unlike": "unknown"}},
        {"strong": "larger"},
    ],
    ids=["weights", "threshold", "unknown", "record", "model"],
)
def test_what_decides_otherwise_has_another_identity(tmp_path: Path, other: dict[str, Any]) -> None:
    save_router(tmp_path)
    router = Router.load(tmp_path)
    changed = replace(router, prompt_router=replace(router.prompt_router, **other))
    assert router_identity(changed) != router_identity(router)
