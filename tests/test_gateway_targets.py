"""Targets held by the gateway: how they are written, what is held by hand-made traffic, and budgets never passed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import demur
from demur.errors import InputError
from demur.gate.quality.believed_quality import believed_at
from demur.gate.router import Router
from demur.gateway.clients.accounts import OwnAccounts
from demur.gateway.clients.budgets import start_of
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.ledger.ledger import Ledger, open_backend
from demur.gateway.ledger.totals.target_use import use_so_far
from demur.gateway.operator.dashboard import metrics_text, statistics
from demur.gateway.settings import ServedModel
from demur.gateway.target.arrivals import Arrivals
from demur.gateway.target.held_target import ABOVE_ALL, HeldTarget, Target, parse_target, threshold_in_force
from demur.gateway.target.request_costs import RequestCosts
from demur.gateway.workers.shared_state import SharedAccounts
from demur.labels.beliefs.unknown import GUESSED, UnknownPrompt
from demur.methods.estimator import unit_rows
from demur.models.encoders.encoder import LetterEncoder
from demur.records import OnUnknown
from demur.routing.known.remembered_prompts import Remembered
from gateways import EASY, HARD, RECORD, gateway, save_router

NOON = 1_800_014_400.0  # 12:00 UTC
HOUR = 3600.0
POEM = "qqq qq qqqq?"
COSTS = RequestCosts(0.0, 0.01, 0.0, 0.02)  # a strong answer costs a cent, and two at most


@pytest.mark.parametrize(
    ("text", "kind", "value", "quantile"),
    [
        ("30%", "share", 0.3, 0.95),
        ("100 %", "share", 1.0, 0.95),
        ("12.5%", "share", 0.125, 0.95),
        ("quality 95%", "quality", 0.95, 0.95),
        ("5 USD/day", "usd", 5.0, 0.95),
        ("0.5 USD/day", "usd", 0.5, 0.95),
        ("p95 2 s", "seconds", 2.0, 0.95),
        ("p99 0.5s", "seconds", 0.5, 0.99),
    ],
)
def test_a_target_is_written_as_one_reads_it(text: str, kind: str, value: float, quantile: float) -> None:
    found = parse_target(text)
    assert found is not None
    assert (found.kind, found.quantile) == (kind, quantile)
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize("text", ["30", "0%", "101%", "5 EUR/day", "5 USD", "p95 0 s", "p95", "quality", "fast", "-5%"])
def test_another_target_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(InputError, match='write it as "30%"'):
        parse_target(text)
    assert parse_target("") is None


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def router(tmp_path: Path) -> Router:
    save_router(tmp_path / "saved")
    return Router.load(tmp_path / "saved")


def held(router: Router, target: str, clock: Callable[[], float], **more: Any) -> HeldTarget:
    parsed = parse_target(target)
    assert parsed is not None
    return HeldTarget(parsed, router, more.pop("accounts", OwnAccounts()), clock=clock, **more)


def route(one: HeldTarget, score: float, costs: RequestCosts = COSTS, usd: float = 0.01, seconds: float = 0.1) -> str:
    """Who answers a request of this score; it is paid for at once. "refused" where nobody may."""
    try:
        reserved, weak_alone = one.admit(costs)
    except ApiError:
        return "refused"
    threshold = one.threshold(costs)
    strong = not weak_alone and threshold is not None and score >= threshold
    role = "strong" if strong else "weak"
    one.pay(usd if strong else 0.0, reserved=reserved)
    one.finish(role, score, costs, seconds)
    return role


def test_a_share_is_held_though_the_traffic_differs_from_the_training_prompts(router: Router) -> None:
    one, random = held(router, "30%", Clock(NOON)), np.random.default_rng(0)
    roles = [route(one, 0.9 + 0.1 * random.random()) for _ in range(3000)]  # all of them look hard
    assert roles[500:].count("strong") / 2500 == pytest.approx(0.3, abs=0.02)
    assert one.held == pytest.approx(roles.count("strong") / 3000)
    assert "went to the strong model" in one.sentence


@pytest.mark.parametrize(("fixed", "share"), [("strong", 0.5), ("weak", 0.3)])
def test_a_share_counts_what_goes_to_one_model_whatever_its_score_and_the_best_of_the_others_go(
    router: Router, fixed: str, share: float
) -> None:
    """Four of ten are such: of the others the strong model gets those of the highest scores, and not the first."""
    one, random = held(router, f"{share:.0%}", Clock(NOON)), np.random.default_rng(0)
    roles, free = [], []
    for _ in range(3000):
        score, settled, threshold = random.random(), random.random() < 0.4, one.threshold(None)
        assert threshold is not None
        role = fixed if settled else "strong" if score >= threshold else "weak"
        one.finish(role, score, None, 0.1, unknown=settled, settled=settled)
        roles.append(role)
        free += [] if settled else [(score, role)]
    assert roles[500:].count("strong") / 2500 == pytest.approx(share, abs=0.02)
    scores = np.array([score for score, _ in free[500:]])
    strong = np.array([role for _, role in free[500:]]) == "strong"
    best = scores >= np.quantile(scores, 1 - strong.mean())
    assert (strong & best).sum() / strong.sum() > 0.75  # the sum over all is never passed by more than four calls


@pytest.mark.parametrize("on_unknown", ["strong", "weak", "strong-unless-guessed"])
def test_a_share_that_is_held_begins_where_calibration_sets_it(tmp_path: Path, on_unknown: OnUnknown) -> None:
    prompts, router = with_guesses(tmp_path, on_unknown), str(tmp_path / "router")
    for share in (0.3, 0.6):
        found = demur.calibrate(prompts, router=router, strong_share=share, anyway=True, dry_run=True)
        one = held(Router.load(router), f"{share:.0%}", Clock(NOON))
        shown = re.search(r"where (\d+)% of the training prompts stay local", one.first_sentence)
        assert shown is not None
        assert abs(int(shown[1]) / 100 - (1 - found.strong_share)) <= 1 / 38 + 0.005  # a prompt, and what is rounded


def a_day(one: HeldTarget, clock: Clock, requests: int, random: np.random.Generator) -> list[tuple[float, str]]:
    """Requests spread over a day (UTC) from the clock's hour on: (time, who answered)."""
    found = []
    begin = clock.now
    for i in range(requests):
        clock.now = begin + 24 * HOUR * i / requests
        found.append((clock.now, route(one, random.random())))
    return found


