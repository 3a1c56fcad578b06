"""A version's way into service: on a share first, watched there; the threshold alone; webhook and implicit signs."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demur.errors import InputError
from demur.gateway.learning.asked_again import AskedAgain
from demur.gateway.learning.cold_start import CANARY
from demur.gateway.ledger.feedback import Feedback, keep_feedback, losses
from demur.gateway.ledger.read import read_ledger
from demur.gateway.operator.webhook import check_webhook, tell
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings, LearnSettings
from demur.learning.canary import Tried, at_least_as_many, judge_canary
from demur.learning.process import rollback, tried_routers
from demur.learning.round import learn_round
from demur.learning.trial import begin, watch_canary
from demur.learning.versions import canary, keep_version, promote, serving_version, try_canary, versions
from demur.testing import fake_endpoint, on_loopback
from gateways import EASY, HARD, RECORD, gateway, save_router
from test_learning import NOW, a_version, planted_prompt, settings_of, weak_answer, write_records

# -- what is to become of a canary, by hand ----------------------------------------------------------------------------

LIMITS: dict[str, Any] = {"seconds": 700.0, "at_least_seconds": 600.0, "at_least": 50, "missed_at_most": 0.05}


def test_a_binomial_tail_by_hand() -> None:
    assert at_least_as_many(0, 10, 0.5) == 1.0
    assert at_least_as_many(2, 2, 0.1) == pytest.approx(0.01)
    assert at_least_as_many(1, 3, 0.5) == pytest.approx(0.875)


@pytest.mark.parametrize(
    ("on_share", "rest", "step"),
    [
        (Tried(60), Tried(600), "promote"),
        (Tried(60, errors=1), Tried(600), "promote"),  # one of sixty may be chance
        (Tried(60, errors=6), Tried(600), "roll back"),
        (Tried(60, errors=6), Tried(600, errors=60), "promote"),  # the upstream fails everywhere
        (Tried(60, judged=10, missed=1), Tried(600), "promote"),
        (Tried(60, judged=10, missed=5), Tried(600, judged=100, missed=5), "roll back"),
        (Tried(60, judged=10, missed=5), Tried(600, judged=100, missed=50), "promote"),
        (Tried(20), Tried(600), "wait"),
        (Tried(5, errors=5), Tried(600), "roll back"),  # nobody waits for the rest of the harm
    ],
)
def test_what_is_to_become_of_a_canary(on_share: Tried, rest: Tried, step: str) -> None:
    assert judge_canary(on_share, rest, **LIMITS).step == step


def test_a_canary_is_tried_for_as_long_as_the_settings_say() -> None:
    assert judge_canary(Tried(60), Tried(600), **{**LIMITS, "seconds": 599.0}).step == "wait"


async def until_true(seen: Callable[[], bool]) -> None:
    """Wait until something is seen, ten seconds at most."""
    for _ in range(100):
        if seen():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not seen in ten seconds")


# -- in the gateway and in the folder ----------------------------------------------------------------------------------


def learning_folder(tmp_path: Path, *numbers: int) -> Path:
    save_router(tmp_path / "made")
    for number in numbers:
        keep_version(tmp_path / "learn", tmp_path / "made", a_version(number, promoted=False))
    return tmp_path / "learn"


async def test_a_canary_gets_its_share_of_conversations_each_of_them_always(tmp_path: Path) -> None:
    folder = learning_folder(tmp_path, 7)
    try_canary(folder, 7)
    learn = LearnSettings(str(folder), canary=0.3)
    async with gateway(tmp_path, learn=learn, router=str(tmp_path / "none")) as found:
        for i in range(60):
            await found.ask(f"aaa aa {i}?")
        for _ in range(3):
            await found.ask("aaa the same?")
    records = read_ledger(str(tmp_path / "ledger.sqlite"), last=None)
    tried = [one for one in records if one.version == 7]
    assert 8 <= len(tried) <= 30  # of 63, .3 each
    assert {one.role for one in tried} == {"weak"}  # the router takes letters a for easy
    assert {one.role for one in records if one.version == 0} == {"strong"}  # elsewhere no router is learned yet
    assert len({one.version for one in records if one.prompt == "aaa the same?"}) == 1


async def test_a_canary_that_begins_or_ends_while_serving_is_taken_over(tmp_path: Path) -> None:
    folder = learning_folder(tmp_path, 1)
    settings = LearnSettings(str(folder), canary=1.0)
    async with gateway(tmp_path, learn=settings, router=str(tmp_path / "none")) as found:
        _, before, _ = await found.ask(EASY)
        try_canary(folder, 1)
        await until_true(lambda: found.gateway.routers.canary is not None)
        _, tried, _ = await found.ask(f"{EASY} again")
        (folder / CANARY).unlink()
        await until_true(lambda: found.gateway.routers.canary is None)
    assert (before["x-demur-model"], tried["x-demur-model"]) == ("large", "small")


async def test_a_canary_that_cannot_be_read_is_not_tried_and_nothing_else_suffers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = learning_folder(tmp_path, 1)
    try_canary(folder, 1)
    (folder / "versions" / "000001" / "router" / "router.json").write_text("{")
    learn = LearnSettings(str(folder), canary=1.0)
    async with gateway(tmp_path, learn=learn, router=str(tmp_path / "none")) as found:
        assert (await found.ask(EASY))[0] == 200
    assert "version 1 is not tried" in capsys.readouterr().err


def ledger_of(tmp_path: Path, *groups: tuple[int, int, int]) -> str:
    """Records of (version, requests, errors)."""
    rows = [
        {"version": version, "at": NOW + i, "status": 502 if i < errors else 200, "outcome": "ok"}
        for version, requests, errors in groups
        for i in range(requests)
    ]
    return write_records(tmp_path / "ledger.sqlite", *rows)


def in_trial(tmp_path: Path, *groups: tuple[int, int, int]) -> tuple[GatewaySettings, Path]:
    folder = learning_folder(tmp_path, 1, 2)
    promote(folder, 1)
    try_canary(folder, 2)
    learn = LearnSettings(str(folder))
    return GatewaySettings(learn=learn, ledger=ledger_of(tmp_path, *groups)), folder


def test_a_canary_that_does_no_harm_serves_all_and_the_version_says_why(tmp_path: Path) -> None:
    settings, folder = in_trial(tmp_path, (1, 500, 2), (2, 60, 0))
    assert "serves now: no harm seen in 60 requests" in watch_canary(settings, NOW, NOW + 700)
    assert (serving_version(folder), canary(folder)) == (2, None)
    assert versions(folder)[1].promoted
    assert rollback(str(folder), 1) == 1


def test_a_canary_whose_requests_fail_is_rolled_back_and_never_served_all(tmp_path: Path) -> None:
    settings, folder = in_trial(tmp_path, (1, 500, 2), (2, 20, 8))
    assert "was rolled back: 8 of its 20 requests failed" in watch_canary(settings, NOW, NOW + 60)
    assert (serving_version(folder), canary(folder)) == (1, None)
    assert not versions(folder)[1].promoted
    assert "failed" in versions(folder)[1].why


def test_clients_that_call_its_answers_bad_roll_a_canary_back(tmp_path: Path) -> None:
    settings, folder = in_trial(tmp_path, (1, 30, 0), (2, 30, 0))
    for record in read_ledger(settings.ledger, last=None):
        if record.version == 2:
            keep_feedback(settings.ledger, Feedback(record.id, record.key, NOW, "bad"))
    assert "judged answers were called bad" in watch_canary(settings, NOW, NOW + 60)
    assert serving_version(folder) == 1


def test_what_happened_before_the_canary_began_is_not_held_against_it(tmp_path: Path) -> None:
    settings, folder = in_trial(tmp_path, (1, 30, 0), (2, 20, 8))
    assert "0 of 50 requests" in watch_canary(settings, NOW + 1000, NOW + 1060)
    assert canary(folder) == 2


def test_a_kill_between_the_decision_and_the_link_ends_in_the_same_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = in_trial(tmp_path, (1, 500, 2), (2, 60, 0))

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("demur.learning.trial.promote", killed)
        watch_canary(settings, NOW, NOW + 700)
    assert (serving_version(folder), canary(folder)) == (1, 2)
    watch_canary(settings, NOW, NOW + 800)
    assert (serving_version(folder), canary(folder)) == (2, None)


def test_a_rollback_by_hand_ends_the_trial_and_the_list_shows_canaries(tmp_path: Path) -> None:
    _, folder = in_trial(tmp_path)
    found, now, tried = tried_routers(str(folder))
    assert (now, tried) == (1, 2)
    assert "canary" in found[1].line(False, True)
    rollback(str(folder), 1)
    assert canary(folder) is None


async def test_a_learned_router_is_tried_before_it_serves_and_another_round_lets_it_serve(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        assert settings.learn is not None
        learn = replace(settings.learn, canary=0.5, canary_requests=10, canary_seconds=0.0)
        settings = replace(settings, learn=learn)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(80)))
        for _ in range(2):
            status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        assert (serving_version(tmp_path / "learn"), canary(tmp_path / "learn")) == (None, 1)
        assert "tried on 50%" in status.said
        rows = ({"version": 1, "at": NOW + 200 + i, "prompt": ""} for i in range(10))
        write_records(tmp_path / "later.sqlite", *rows)
        settings = replace(settings, ledger=str(tmp_path / "later.sqlite"))
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 300)
    assert "version 1 serves now" in status.said
    assert status.serving == 1


async def test_a_canary_that_is_believed_to_do_harm_on_what_came_since_is_rolled_back(tmp_path: Path) -> None:
    turned: list[bool] = []

    def answer(prompt: str, seed: int) -> str:
        """The weak model learns what it did not know, and forgets what it knew."""
        return (
            weak_answer(prompt.replace("p", "a") if "p" in prompt else f"{prompt} p", seed)
            if turned
            else weak_answer(prompt, seed)
        )

    async with fake_endpoint(answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        assert settings.learn is not None
        settings = replace(settings, learn=replace(settings.learn, canary=0.5))
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(80)))
        for _ in range(2):
            await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        assert canary(tmp_path / "learn") == 1
        turned.append(True)
        rows = ({"prompt": planted_prompt(i), "at": NOW + i} for i in range(500, 620))
        write_records(tmp_path / "later.sqlite", *rows)
        settings = replace(settings, ledger=str(tmp_path / "later.sqlite"))
        for _ in range(4):
            status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 400)
            if canary(tmp_path / "learn") is None:
                break
    assert canary(tmp_path / "learn") is None, status.sentence
    assert serving_version(tmp_path / "learn") is None
    assert "worse on what came since" in versions(tmp_path / "learn")[0].why


def test_without_a_share_a_better_router_serves_at_once(tmp_path: Path) -> None:
    folder = learning_folder(tmp_path, 1)
    settings = GatewaySettings(learn=LearnSettings(str(folder), canary=0.0))
    begin(settings, versions(folder)[0], "better")
    assert (serving_version(folder), canary(folder)) == (1, None)
    assert versions(folder)[0].promoted


# -- the webhook -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[dict[str, object]]]]:
    heard: list[dict[str, object]] = []

    async def take(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    async with on_loopback(app) as address:
        yield f"{address}/hook", heard


async def test_promotions_are_posted_to_the_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = learning_folder(tmp_path, 1)
    async with listening() as (url, heard):
        monkeypatch.setenv("HOOK", url)
        settings = GatewaySettings(learn=LearnSettings(str(folder), canary=0.0), webhook_env="HOOK")
        await asyncio.to_thread(begin, settings, versions(folder)[0], "better than random")
    assert [(one["event"], one["text"]) for one in heard] == [("promoted", "demur: version 1 is better than random")]


async def test_an_alarm_of_the_gateway_is_posted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as (url, heard):
        monkeypatch.setenv("HOOK", url)
        monkeypatch.setattr("demur.gateway.learning.changes.Changes.add", lambda self, record: ["a change: by hand"])
        async with gateway(tmp_path, webhook_env="HOOK") as found:
            await found.ask(EASY)
            await until_true(lambda: bool(heard))
    assert heard[0]["text"] == "demur: a change: by hand"


def test_a_webhook_that_does_not_answer_is_said_without_its_url(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/SECRET")
    tell(GatewaySettings(webhook_env="HOOK"), "change", "x")
    said = capsys.readouterr().err
    assert "webhook of HOOK does not answer" in said
    assert "SECRET" not in said
    monkeypatch.setenv("HOOK", "file:///etc/passwd")
    with pytest.raises(InputError, match="HOOK, which holds no URL"):
        check_webhook(GatewaySettings(webhook_env="HOOK"))
    assert "SECRET" not in json.dumps(dict.fromkeys(os.environ, ""))


# -- implicit signs ----------------------------------------------------------------------------------------------------


def test_the_same_question_again_is_a_sign_once_and_only_soon() -> None:
    again = AskedAgain()
    at = [(0.0, "a"), (60.0, "b"), (90.0, "c"), (1000.0, "d"), (1020.0, "e")]
    found = [again.doubted_decision(replace(RECORD, id=id, at=NOW + seconds), "Who?") for seconds, id in at]
    assert found == ["", "a", "", "", "d"]
    assert again.doubted_decision(replace(RECORD, id="f", at=NOW + 1021, key="another"), "Who?") == ""


def test_a_text_that_a_script_asks_a_thousand_times_is_one_sign() -> None:
    again = AskedAgain()
    found = [again.doubted_decision(replace(RECORD, id=str(i), at=NOW + i / 10), "ping") for i in range(1000)]
    assert [one for one in found if one] == ["0"]


async def test_a_question_asked_again_is_recorded_with_its_source_and_a_verdict_replaces_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, learn=LearnSettings(str(tmp_path / "learn"))) as found:
        _, first, _ = await found.ask(EASY)
        await found.ask(EASY)
        url = str(tmp_path / "ledger.sqlite")
        await until_true(lambda: bool(losses(url)))
        assert losses(url) == [1.0]
        keep_feedback(url, Feedback(first["x-demur-decision-id"], "", time.time(), "good"))
        assert losses(url) == [0.0]
        keep_feedback(url, Feedback(first["x-demur-decision-id"], "", time.time(), "bad", "asked again"))
        assert losses(url) == [0.0]  # a sign replaces no verdict


async def test_strong_answers_that_are_asked_again_lose_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, learn=LearnSettings(str(tmp_path / "learn"))) as found:
        for _ in range(2):
            await found.ask(HARD)
        url = str(tmp_path / "ledger.sqlite")
        await until_true(lambda: bool(losses(url)))
    assert losses(url) == [0.0]


# -- the threshold alone -----------------------------------------------------------------------------------------------


async def test_where_the_share_has_moved_the_threshold_alone_is_promoted_by_the_same_path(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(80)))
        for _ in range(2):
            await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        assert serving_version(tmp_path / "learn") == 1
        hard = (planted_prompt(1001 + 2 * i) for i in range(120))  # all of them: every one goes to the strong model
        rows = ({"prompt": prompt, "at": NOW + 200 + i} for i, prompt in enumerate(hard))
        write_records(tmp_path / "later.sqlite", *rows)
        settings = replace(settings, ledger=str(tmp_path / "later.sqlite"))
        for _ in range(3):
            await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 400)
        found = versions(tmp_path / "learn")
        moved = [one for one in found if "with another threshold" in one.why]
        async with running(settings) as (served, *_):
            threshold = served.decider.router.threshold
    assert moved, [one.why for one in found]
    assert moved[-1].promoted
    assert threshold > found[0].threshold
    assert abs(moved[-1].strong_share - 0.35) < 1 - 0.35  # as near as the scores' ties allow
