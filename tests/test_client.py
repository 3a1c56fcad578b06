"""The client against a real loopback server that behaves, and misbehaves, as endpoints do."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from demur.errors import EndpointError
from demur.models.endpoint import Endpoint
from demur.models.requests import client as clients
from demur.models.requests.client import EndpointClient
from demur.models.requests.completion import parse_completion
from demur.models.requests.refusals import refused_field
from demur.models.requests.request import request_body
from demur.models.requests.retries import RETRIES
from demur.records import Sample, SamplingSettings
from demur.testing import FakeEndpoint, fake_endpoint, on_loopback

SETTINGS = SamplingSettings(n=4, max_tokens=8)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "backoff_seconds", lambda attempt: 0.001)


def by_seed(prompt: str, seed: int) -> str:
    return f"answer {seed % 1024}"


@pytest.mark.parametrize(("path", "hint"), [("", True), ("/openai", True), ("/v1", False), ("/api/paas/v4", False)])
async def test_a_404_of_a_url_without_a_version_asks_for_v1(path: str, hint: bool) -> None:
    async with on_loopback(web.Application()) as address:  # it serves nothing
        endpoint = Endpoint("small", f"{address}{path}")
        with pytest.raises(EndpointError) as raised:
            async with EndpointClient(endpoint) as client:
                await client.complete("Why?", SETTINGS, range(1))
    assert "answered 404" in str(raised.value)
    assert (f"did you forget /v1? Try {address}{path}/v1" in str(raised.value)) is hint
    assert ("are model and URL right?" in str(raised.value)) is not hint


async def ask(fake: FakeEndpoint, settings: SamplingSettings = SETTINGS, **changed: Any) -> list[Sample]:
    endpoint = Endpoint("m", fake.base_url, **changed)
    async with EndpointClient(endpoint) as client:
        return await client.complete("Why?", settings, range(settings.most))


@pytest.mark.parametrize("chat", [True, False])
async def test_n_samples_in_one_request_with_logprobs(chat: bool) -> None:
    async with fake_endpoint(by_seed) as fake:
        samples = await ask(fake, replace(SETTINGS, chat=chat))
    assert [(s.index, s.text, s.choices) for s in samples] == [(i, f"answer {i}", 4) for i in range(4)]
    assert samples[0].logprobs == (-0.1, -0.1)
    assert len(fake.requests) == 1


async def test_all_four_sampling_switches_are_sent() -> None:
    body = request_body("m", "x", SamplingSettings(), [0])
    assert {name: body[name] for name in ("temperature", "top_p", "top_k", "min_p")} == {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
    }


@pytest.mark.parametrize("refusal", [{"supports_n": False}, {"unknown_fields": frozenset({"n"})}])
async def test_without_n_every_sample_is_asked_with_the_seed_it_would_have_had(refusal: Any) -> None:
    async with fake_endpoint(by_seed, **refusal) as fake:
        samples = await ask(fake)
    assert [(s.index, s.text) for s in samples] == [(i, f"answer {i}") for i in range(4)]


async def test_fields_that_an_endpoint_does_not_know_are_left_out_from_then_on() -> None:
    async with fake_endpoint(by_seed, unknown_fields=frozenset({"top_k", "min_p"})) as fake:
        assert len(await ask(fake)) == 4
    assert "top_k" not in fake.requests[-1]
    assert "min_p" not in fake.requests[-1]
    assert "seed" in fake.requests[-1]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_overload_is_tried_again(status: int) -> None:
    failures = [web.Response(status=status, headers={"Retry-After": "0"}) for _ in range(2)]
    async with fake_endpoint(by_seed, failures=failures) as fake:
        assert len(await ask(fake)) == 4
    assert len(fake.requests) == 3


async def test_an_endpoint_that_asks_for_a_day_is_waited_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    at_once = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await at_once(0)

    monkeypatch.setattr("asyncio.sleep", note)  # else the test would take that minute
    failures = [web.Response(status=429, headers={"Retry-After": "86400"})]
    async with fake_endpoint(by_seed, failures=failures) as fake:
        assert len(await ask(fake)) == 4
    assert 60.0 in waits
    assert max(waits) == 60.0


async def test_overload_without_end_is_one_line() -> None:
    failures = [web.Response(status=500, text="out of\nmemory") for _ in range(9)]
    async with fake_endpoint(by_seed, failures=failures) as fake:
        with pytest.raises(EndpointError, match="answered 500: out of memory"):
            await ask(fake)
    assert len(fake.requests) == RETRIES


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ("<html>Welcome</html>", "not JSON: <html>Welcome</html>"),
        ('{"choices": []}', "no choices"),
        ('{"error": "busy"}', 'answered 500: {"error": "busy"}'),
        ("", "answered 200 with nothing"),
        ("[]", "no choices"),
        ('{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}', "content is None"),
    ],
)
async def test_nonsense_is_named(raw: str, named: str) -> None:
    async with fake_endpoint(by_seed, raw=raw) as fake:
        with pytest.raises(EndpointError) as raised:
            await ask(fake)
    assert named in str(raised.value)
    assert "m at http://127.0.0.1" in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_refusing_and_hanging_endpoints() -> None:
    async with fake_endpoint(by_seed) as gone:
        pass
    with pytest.raises(EndpointError, match=r"does not answer \(Connection refused\), 5 times; is it running"):
        await ask(gone)
    async with fake_endpoint(by_seed, hang_seconds=5.0) as slow:
        with pytest.raises(EndpointError, match=r"does not answer within 0\.05 s, 2 times.*timeout_seconds"):
            await ask(slow, timeout_seconds=0.05)
    assert len(slow.requests) == 2  # each of them may have been paid for


async def test_a_url_without_a_scheme_is_said_at_once() -> None:
    async with EndpointClient(Endpoint("m", "localhost:8000/v1")) as client:
        with pytest.raises(EndpointError, match="no URL; write it as https://HOST/v1"):
            await client.complete("Why?", SETTINGS, [0])


async def test_a_broken_choice_takes_nothing_from_its_siblings() -> None:
    choices = [{"index": i, "message": {"content": None if i == 1 else str(i)}} for i in range(4)]
    async with fake_endpoint(by_seed, raw=json.dumps({"choices": choices})) as fake:
        came: list[Sample] = []
        async with EndpointClient(Endpoint("m", fake.base_url)) as client:
            with pytest.raises(EndpointError, match=r"content is None.*prompt 'Why\?'"):
                async for samples in client.sample("Why?", SETTINGS, range(4)):
                    came += samples
    assert [(s.index, s.text) for s in came] == [(0, "0"), (2, "2"), (3, "3")]
    assert len(fake.requests) == 1


async def test_what_is_filtered_away_is_an_empty_answer() -> None:
    filtered = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}
    async with fake_endpoint(by_seed, raw=json.dumps(filtered)) as fake:
        assert [s.text for s in await ask(fake, replace(SETTINGS, n=1))] == [""]


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": ["text"]},
        {"choices": [None]},
        {"choices": [{"message": {"content": {"text": "x"}}}], "usage": 1},
    ],
)
def test_misshapen_choices_are_one_line(answer: Any) -> None:
    with pytest.raises(EndpointError, match="here: a"):
        parse_completion(answer, [0], "here")


@pytest.mark.parametrize("usage", ["none", [1], {"prompt_tokens": "many"}, {"prompt_tokens": -4}, None])
def test_usage_that_cannot_be_read_counts_nothing(usage: Any) -> None:
    (sample,) = parse_completion({"choices": [{"index": "a", "text": "x \ud800"}], "usage": usage}, [0], "here")
    assert (sample.prompt_tokens, sample.text) == (0, "x ?")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Unrecognized request argument: 'n'", "n"),
        ('{"error": {"message": "Unknown name \\"top_k\\": Cannot find field."}}', "top_k"),
        ("Unsupported parameter: `max_tokens`, use max_completion_tokens", "max_tokens"),
        ("'generation_config.seed' is not supported", "seed"),
        ("The prompt isn't allowed, and 'model' can't be empty", None),
        ("Unsupported value: 'temperature'", "temperature"),
        ("the model 'gpt-4-turn' is gone", None),
        ('{"error": {"message": "Invalid value", "param": "n"}}', "n"),
        ('{"error": {"message": "\'n\' or \'seed\'?", "param": "messages"}}', None),
        ('{"error": {"message": "Unrecognized request argument supplied: min_p", "param": null}}', "min_p"),
        ('{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}', "seed"),
        ('{"detail": [{"loc": ["body", "messages"], "input": {"n": 4, "top_k": 0}}]}', None),
        ("'max_tokens' is too large: 9000", None),
        ("'stop' may hold four at most", None),  # without it other answers would come
    ],
)
def test_only_a_field_that_is_named_is_left_out(text: str, field: str | None) -> None:
    body = request_body("m", "x", SamplingSettings(), [0])
    assert refused_field(400, text, body) == field
    assert refused_field(404, text, body) is None


async def test_a_temperature_that_a_model_does_not_take_is_left_out_and_said_once() -> None:
    warm = replace(SETTINGS, temperature=0.5)
    async with fake_endpoint(by_seed, unknown_fields=frozenset({"temperature"})) as fake:
        async with EndpointClient(Endpoint("m", fake.base_url)) as client:
            for text in ("Why?", "How?"):
                assert len(await client.complete(text, warm, range(4))) == 4
        assert client.notes == ("m does not take temperature 0.5: it is asked without it",)
        too_warm = {"error": {"message": "'temperature' must be at most 0.3"}}
        fake.failures = [web.json_response(too_warm, status=400) for _ in range(9)]
        with pytest.raises(EndpointError, match=r"answered 400.*at most"):  # it takes one, though not this one
            await ask(fake, warm)


async def test_the_longest_answer_is_said_under_its_newer_name() -> None:
    async with fake_endpoint(by_seed, unknown_fields=frozenset({"max_tokens"})) as fake:
        assert len(await ask(fake)) == 4
    assert fake.requests[-1]["max_completion_tokens"] == SETTINGS.max_tokens


async def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMUR_TEST_KEY", "sk-secret")
    async with fake_endpoint(by_seed, key="sk-secret") as fake:
        assert len(await ask(fake, api_key_env="DEMUR_TEST_KEY")) == 4
        monkeypatch.setenv("DEMUR_TEST_KEY", "sk-wrong")
        with pytest.raises(EndpointError, match="401") as raised:
            await ask(fake, api_key_env="DEMUR_TEST_KEY")
        monkeypatch.delenv("DEMUR_TEST_KEY")
        with pytest.raises(EndpointError, match="DEMUR_TEST_KEY is not set or empty"):
            await ask(fake, api_key_env="DEMUR_TEST_KEY")
    assert "sk-" not in str(raised.value)
    assert "sk-" not in repr(Endpoint("m", fake.base_url, api_key_env="DEMUR_TEST_KEY"))


async def test_no_more_requests_at_once_than_allowed() -> None:
    under_way = most = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return web.json_response({"choices": [{"message": {"content": "x"}}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", slow)
    async with (
        on_loopback(app) as address,
        EndpointClient(Endpoint("m", f"{address}/v1", concurrency=3)) as client,
    ):
        await asyncio.gather(*(client.complete(f"q{i}", SETTINGS, [0]) for i in range(12)))
    assert most == 3


def test_choices_come_in_order_whatever_the_server_does() -> None:
    choices = [{"index": i, "message": {"content": str(i)}} for i in (2, 0, 1)]
    assert [s.text for s in parse_completion({"choices": choices}, [5, 6, 7], "here")] == ["0", "1", "2"]
    assert [s.index for s in parse_completion({"choices": choices}, [5, 6, 7], "here")] == [5, 6, 7]


def test_a_refusal_is_an_answer() -> None:
    choice = {"message": {"content": None, "refusal": "I cannot."}}
    assert parse_completion({"choices": [choice]}, [0], "here")[0].text == "I cannot."


async def test_embeddings_keep_their_order() -> None:
    async with fake_endpoint(by_seed) as fake, EndpointClient(Endpoint("m", fake.base_url)) as client:
        rows = await client.embed(["aaa", "bbb"])
    assert rows[0].argmax() == 0
    assert rows[1].argmax() == 1


def test_request_is_plain_json() -> None:
    assert json.loads(json.dumps(request_body("m", "x {prompt}", replace(SETTINGS, template="Q: {prompt}"), [0])))[
        "messages"
    ] == [{"role": "user", "content": "Q: x {prompt}"}]


def test_a_model_that_gives_nobody_its_logprobs_is_asked_without() -> None:
    body = request_body("m", "x", SETTINGS, [0])
    assert refused_field(403, "You are not allowed to request logprobs from this model", body) == "logprobs"
    assert refused_field(403, "This key may not 'n'", body) is None


def test_a_short_answer_beside_a_long_one_has_a_token() -> None:
    answer = {"choices": [{"text": "a"}, {"text": "b" * 99}], "usage": {"prompt_tokens": 5, "completion_tokens": 9}}
    assert [s.completion_tokens for s in parse_completion(answer, [0, 1], "e")] == [1, 9]


@pytest.mark.parametrize("rows", [[{"index": 0}], ["x"], [{"index": 0, "embedding": ["a"]}]])
async def test_embeddings_that_are_none_are_named(rows: list[object]) -> None:
    async with fake_endpoint(by_seed) as fake, EndpointClient(Endpoint("m", fake.base_url)) as client:
        fake.embeddings = rows
        with pytest.raises(EndpointError, match="rows without an embedding each"):
            await client.embed(["a"])


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("DEMUR_TEST_KEY", "it refuses the key that DEMUR_TEST_KEY holds: is that a key of this endpoint?"),
        (None, "no key was sent: name the variable that holds it, MODEL@URL#VARIABLE"),
    ],
)
async def test_a_refused_key_is_told_from_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, advice: str
) -> None:
    monkeypatch.setenv("DEMUR_TEST_KEY", "wrong")
    async with fake_endpoint(by_seed, key="right") as fake:
        with pytest.raises(EndpointError) as raised:
            await ask(fake, api_key_env=variable)
    assert advice in str(raised.value)


async def test_a_404_names_the_models_that_the_endpoint_has() -> None:
    async def listed(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": f"model-{i}"} for i in range(9)]})

    app = web.Application()
    app.router.add_get("/v1/models", listed)
    async with on_loopback(app) as address:
        with pytest.raises(EndpointError) as raised:
            async with EndpointClient(Endpoint("model-99", f"{address}/v1")) as client:
                await client.complete("Why?", SETTINGS, range(1))
    assert str(raised.value).endswith(
        "; the models that it has: model-0, model-1, model-2, model-3, model-4, model-5, model-6, model-7, ..."
    )