def test_dollars_last_for_the_day_and_are_never_passed(router: Router) -> None:
    midnight = start_of("day", NOON)
    clock, random = Clock(midnight), np.random.default_rng(1)
    one = held(router, "5 USD/day", clock)
    found = a_day(one, clock, 2000, random)
    strong = [at for at, role in found if role == "strong"]
    spent = 0.01 * len(strong)
    assert 4.5 <= spent <= 5.0  # of $20 that always-strong would have cost
    morning = sum(at < midnight + 12 * HOUR for at in strong)
    assert 0.35 < morning / len(strong) < 0.65  # paced, not first come first served
    assert "refused" not in {role for _, role in found}  # the weak model costs nothing


def test_dollars_are_spread_from_the_first_request_on_as_the_training_prompts_scores_tell(router: Router) -> None:
    """Until 512 requests were seen too many went: each training prompt counted as $1."""
    scores = np.linspace(0, 1, len(router.prompt_router.training_scores))
    even = replace(router, prompt_router=replace(router.prompt_router, training_scores=scores))
    clock = Clock(start_of("day", NOON))
    one, random = held(even, "5 USD/day", clock), np.random.default_rng(0)
    strong = [role == "strong" for _, role in a_day(one, clock, 2000, random)]  # a quarter of them can be paid for
    assert sum(strong[:100]) <= 35


def test_the_dearest_requests_that_the_budget_allows_are_those_of_the_highest_scores(router: Router) -> None:
    clock, random = Clock(start_of("day", NOON)), np.random.default_rng(2)
    one = held(router, "5 USD/day", clock)
    scores = random.random(2000)
    roles = []
    for i, score in enumerate(scores):
        clock.now = start_of("day", NOON) + 24 * HOUR * i / 2000
        roles.append(route(one, float(score)))
    chosen = np.array(roles) == "strong"
    best = scores >= np.quantile(scores, 1 - chosen.mean())
    assert (chosen & best).sum() / chosen.sum() > 0.85


