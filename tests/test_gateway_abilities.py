"""Requests that one model cannot answer: stated in the settings, or learned from its refusals. And aliases."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demur.errors import InputError
from demur.gateway.decision.abilities import Abilities
from demur.gateway.decision.aliases import check_aliases, resolve
from demur.gateway.decision.learned_abilities import Lessons, OwnLessons, SharedLessons
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.settings import GatewaySettings, ServedModel, read_settings
from demur.records import Role
from gateways import EASY, HARD, Running, gateway
from test_gateway_breaker import until
from test_gateway_check_draft import by_draft

Refusal = Callable[[Mapping[str, Any]], tuple[int, str] | None]

LONG = EASY * 1000  # 12,000 characters, about 3,000 tokens
CONTENT = [{"type": "text", "text": EASY}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
IMAGE: dict[str, Any] = {"messages": [{"role": "user", "content": CONTENT}]}
TOOLS: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "look_up"}}]}
SCHEMA: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
LENGTH: dict[str, Any] = {"text": LONG}
KINDS = {"images": IMAGE, "tools": TOOLS, "json_schema": SCHEMA, "length": LENGTH}


def said(message: str) -> str:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "code": None}})


def refuses(status: int) -> Refusal:
    """What vLLM (400) or llama-server (500) does with a request that the model it serves cannot answer."""

    def refuse(body: Mapping[str, Any]) -> tuple[int, str] | None:
        text = json.dumps(body["messages"])
        unable = "tools" in body or "response_format" in body or "image_url" in text or len(text) > len(LONG)
        return (status, said("not supported by this model")) if unable else None

    return refuse


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


async def outcomes(found: Running) -> list[str]:
    await asyncio.sleep(0.02)
    return [record.outcome for record in found.gateway.metrics.recent]


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_weak_model_refuses_the_strong_one_answers_and_the_circuit_stays_closed(
    tmp_path: Path, kind: str, status: int, stream: bool
) -> None:
    async with gateway(tmp_path, sticky=False) as found:
        found.weak.refusal = refuses(status)
        first = await found.ask(**KINDS[kind], stream=stream)
        assert (first[0], first[1]["x-demur-model"]) == (200, "large")
        assert f"small cannot answer this: it answered {status}" in first[1]["x-demur-reason"]
        asked = len(found.weak.requests)
        for number in range(6):  # as many as open a circuit, each of them another request
            status_, headers, _ = await found.ask(**KINDS[kind], stream=stream, seed=number)
            assert (status_, headers["x-demur-model"]) == (200, "large")
            assert "the weak model cannot: it refused a request with" in headers["x-demur-reason"]
        assert len(found.weak.requests) == asked
        assert (await found.ask(EASY))[2]["model"] == "small"
        assert found.gateway.upstreams["weak"].breaker.failures == 0
        assert await outcomes(found) == ["cannot"] + ["ok"] * 7
        async with found.session.get(f"{found.operator}/metrics") as answer:
            assert 'outcome="cannot"} 1' in await answer.text()


async def test_a_stream_that_begins_with_an_error_is_a_refusal_too(tmp_path: Path) -> None:
    async with gateway(tmp_path, sticky=False) as found:
        event = f"data: {said('image input is not supported')}\n\n"
        found.weak.failures += [web.Response(text=event, content_type="text/event-stream") for _ in range(2)]
        assert (await found.ask(**IMAGE, stream=True))[1]["x-demur-model"] == "large"
        assert found.gateway.upstreams["weak"].breaker.failures == 0
        assert await outcomes(found) == ["cannot"]
        assert (await found.ask(**IMAGE))[2]["model"] == "large"
        assert len(found.weak.requests) == 2


async def test_a_draft_that_is_refused_is_a_refusal_too(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft(), sticky=False) as found:
        found.weak.refusal = refuses(500)
        assert (await found.ask(**IMAGE))[2]["model"] == "large"
        assert await outcomes(found) == ["cannot"]
        found.weak.requests.clear()
        _, headers, answer = await found.ask(**IMAGE)
        assert (answer["model"], "x-demur-stage" in headers, found.weak.requests) == ("large", False, [])


async def test_a_field_that_the_weak_model_does_not_know_is_of_no_kind(tmp_path: Path) -> None:
    async with gateway(tmp_path, sticky=False) as found:
        found.weak.unknown_fields = frozenset({"reasoning_effort"})
        assert (await found.ask(reasoning_effort="low"))[2]["model"] == "large"
        assert (await found.ask())[2]["model"] == "small"


async def test_a_request_that_both_refuse_gets_the_strong_models_error_and_teaches_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, sticky=False) as found:
        found.weak.refusal = lambda body: (400, said("small refuses"))
        found.strong.refusal = lambda body: (400, said("large refuses"))
        status, headers, answer = await found.ask(**IMAGE)
        assert (status, answer["error"]["message"], headers["x-demur-upstream-error"]) == (
            *(400, "large refuses"),
            "large",
        )
        found.weak.refusal = None
        assert (await found.ask(**IMAGE))[2]["model"] == "small"


async def test_with_the_strong_model_down_the_refusal_reaches_the_client(tmp_path: Path) -> None:
    async with gateway(tmp_path, retries=0) as found:
        found.weak.refusal = lambda body: (400, said("small refuses"))
        side = found.gateway.upstreams["strong"]
        side.endpoint = replace(side.endpoint, base_url="http://127.0.0.1:9/v1")
        status, _, answer = await found.ask(**IMAGE)
        assert (status, answer["error"]["message"]) == (400, "small refuses")


@pytest.mark.parametrize("how", ["named", "forced", "no fallback"])
async def test_who_asked_for_the_weak_model_gets_its_refusal(tmp_path: Path, how: str) -> None:
    async with gateway(tmp_path, fallback=how != "no fallback") as found:
        found.weak.refusal = refuses(400)
        asked = {"model": "small"} if how == "named" else {}
        headers = {"x-demur-route": "weak"} if how == "forced" else {}
        assert (await found.ask(**TOOLS, **asked, headers=headers))[0] == 400
        assert not found.strong.requests


@pytest.mark.parametrize(("status", "told"), [(401, 502), (402, 402), (403, 502), (404, 404)])
async def test_an_account_that_is_refused_is_not_paid_for_elsewhere(tmp_path: Path, status: int, told: int) -> None:
    async with gateway(tmp_path) as found:
        found.weak.refusal = lambda body: (status, said("no"))
        assert (await found.ask(**TOOLS))[0] == told
        assert not found.strong.requests


async def test_a_refusal_is_forgotten_after_a_while_and_at_the_first_answer(tmp_path: Path) -> None:
    async with gateway(tmp_path, sticky=False, cannot_seconds=0.3) as found:
        found.weak.refusal = refuses(400)
        assert (await found.ask(**TOOLS))[2]["model"] == "large"
        found.weak.refusal = None
        assert (await found.ask(**TOOLS))[2]["model"] == "large"
        await asyncio.sleep(0.35)
        assert (await found.ask(**TOOLS))[2]["model"] == "small"
    async with gateway(tmp_path / "2", sticky=False) as found:
        found.weak.refusal = refuses(400)
        assert (await found.ask(**TOOLS))[2]["model"] == "large"
        found.weak.refusal = None
        assert (await found.ask(**TOOLS, model="small"))[2]["model"] == "small"
        assert (await found.ask(**TOOLS))[2]["model"] == "small"


async def test_an_outage_of_a_model_that_has_shown_that_it_can_opens_its_circuit(tmp_path: Path) -> None:
    async with gateway(tmp_path, sticky=False, retries=0, breaker_failures=1) as found:
        assert (await found.ask(**TOOLS))[2]["model"] == "small"
        found.weak.refusal = lambda body: (500, "{}")
        assert (await found.ask(**TOOLS))[2]["model"] == "large"
        await until(lambda: found.gateway.upstreams["weak"].breaker.open)


# -- stated in the settings --------------------------------------------------------------------------------------------


def stated(found: Running, role: Role, **abilities: Any) -> None:
    """The settings say so of a model."""
    model = replace(ServedModel(found.gateway.upstreams[role].endpoint.model), **abilities)
    held = found.gateway.abilities.stated
    found.gateway.abilities.stated = {**held, role: model}


STATED = [
    ({"images": False}, IMAGE, "small is set up without images"),
    ({"tools": False}, TOOLS, "small is set up without tools"),
    ({"json_schema": False}, SCHEMA, "small is set up without a JSON schema"),
    ({"context_tokens": 2999}, LENGTH, "small reads 2999 tokens, and the request has about 3007"),
]


@pytest.mark.parametrize(("abilities", "request_", "reason"), STATED)
async def test_what_the_settings_say_a_model_cannot_goes_to_the_other_one_unasked(
    tmp_path: Path, abilities: dict[str, Any], request_: dict[str, Any], reason: str
) -> None:
    async with gateway(tmp_path, gate=by_draft(), sticky=False) as found:
        stated(found, "weak", **abilities)
        status, headers, answer = await found.ask(**request_)
        assert (status, answer["model"], headers["x-demur-reason"]) == (
            *(200, "large"),
            f"{reason}, so the strong model answers",
        )
        assert "x-demur-stage" not in headers
        assert not found.weak.requests
        found.strong.failures += [web.Response(status=503), web.Response(status=503)]
        assert (await found.ask(**request_))[0] == 503  # nor does the weak one stand in
        assert not found.weak.requests


async def test_the_strong_model_may_be_the_one_that_cannot(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        stated(found, "strong", tools=False)
        _, headers, answer = await found.ask(HARD, **TOOLS)
        assert (answer["model"], "large is set up without tools" in headers["x-demur-reason"]) == ("small", True)


async def test_what_no_model_can_is_an_error_that_names_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        stated(found, "weak", images=False)
        stated(found, "strong", images=False, tools=False)
        status, _, answer = await found.ask(**IMAGE)
        assert (status, answer["error"]["code"]) == (400, "unsupported_request")
        assert "small is set up without images; large is set up without images" in answer["error"]["message"]
        assert not found.weak.requests
        assert not found.strong.requests


def test_the_abilities_stand_in_the_settings_of_a_model(tmp_path: Path) -> None:
    rows = ['model = "small"', "images = false", "tools = true", "context_tokens = 4096", "json_schema = false"]
    (tmp_path / "g.toml").write_text("\n".join(["[weak]", *rows]))
    found = read_settings(tmp_path / "g.toml").weak
    assert found == ServedModel("small", images=False, tools=True, context_tokens=4096, json_schema=False)
    (tmp_path / "g.toml").write_text('[weak]\nmodel = "small"\nimages = "no"\n')
    with pytest.raises(InputError, match="weak: images: expected bool or nothing, found 'no'"):
        read_settings(tmp_path / "g.toml")


# -- what is learned, by itself ----------------------------------------------------------------------------------------


def can(abilities: Abilities, *kind: str) -> bool:
    return not abilities.choose(frozenset(kind), 0, {})[1]


@pytest.fixture(params=["own", "shared"])
def lessons(request: pytest.FixtureRequest, tmp_path: Path) -> Lessons:
    return OwnLessons() if request.param == "own" else SharedLessons(tmp_path / "abilities")


def test_a_refused_kind_bars_all_that_need_more_and_nothing_else(lessons: Lessons) -> None:
    abilities = Abilities({}, 600, lessons)
    abilities.learn_refusal(frozenset({"images", "2048 tokens"}))
    assert not can(abilities, "images", "2048 tokens", "4096 tokens", "tools")
    assert can(abilities, "images")
    assert can(abilities, "2048 tokens", "4096 tokens")


def test_what_the_weak_model_has_answered_is_not_what_it_refused(lessons: Lessons) -> None:
    abilities = Abilities({}, 600, lessons)
    abilities.learn_answer(frozenset({"tools"}))
    abilities.learn_refusal(frozenset({"tools"}))  # a field of this request, more likely
    assert can(abilities, "tools")
    abilities.learn_refusal(frozenset({"tools", "images"}))
    assert not can(abilities, "tools", "images")
    assert can(abilities, "tools")
    abilities.learn_refusal(frozenset({"tools"}))  # twice without an answer between: its tool parser has gone
    assert not can(abilities, "tools")


def test_workers_learn_together_and_a_new_one_goes_on_from_there(tmp_path: Path) -> None:
    one, other = (Abilities({}, 600, SharedLessons(tmp_path / "abilities")) for _ in range(2))
    one.learn_refusal(frozenset({"images"}))
    assert not can(other, "images")
    other.learn_answer(frozenset({"tools"}))
    assert one.unproven_needs(frozenset({"tools", "images"})) == {"images"}
    again = Abilities({}, 600, SharedLessons(tmp_path / "abilities"))  # a worker in place of one that was killed
    assert not can(again, "images")
    assert again.unproven_needs(frozenset({"tools"})) == frozenset()
    again.learn_answer(frozenset({"images"}))
    assert can(one, "images")
    assert can(other, "images")


def test_workers_that_learn_at_once_lose_nothing(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def learn(worker: int) -> None:
        abilities = Abilities({}, 600, SharedLessons(tmp_path / "abilities"))
        together.wait()
        for i in range(10):
            abilities.learn_answer(frozenset({f"{worker} {i}"}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(learn, range(8)))
    assert len(SharedLessons(tmp_path / "abilities").read().answered) == 80


def test_a_plain_short_prompt_reads_no_file(tmp_path: Path) -> None:
    """Its kind is empty, whatever was learned."""
    (tmp_path / "abilities").mkdir()  # which cannot be read
    abilities = Abilities({}, 600, SharedLessons(tmp_path / "abilities"))
    assert can(abilities)
    assert abilities.unproven_needs(frozenset()) == frozenset()
    abilities.learn_answer(frozenset())


def test_what_the_settings_say_it_can_is_never_learned_away() -> None:
    abilities = Abilities({"weak": ServedModel("small", tools=True, context_tokens=4096)}, 600)
    for _ in range(3):
        abilities.learn_refusal(frozenset({"tools", "2048 tokens", "4096 tokens"}))
    assert can(abilities, "tools", "2048 tokens", "4096 tokens")


def test_a_plain_short_prompt_is_never_barred() -> None:
    abilities = Abilities({}, 600)
    for _ in range(3):
        abilities.learn_refusal(frozenset())
    assert can(abilities)
    with pytest.raises(ApiError):
        Abilities({role: ServedModel("x", context_tokens=9) for role in ("weak", "strong")}, 600).choose(
            frozenset(), 10, {}
        )


# -- aliases -----------------------------------------------------------------------------------------------------------

ALIASES = {"gpt-4o": "demur", "claude-*": "demur@0.9", "claude-opus": "large", "large-*": "small"}


async def test_an_alias_is_answered_as_what_it_stands_for(tmp_path: Path) -> None:
    async with gateway(tmp_path, aliases=ALIASES) as found:
        assert (await found.ask(HARD, model="gpt-4o"))[2]["model"] == "large"
        assert (await found.ask(EASY, model="gpt-4o"))[2]["model"] == "small"
        _, headers, _ = await found.ask(EASY, model="claude-sonnet")
        assert float(headers["x-demur-threshold"]) == 0.9
        _, headers, answer = await found.ask(EASY, model="claude-opus")
        assert (answer["model"], headers["x-demur-reason"]) == ("large", "the request names this model")
        assert (await found.ask(EASY, model="gpt-4"))[0] == 404
        async with found.session.get(f"{found.address}/v1/models") as listed:
            names = [model["id"] for model in (await listed.json())["data"]]
        assert names == ["demur", "small", "large", "gpt-4o", "claude-opus"]
        for name, status in (("claude-haiku", 200), ("gpt-4o", 200), ("gpt-4", 404)):
            async with found.session.get(f"{found.address}/v1/models/{name}") as one:
                assert one.status == status


def test_a_pattern_does_not_hide_a_models_own_name() -> None:
    direct = ("gpt-4o", "small")
    assert resolve("gpt-4o", {"gpt-*": "demur"}, direct) == "gpt-4o"
    assert resolve("gpt-5", {"gpt-*": "demur"}, direct) == "demur"
    assert resolve("demur@0.3", {"*": "small"}, direct) == "demur@0.3"
    assert resolve("gpt-4o", {"gpt-4o": "demur"}, direct) == "demur"


@pytest.mark.parametrize(
    ("aliases", "says"),
    [
        (
            {"gpt-4o": "smal"},
            "'gpt-4o' stands for 'smal', which is not a model here; known: demur, demur@0.5, demur@30%, small",
        ),
        ({"a": "b", "b": "small"}, "'a' stands for 'b', which is not a model here"),
        ({"a": "demur@much"}, "'a' stands for 'demur@much'"),
        ({"demur": "small"}, "'demur' has a meaning of its own"),
    ],
)
def test_an_alias_of_nothing_is_refused_at_the_start(aliases: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_aliases(aliases, ("small", "large"))


async def test_the_gateway_does_not_start_with_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="aliases: 'x' stands for 'y'"):
        async with gateway(tmp_path, aliases={"x": "y"}):
            pass


@pytest.mark.parametrize(("row", "says"), [("x = 1", "aliases.x: expected str"), ("", "")])
def test_aliases_are_a_table_of_names(tmp_path: Path, row: str, says: str) -> None:
    (tmp_path / "g.toml").write_text(f'[aliases]\n"claude-*" = "demur@0.3"\n{row}\n')
    if says:
        with pytest.raises(InputError, match=says):
            read_settings(tmp_path / "g.toml")
    else:
        assert read_settings(tmp_path / "g.toml").aliases == {"claude-*": "demur@0.3"}
    assert GatewaySettings().aliases == {}
