"""A gateway of three models: who answers, what the headers, the ledger and the metrics say, and who answers instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from demur.errors import InputError
from demur.gate.router import Router
from demur.gateway.app import Gateway
from demur.gateway.ledger.export import ledger
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.totals.bills import bills, sums_of
from demur.gateway.ledger.totals.sums import add_up
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings, ServedModel, read_settings
from demur.measure.threshold import Calibration
from demur.methods import SimilarityWeighted
from demur.methods.pools.pair_pools import PairGraphRouter, PairRouterDC, PoolPair
from demur.models.encoders.encoder import LetterEncoder
from demur.models.prices import ServingCost
from demur.records import Method
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from demur.routing.train_run import with_tiers
from demur.testing import Answerer, FakeEndpoint, fake_endpoint, on_loopback

EASY, MEDIUM, HARD = "aaa aa aaaa?", "mmm mm mmmm?", "zzz zz zzzz?"
NAMES = ("small", "middle", "large")


def save_tiers(folder: Path, method: Method | None = None, **models: object) -> None:
    """a is easy for all, m for the middle model and the large one, z for the large one alone."""
    words = ["aaa", "aa a", "a aa a", "mmm", "mm m", "m mm m", "zzz", "zz z", "z zz z"]
    needed = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0] * 3)
    texts = [f"{w} {w}{end}" for end in "?!." for w in words]
    rows = [TrainingPrompt(one, float(n > 1), 1.0, 0.0) for one, n in zip(texts, needed, strict=True)]
    costs = {
        role: vars_of(ServingCost(usd, usd, 0.0, 10.0, "given"))
        for role, usd in (("weak", 1e-6), ("middle", 2e-6), ("strong", 1e-5))
    }
    record = {"serving_cost": costs, "models": models}
    router = train_router(
        LetterEncoder(), method or SimilarityWeighted(gamma=1e4), rows, weak="small", strong="large", record=record
    )
    right = np.column_stack([needed <= able for able in (1, 2, 3)]).astype(float)
    router = with_tiers(router, NAMES, NAMES, right, right)
    router = replace(router, calibration=Calibration(0.6, 0.3, 27, "strong share 30%"))
    Router(router).save(folder)


def vars_of(cost: ServingCost) -> dict[str, object]:
    return {name: getattr(cost, name) for name in cost.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Three:
    gateway: Gateway
    address: str
    operator: str
    fakes: tuple[FakeEndpoint, ...]
    session: aiohttp.ClientSession
    ledger: str

    async def ask(self, text: str, *, model: str = "demur", **more: Any) -> tuple[int, dict[str, str], Any]:
        headers = more.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        async with self.session.post(f"{self.address}/v1/chat/completions", json=body, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.json()


def saying(name: str) -> Answerer:
    return lambda prompt, seed: f"{name} says {prompt[:9]}"


@asynccontextmanager
async def three(
    tmp_path: Path,
    *,
    effort: Literal["", "low"] = "",
    votes: int = 1,
    method: Method | None = None,
    **settings: Any,
) -> AsyncIterator[Three]:
    save_tiers(tmp_path / "router", method)
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(fake_endpoint(saying(name))) for name in NAMES]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        small, middle, large = (
            ServedModel(name, fake.base_url, usd_per_million_input=usd, usd_per_million_output=usd)
            for name, fake, usd in zip(NAMES, fakes, (1.0, 2.0, 10.0), strict=True)
        )
        given = GatewaySettings(
            router=str(tmp_path / "router"),
            port=0,
            weak=small,
            between=(replace(middle, reasoning_effort=effort, votes=votes),),
            strong=large,
            ledger=str(tmp_path / "ledger.sqlite"),
        )
        async with running(replace(given, **settings)) as (found, address, operator):
            yield Three(found, address, operator, tuple(fakes), session, given.ledger)


async def test_each_kind_goes_to_the_cheapest_that_knows_it(tmp_path: Path) -> None:
    async with three(tmp_path, effort="low") as found:
        for text, name in ((EASY, "small"), (MEDIUM, "middle"), (HARD, "large")):
            status, headers, body = await found.ask(text)
            assert status == 200
            assert (headers["x-demur-model"], headers["x-demur-tier"]) == (name, name), headers["x-demur-reason"]
            assert body["choices"][0]["message"]["content"].startswith(f"{name} says")
        assert [fake.requests[-1].get("reasoning_effort") for fake in found.fakes] == [None, "low", None]
        async with found.session.get(f"{found.operator}/metrics") as answer:
            shown = await answer.text()
        assert 'demur_requests_total{role="middle",model="middle",status="200",outcome="ok"} 1' in shown
    rows = {row.model: row for row in read_ledger(found.ledger)}
    assert [rows[name].role for name in NAMES] == ["weak", "middle", "strong"]
    middle = rows["middle"]
    assert middle.usd is not None
    assert middle.usd == pytest.approx(2e-6 * (middle.prompt_tokens + middle.completion_tokens))
    assert middle.usd_strong == pytest.approx(5 * middle.usd)  # as many tokens at five times the price


@pytest.mark.parametrize("method", [PairRouterDC(), PairGraphRouter()])
async def test_one_router_over_all_models_decides_here_as_in_python(tmp_path: Path, method: PoolPair) -> None:
    async with three(tmp_path, method=method) as found:
        router = Router.load(tmp_path / "router", encoder=LetterEncoder())
        for text in (EASY, MEDIUM, HARD, "mmm aaa?", "zz mm aa?", "zzz mmm?"):
            decision = router.route(text)
            _, headers, _ = await found.ask(text)
            assert headers["x-demur-tier"] == decision.model
            assert float(headers["x-demur-score"]) == pytest.approx(decision.score, abs=1e-4)


async def test_a_tier_that_is_down_is_answered_for_by_the_next_one_up(tmp_path: Path) -> None:
    async with three(tmp_path, retries=0, connect_seconds=1.0) as found:
        up = found.gateway.upstreams["middle"]
        up.endpoint = replace(up.endpoint, base_url="http://127.0.0.1:9/v1")
        status, headers, _ = await found.ask(MEDIUM)
        assert (status, headers["x-demur-tier"]) == (200, "large")
        assert "so the strong model answers" in headers["x-demur-reason"]
        large = found.gateway.upstreams["strong"]
        large.endpoint = replace(large.endpoint, base_url="http://127.0.0.1:9/v1")
        status, headers, _ = await found.ask("zz zz zzzz?")
        assert (status, headers["x-demur-tier"]) == (200, "small")  # down where nothing is left above


async def test_a_tier_that_refuses_is_answered_for_by_the_next_one_up(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        found.fakes[1].refusal = lambda body: (400, "no")
        status, headers, _ = await found.ask(MEDIUM)
        assert (status, headers["x-demur-tier"]) == (200, "large")
        assert not found.gateway.abilities.choose(frozenset(), 5, {})[1]  # nothing is learned of the weak model


async def test_tiers_are_asked_for_by_name_and_by_header(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        assert (await found.ask(EASY, model="middle"))[1]["x-demur-tier"] == "middle"
        assert (await found.ask(EASY, headers={"x-demur-route": "middle"}))[1]["x-demur-tier"] == "middle"
        assert (await found.ask(EASY, headers={"x-demur-route": "strong"}))[1]["x-demur-tier"] == "large"
        assert (await found.ask(EASY, headers={"x-demur-route": "large"}))[1]["x-demur-tier"] == "large"
        status, _, body = await found.ask(EASY, headers={"x-demur-route": "medium"})
        assert status == 400
        assert "it can be weak, middle, strong, small or large" in body["error"]["message"]
        assert (await found.ask(HARD, model="demur@0.9"))[1]["x-demur-tier"] == "large"  # worth .8 for the whole step
        assert (await found.ask(HARD, model="demur@1.1"))[1]["x-demur-tier"] == "small"


async def test_a_tier_without_an_ability_is_passed_over(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    async with three(tmp_path) as found:
        found.gateway.abilities.stated = {
            role: replace(one, tools=role == "strong") if one else None
            for role, one in found.gateway.abilities.stated.items()
        }
        status, headers, _ = await found.ask(EASY, tools=[tool])
        assert (status, headers["x-demur-tier"]) == (200, "large")
        found.gateway.abilities.stated = {
            role: replace(one, tools=role != "weak") if one else None
            for role, one in found.gateway.abilities.stated.items()
        }
        status, headers, _ = await found.ask(MEDIUM, tools=[tool])
        assert (status, headers["x-demur-tier"]) == (200, "middle")


async def test_a_conversation_never_goes_below_its_tier_inside_an_ask(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        loop = [
            {"role": "user", "content": MEDIUM},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": EASY},
        ]
        assert (await found.ask(MEDIUM))[1]["x-demur-tier"] == "middle"
        _, headers, _ = await found.ask("", messages=loop)
        assert headers["x-demur-tier"] == "middle"
        assert "a tool loop stays" in headers["x-demur-reason"]


async def test_settings_that_name_other_tiers_are_refused(tmp_path: Path) -> None:
    other = ServedModel("other", "http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match=r"the settings name other between .* was trained with middle"):
        async with three(tmp_path, between=(other,)):
            await asyncio.sleep(0)
    with pytest.raises(InputError, match="target is of two models"):
        async with three(tmp_path, target="30%"):
            await asyncio.sleep(0)


def test_settings_take_a_list_of_models(tmp_path: Path) -> None:
    path = tmp_path / "demur.toml"
    path.write_text("".join(f'[[models]]\nname = "{n}"\nmodel = "{n}"\nimages = false\n' for n in NAMES))
    found = read_settings(path)
    assert found.weak is not None
    assert (found.weak.model, [one.model for one in found.between]) == ("small", ["middle"])
    assert found.served_model("middle") == found.between[0]
    path.write_text(path.read_text() + 'drop = ["model"]\n')
    with pytest.raises(InputError, match="strong: drop: 'model' is what is asked"):
        read_settings(path)


async def test_votes_send_what_most_answers_mean_and_charge_for_all(tmp_path: Path) -> None:
    async with three(tmp_path, votes=3) as found:
        said = iter(["Paris", "Rome", "paris"])
        found.fakes[1].answer = lambda prompt, seed: next(said)
        status, headers, body = await found.ask(MEDIUM)
        assert (status, headers["x-demur-tier"]) == (200, "middle")
        assert body["choices"][0]["message"]["content"] in ("Paris", "paris")
        assert "by vote: 2 of 3 answers mean this" in headers["x-demur-reason"]
        assert [one["temperature"] for one in found.fakes[1].requests] == [1.0] * 3
        streamed = {"model": "demur", "messages": [{"role": "user", "content": MEDIUM}], "stream": True}
        found.fakes[1].answer = saying("middle")
        async with found.session.post(f"{found.address}/v1/chat/completions", json=streamed) as answer:
            await answer.read()
        assert len(found.fakes[1].requests) == 4  # a stream is one answer
    first, second = sorted(read_ledger(found.ledger), key=lambda row: row.at)
    assert first.usd is not None and second.usd is not None
    words = 2e-6 * (first.prompt_tokens + first.completion_tokens)
    assert first.usd == pytest.approx(3 * words)
    assert first.usd_checks == pytest.approx(2 * words)


async def test_votes_that_all_fail_are_one_request_that_falls_upward(tmp_path: Path) -> None:
    async with three(tmp_path, votes=3, retries=0) as found:
        found.fakes[1].refusal = lambda body: (503, "no")
        status, headers, _ = await found.ask(MEDIUM)
        assert (status, headers["x-demur-tier"]) == (200, "large")


async def test_decide_names_the_tier(tmp_path: Path) -> None:
    async with (
        three(tmp_path) as found,
        found.session.post(f"{found.address}/v1/decide", json={"text": MEDIUM}) as answer,
    ):
        said = await answer.json()
    assert (said["role"], said["model"]) == ("middle", "middle")
    assert said["values"] == pytest.approx({"small": 0.0, "middle": 1.0, "large": 1.0}, abs=0.05)


async def test_a_decision_alone_is_counted_and_costs_nothing(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        async with found.session.post(f"{found.address}/v1/decide", json={"text": MEDIUM}) as answer:
            assert (await answer.json())["model"] == "middle"
        await found.ask(EASY)
        async with found.session.get(f"{found.operator}/metrics") as answer:
            shown = await answer.text()
        assert 'demur_decisions_total{model="middle"} 1' in shown
        assert 'model="middle",status' not in shown  # it answered no request
    rows = {row.role: row for row in read_ledger(found.ledger)}
    decided = rows["decided"]
    assert (decided.path, decided.model, decided.outcome, decided.status) == ("/v1/decide", "middle", "decided", 200)
    assert (decided.usd, decided.usd_strong, decided.prompt_tokens, decided.completion_tokens) == (0.0, 0.0, 0, 0)
    assert decided.score is not None
    (bill,) = bills(found.ledger)
    assert bill.requests == 1
    assert not any(sums_of(decided))
    assert add_up([decided]) == ({}, {})
    assert "1 request, 1 decision alone, 0% of those routed strong" in ledger(found.ledger).lines[-1]


@pytest.mark.parametrize("listed", [401, 200])
async def test_the_start_warns_of_a_model_on_this_machine_that_wants_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], listed: int
) -> None:
    """Some servers name their models to everybody, and want a key for answers alone."""

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no key"}}, status=401)

    async def name(request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    app = web.Application()
    app.router.add_get("/v1/models", refuse if listed == 401 else name)
    app.router.add_post("/v1/chat/completions", refuse)
    async with on_loopback(app) as address:
        local = ServedModel("local", f"{address}/v1", usd_per_million_input=9.0, usd_per_million_output=9.0)
        async with three(tmp_path, strong=local):
            said = capsys.readouterr().err
    assert f"local at {address}/v1 is asked without a key; unless it takes none, it will answer 401" in said
    assert said.count("without a key") == 1


async def test_the_start_warns_of_a_model_elsewhere_without_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = ServedModel("cloud", "https://api.example.com/v1", usd_per_million_input=9.0, usd_per_million_output=9.0)
    async with three(tmp_path, strong=cloud):
        said = capsys.readouterr().err
    assert (
        "cloud at https://api.example.com/v1 is asked without a key; unless it takes none, it will answer 401" in said
    )
    assert 'api_key_env = "VARIABLE" in [[models]]' in said
    assert said.count("without a key") == 1  # loopback needs none