def test_a_burst_does_not_pass_the_budget_and_the_next_day_begins_anew(router: Router) -> None:
    clock = Clock(NOON)
    one, random = held(router, "1 USD/day", clock), np.random.default_rng(5)
    roles = [route(one, random.random(), usd=0.02) for _ in range(500)]  # each costs as much as it may at most
    assert roles.count("strong") <= 50
    clock.now += 24 * HOUR
    assert one.use.usd == 0.0
    assert route(one, 1.0) == "strong"


def test_of_equal_scores_as_many_are_paid_for_as_the_budget_allows(router: Router) -> None:
    clock, roles = Clock(start_of("day", NOON)), []
    one = held(router, "5 USD/day", clock)
    for _ in range(2000):
        clock.now += 24 * HOUR / 2001
        roles.append(route(one, 1.0))
    assert 400 <= roles.count("strong") <= 500


def test_requests_under_way_count_before_they_are_paid_for(router: Router) -> None:
    one = held(router, "0.1 USD/day", Clock(NOON))
    admitted = [one.admit(COSTS) for _ in range(8)]
    assert [weak_alone for _, weak_alone in admitted] == [False] * 5 + [True] * 3  # five times two cents
    one.pay(0.01, reserved=admitted[0][0])
    assert one.use.usd == pytest.approx(0.09)


def test_where_the_weak_model_costs_too_and_nothing_is_left_the_request_is_refused_until_tomorrow(
    router: Router,
) -> None:
    one = held(router, "0.05 USD/day", Clock(NOON))
    costs = RequestCosts(0.01, 0.02, 0.02, 0.03)
    assert one.admit(costs) == (0.05, False)
    with pytest.raises(ApiError, match=r"5 USD/day\) is spent. It begins again in 12.0 h") as error:
        one.admit(costs)
    assert error.value.status == 429


def test_workers_share_one_account(router: Router, tmp_path: Path) -> None:
    clock = Clock(NOON)
    both = [
        held(router, "1 USD/day", clock, accounts=SharedAccounts(tmp_path / "accounts", number, 2)) for number in (0, 1)
    ]
    roles = [route(both[i % 2], 1.0, usd=0.02) for i in range(300)]
    assert roles.count("strong") <= 50
    assert both[0].use.usd == pytest.approx(both[1].use.usd)
    assert both[0].use.usd <= 1.0


def test_a_slow_strong_model_gets_no_more_requests_than_the_latency_allows(router: Router) -> None:
    clock, random = Clock(NOON), np.random.default_rng(3)
    one, waited = held(router, "p95 2 s", clock), []
    for _ in range(4000):
        clock.now += 0.5
        score = random.random()
        threshold = one.threshold(None)
        assert threshold is not None
        role = "strong" if score >= threshold else "weak"
        seconds = 3.0 if role == "strong" and random.random() < 0.5 else 0.5  # half of its answers are slow
        waited.append(seconds)
        one.finish(role, score, None, seconds)
    slow = np.mean(np.array(waited[1000:]) > 2)
    assert 0.02 < slow <= 0.06
    assert "took longer than 2 s" in one.sentence


def test_a_model_that_was_slow_is_tried_again_later(router: Router) -> None:
    clock = Clock(NOON)
    one = held(router, "p95 2 s", clock)
    for _ in range(300):
        one.finish("strong", 0.5, None, 9.0)
        one.finish("weak", 0.5, None, 0.1)
    assert one.threshold(None) == pytest.approx(0.5)  # of equal scores all or none
    one.finish("weak", 0.1, None, 0.1)
    clock.now += 601
    assert one.threshold(None) == pytest.approx(0.1)


def test_quality_is_kept_by_the_strong_models_own_belief(router: Router) -> None:
    n = len(router.prompt_router.training_scores)
    weak = 1 - router.prompt_router.training_scores  # the higher the score, the worse
    believing = replace(router, beliefs=np.stack([weak, np.ones(n)]))
    one, random = held(believing, "quality 90%", Clock(NOON)), np.random.default_rng(4)
    scores = random.random(2000)
    for score in scores:
        one.finish("weak", float(score), None, 0.1)
    threshold = one.threshold(None)
    assert threshold is not None
    believed_weak, believed_strong = believed_at(believing, scores)
    kept = np.where(scores >= threshold, believed_strong, believed_weak).mean() / believed_strong.mean()
    assert kept == pytest.approx(0.9, abs=0.02)
    with pytest.raises(InputError, match="quality cannot be estimated"):
        held(router, "quality 90%", Clock(NOON))


def with_guesses(tmp_path: Path, on_unknown: OnUnknown) -> Path:
    """The prompts of a run: 18 with labels, and 20 questions on which both models guess; its router is in router/."""
    save_router(tmp_path / "router")
    saved = Router.load(tmp_path / "router")
    first = saved.prompt_router
    scores = np.linspace(0.1, 0.9, len(first.training))
    texts = [f"{'q' * (i + 1)} qq?" for i in range(20)]
    guesses = tuple(UnknownPrompt(str(i), text, GUESSED) for i, text in enumerate(texts))
    unknown = Remembered(guesses, unit_rows(np.asarray(LetterEncoder().encode(texts))), np.linspace(0.05, 0.6, 20))
    first = replace(first, training_scores=scores, unknown=unknown, on_unknown=on_unknown)
    first = replace(first, record={**first.record, "told": {"share": 18 / 38}})
    replace(saved, prompt_router=first, beliefs=np.stack([1 - scores, np.ones(len(scores))])).save(tmp_path / "router")
    rows = [*(one.prompt for one in first.training), *texts]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in rows), encoding="utf-8")
    return prompts


@pytest.mark.parametrize("keep", [70, 80, 90, 95])
def test_a_quality_that_is_held_begins_at_the_threshold_that_calibration_sets_for_it(tmp_path: Path, keep: int) -> None:
    """The 20 questions were taken for as well answered as labelled prompts of their scores, and more went local."""
    prompts = with_guesses(tmp_path, "strong-unless-guessed")
    router = str(tmp_path / "router")
    found = demur.calibrate(prompts, router=router, keep_quality=keep / 100, anyway=True, dry_run=True)
    one = held(Router.load(router), f"quality {keep}%", Clock(NOON))
    assert one.threshold(None) == pytest.approx(found.threshold)
    assert f"it begins at {found.threshold:.4f}, where {1 - found.strong_share:.0%} of" in one.first_sentence


def test_a_quality_is_held_only_where_calibration_would_estimate_it(tmp_path: Path) -> None:
    prompts = with_guesses(tmp_path, "strong")
    router, too_few = str(tmp_path / "router"), "only 47% of .* can be judged by samples"
    with pytest.raises(InputError, match=too_few):
        demur.calibrate(prompts, router=router, keep_quality=0.95, anyway=True)
    with pytest.raises(InputError, match=f"{too_few}.*; hold another target, such as a share"):
        held(Router.load(router), "quality 95%", Clock(NOON))


def test_requests_on_which_both_models_guess_do_not_change_which_threshold_keeps_a_quality(router: Router) -> None:
    """Of them neither model's answer is believed, as in calibration: three of four are such, and look easy."""
    n = len(router.prompt_router.training_scores)
    believing = replace(router, beliefs=np.stack([1 - router.prompt_router.training_scores, np.ones(n)]))
    alone, mixed = (held(believing, "quality 90%", Clock(NOON)) for _ in range(2))
    scores = np.random.default_rng(4).random(128)
    for score in scores:
        alone.finish("weak", float(score), None, 0.1)
        mixed.finish("weak", float(score), None, 0.1)
        for unknown in (0.02, 0.03, 0.04):
            mixed.finish("weak", unknown, None, 0.1, unknown=True)
    for _ in range(3):
        for score in scores:
            alone.finish("weak", float(score), None, 0.1)
    found, expected = mixed.threshold(None), alone.threshold(None)
    assert found is not None
    assert expected is not None
    assert scores[(scores < max(found, expected)) & (scores >= min(found, expected))].size == 0


def test_a_threshold_of_a_target_is_said_before_there_is_one(router: Router) -> None:
    assert held(router, "30%", Clock(NOON), cold=True).threshold_sentence == ""
    assert held(router, "30%", Clock(NOON), cold=True).first_sentence == (
        "the target 30% decides once a router is learned"
    )
    assert held(router, "1 USD/day", Clock(NOON), cold=True).first_sentence.endswith("; its budget is held from now on")
    one = held(router, "1 USD/day", Clock(NOON))
    decides = "the target 1 USD/day decides, by a threshold that follows each request's cost"
    assert one.first_sentence == f"{decides}, in place of the router's own of 0.5000"
    assert threshold_in_force(router, one) == router.threshold
    used = one.threshold(COSTS)
    assert used is not None
    assert threshold_in_force(router, one) == min(used, ABOVE_ALL)


def test_before_a_router_is_learned_only_dollars_are_held(router: Router) -> None:
    assert held(router, "30%", Clock(NOON), cold=True).threshold(COSTS) is None
    one = held(router, "0.01 USD/day", Clock(NOON), cold=True)
    assert one.admit(COSTS) == (0.0, True)
    assert "no router is learned yet" in one.sentence


# -- how many requests are still to come -------------------------------------------------------------------------------


def test_the_rest_of_a_day_is_expected_as_the_day_before_was_by_hand() -> None:
    noon = int(NOON // HOUR)
    arrivals = Arrivals()
    arrivals.learn({noon - 24 + hour: 100.0 if hour < 6 else 10.0 for hour in range(-12, 12)})
    # From 12:30: half of 100, five hours of 100, six of 10; nothing of today has been seen beside it.
    assert arrivals.expected_requests(NOON + HOUR / 2, 11.5 * HOUR) == pytest.approx(50 + 500 + 60)


def test_without_a_day_before_the_rate_so_far_counts_and_sharers_are_counted_with_it() -> None:
    arrivals = Arrivals(sharers=2)
    for i in range(60):
        arrivals.add(NOON + 60 * i)
    assert arrivals.expected_requests(NOON + HOUR, 10 * HOUR) == pytest.approx(2 * 60 * 10)


def test_a_target_begins_with_what_the_ledger_says_of_today(tmp_path: Path) -> None:
    ledger = Ledger(open_backend(str(tmp_path / "ledger.sqlite")))
    for i, (at, usd) in enumerate([(NOON - 13 * HOUR, 4.0), (NOON - HOUR, 0.25), (NOON, 0.5)]):
        ledger.add(replace(RECORD, id=f"id{i}", at=at, usd=usd))
    ledger.close()
    usd, by_hour = use_so_far(str(tmp_path / "ledger.sqlite"), NOON + 1)
    assert usd == pytest.approx(0.75)  # the first was yesterday's
    noon = int(NOON // HOUR)
    assert {hour - noon: count for hour, count in by_hour.items() if count} == {-13: 1.0, -1: 1.0, 0: 1.0}
    assert use_so_far(str(tmp_path / "none.sqlite"), NOON) == (0.0, {})


# -- in the gateway ----------------------------------------------------------------------------------------------------


async def test_the_gateway_stops_asking_the_strong_model_when_the_budget_is_spent(tmp_path: Path) -> None:
    # At $2 a million tokens a request of 240 costs $0.00048 at most, beside its prompt: few fit.
    async with gateway(tmp_path, target="0.0005 USD/day") as found:
        models = []
        for i in range(12):
            status, headers, _ = await found.ask(f"{HARD} {i}", max_tokens=240)
            assert status == 200
            models.append(headers["x-demur-model"])
        status, _, body = await found.ask(HARD, model="large", max_tokens=1000)
        assert (status, body["error"]["code"]) == (429, "insufficient_quota")
        stats = statistics(found.gateway, None)["target"]
        metrics = metrics_text(found.gateway, None)
    assert models[0] == "large"
    assert set(models[4:]) == {"small"}
    assert stats.startswith("target 0.0005 USD/day: $0.000")
    assert "demur_target_held 0.000" in metrics


async def test_a_share_is_held_in_the_gateway_and_a_clients_own_threshold_still_counts(tmp_path: Path) -> None:
    async with gateway(tmp_path, target="25%") as found:
        models = []
        for i in range(60):
            _, headers, _ = await found.ask(f"zz{'z' * (i % 7)} z {i}?", max_tokens=8)
            models.append(headers["x-demur-model"])
        _, forced, _ = await found.ask(EASY, model="demur@0")
    assert 8 <= models.count("large") <= 20  # the router alone would have sent all
    assert forced["x-demur-model"] == "large"


async def test_what_a_held_target_decides_is_told_from_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with gateway(tmp_path, target="25%") as found:
        begun = capsys.readouterr().err
        stats = statistics(found.gateway, None)
        first = stats["threshold"]
        assert first != 0.5
        _, headers, _ = await found.ask(EASY)
        _, asked, _ = await found.ask(EASY, model="demur@0.4")
        async with found.session.post(f"{found.address}/v1/decide", json={"text": EASY}) as answer:
            decided = await answer.json()
        assert found.gateway.target is not None
        now = found.gateway.target.threshold(None)
        assert now is not None
        metrics = metrics_text(found.gateway, None)
        async with found.session.post(f"{found.operator}/admin/reload") as answer:
            taken = await answer.json()
    assert (taken["threshold"], taken["target"], taken["target_threshold"]) == (0.5, "25%", first)  # it begins anew
    reloaded = capsys.readouterr().err
    line = "demur: the target 25% decides in place of the router's own threshold of 0.5000: it begins at"
    assert f"{line} {first:.4f}, where " in begun
    assert stats["in_common"] == (
        f"The target 25% decides, by a threshold of {first:.4f} now, in place of the router's own of 0.5000."
    )
    for reason in (headers["x-demur-reason"], decided["reason"]):
        assert "(held for the target 25%)" in reason
    assert "(as asked)" in asked["x-demur-reason"]
    assert "held for" not in asked["x-demur-reason"]
    assert f"demur_threshold {now:.6f}" in metrics
    assert (
        "the router's own threshold 0.5000, in place of which the target 25% decides, by a threshold of 0." in reloaded
    )


async def test_a_target_learns_which_requests_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, finish = [], HeldTarget.finish

    def spy(one: HeldTarget, *given: Any, unknown: bool = False, settled: bool = False) -> None:
        seen.append((unknown, settled))
        finish(one, *given, unknown=unknown, settled=settled)

    monkeypatch.setattr(HeldTarget, "finish", spy)
    async with gateway(tmp_path, target="25%") as found:
        router = found.gateway.decider.router
        vectors = unit_rows(np.asarray(LetterEncoder().encode([POEM])))
        known = Remembered((UnknownPrompt("p", POEM, GUESSED),), vectors)
        settings: tuple[OnUnknown, ...] = ("strong-unless-guessed", "strong")
        for where in settings:
            first = replace(router.prompt_router, unknown=known, on_unknown=where)
            found.gateway.decider.router = replace(router, prompt_router=first)
            for text in (EASY, POEM):
                await found.ask(text)
    assert seen == [(False, False), (True, False), (False, False), (True, True)]


async def test_a_reason_says_that_the_budget_is_spent(tmp_path: Path) -> None:
    async with gateway(tmp_path, target="0.0000001 USD/day") as found:
        _, headers, _ = await found.ask(HARD, max_tokens=240)
    assert headers["x-demur-model"] == "small"
    assert "(what is left of the target's budget is enough for the weak model alone)" in headers["x-demur-reason"]


async def test_a_budget_in_dollars_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the price of 'large' is unknown"):
        async with gateway(tmp_path, target="1 USD/day", strong=ServedModel("large", "https://models.example/v1")):
            pass


async def test_what_was_spent_before_a_restart_counts(tmp_path: Path) -> None:
    async with gateway(tmp_path, target="0.0005 USD/day") as found:
        await found.ask(HARD, max_tokens=100)
        before = found.gateway.target.use.usd if found.gateway.target else 0.0
    assert before > 0
    async with gateway(tmp_path, target="0.0005 USD/day") as found:
        assert found.gateway.target is not None
        if start_of("day", time.time()) == start_of("day", time.time() - 30):
            assert found.gateway.target.use.usd == pytest.approx(before)


def test_the_target_of_a_share_is_a_plain_record() -> None:
    assert parse_target("30%") == Target("share", 0.3, text="30%")
