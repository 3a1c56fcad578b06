"""Refusals as real endpoints word them: omissible fields are left out, refused prompts are recognised, and there is no
loop.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import EndpointError, PromptRefusedError
from demur.models.doctor import doctor
from demur.models.endpoint import Endpoint
from demur.models.requests import client as clients
from demur.models.requests.client import EndpointClient
from demur.models.requests.completion import read_completion
from demur.models.requests.refusals import OPTIONAL, blames_prompt, error_inside, refused_field
from demur.models.requests.request import request_body
from demur.models.requests.retries import RETRIES
from demur.records import SamplingSettings
from demur.testing import FakeEndpoint, fake_endpoint

SETTINGS = SamplingSettings(n=4, max_tokens=8)
BODY = request_body("m", "x", replace(SETTINGS, stop=("\n",)), range(4))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "backoff_seconds", lambda attempt: 0.001)


def by_seed(prompt: str, seed: int) -> str:
    return f"answer {seed % 1024}"


def refusing(fake: FakeEndpoint, refuses: Any, status: int, body: str) -> None:
    """Have a fake refuse the requests for which ``refuses(fields)`` holds, each with the same answer."""
    fake.refusal = lambda fields: (status, body) if refuses(fields) else None


WORDED = [  # found in public bug reports of clients of these servers
    ({"detail": "Invalid n value (currently only n = 1 is supported)"}, "n"),
    ({"error": {"message": "Only one completion choice is allowed"}}, "n"),
    ({"object": "error", "message": "n must be 1 when using greedy sampling, got 4.", "code": 400}, "n"),
    ({"error": {"message": "Logprobs is not enabled for models/x", "status": "INVALID_ARGUMENT"}}, "logprobs"),
    ({"error": {"message": "logprobs is not supported for models created with several adapters"}}, "logprobs"),
    ({"error": {"message": "Model x does not support parameter seed"}}, "seed"),
    ({"error": {"message": "stop is not supported for this model"}}, "stop"),
    (
        {"error": {"message": "Unsupported parameter: 'stop' is not supported with this model.", "param": "stop"}},
        "stop",
    ),
    ({"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs", "input": 0}]}, "top_k"),
    ({"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "min_p"], "input": {"n": 1}}]}}, "min_p"),
    ({"error": {"message": "Multiple choices are not supported by this backend"}}, "n"),
    ({"error": {"message": "property 'top_k' is unsupported"}}, "top_k"),
]


@pytest.mark.parametrize(("said", "field"), WORDED)
@pytest.mark.parametrize("status", [400, 422])
async def test_a_field_that_is_refused_in_words_is_left_out(said: Any, field: str, status: int) -> None:
    async with fake_endpoint(by_seed) as fake:
        refusing(fake, lambda fields: field in fields, status, json.dumps(said))
        async with EndpointClient(Endpoint("m", fake.base_url)) as client:
            samples = await client.complete("Why?", replace(SETTINGS, stop=("\n",)), range(4))
    assert [s.text for s in samples] == [f"answer {i}" for i in range(4)]
    assert {"top_k", "min_p", "logprobs", "seed", "n", "stop"} - set(fake.requests[-1]) == {field}


@pytest.mark.parametrize("field", ["n", "logprobs"])
async def test_the_same_words_with_status_500_are_not_tried_again(field: str) -> None:
    said = next(json.dumps(body) for body, named in WORDED if named == field and "supported" in json.dumps(body))
    async with fake_endpoint(by_seed) as fake:
        refusing(fake, lambda fields: field in fields, 500, said)
        async with EndpointClient(Endpoint("m", fake.base_url)) as client:
            assert len(await client.complete("Why?", SETTINGS, range(2))) == 2
    assert len(fake.requests) <= 3  # one refusal, then two answers at most


@pytest.mark.parametrize("field", OPTIONAL)
async def test_a_field_that_no_refusal_names_is_found_by_leaving_each_out(field: str) -> None:
    async with fake_endpoint(by_seed) as fake:
        refusing(fake, lambda fields: field in fields, 400, '{"error": "Bad Request"}')
        async with EndpointClient(Endpoint("m", fake.base_url)) as client:
            assert len(await client.complete("Why?", SETTINGS, range(4))) == 4
            await client.complete("How?", SETTINGS, range(1))
        assert f"m refuses requests with {field}: it is asked without" in client.notes
    assert set(OPTIONAL) - set(fake.requests[-1]) == {field}  # the others are still sent


async def test_two_fields_that_no_refusal_names_are_both_left_out() -> None:
    async with fake_endpoint(by_seed) as fake:
        refusing(fake, lambda fields: "seed" in fields or "top_k" in fields, 400, "no")
        async with EndpointClient(Endpoint("m", fake.base_url)) as client:
            assert len(await client.complete("Why?", SETTINGS, range(2))) == 2


async def test_once_an_endpoint_has_answered_a_refusal_is_the_prompts_own() -> None:
    async with fake_endpoint(by_seed) as fake, EndpointClient(Endpoint("m", fake.base_url)) as client:
        refusing(fake, lambda fields: "forbidden" in str(fields["messages"]), 400, "no")
        await client.complete("Why?", SETTINGS, range(1))
        with pytest.raises(PromptRefusedError, match=r"answered 400: no \(prompt 'forbidden'\)") as raised:
            await client.complete("forbidden", SETTINGS, range(1))
        assert raised.value.cause == "unknown"
        assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."),
        (400, '{"error": {"code": "content_filter", "param": "prompt"}}'),
        (400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"),
        (
            400,
            '{"error": {"type": "exceed_context_size_error", "message": "the request exceeds it"}}',
        ),
        (500, "the request exceeds the available context size. try increasing the context size"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum"),
        (413, "Request Entity Too Large"),
        (400, "Input data may contain inappropriate content."),
    ],
)
async def test_a_prompt_that_is_filtered_or_too_long_is_told_apart_and_asked_once(status: int, said: str) -> None:
    assert blames_prompt(status, said)
    async with fake_endpoint(by_seed) as fake, EndpointClient(Endpoint("m", fake.base_url)) as client:
        refusing(fake, lambda fields: True, status, said)
        with pytest.raises(PromptRefusedError) as raised:
            await client.complete("Why?", SETTINGS, range(1))
    assert raised.value.cause == "prompt"
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "content policy"),
        (400, "'max_tokens' is too large: 300000. This model's maximum context length is 4096 tokens"),
        (400, "Your credit balance is too low"),
        (500, "worker died"),
    ],
)
def test_what_would_meet_every_prompt_does_not_blame_one(status: int, said: str) -> None:
    assert not blames_prompt(status, said)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"error": {"message": "slow down", "code": 429}}, 429),
        ({"error": {"message": "slow down", "code": "429"}}, 429),
        ({"error": "busy"}, 500),
        ({"error": {"code": "rate_limit_exceeded"}}, 500),
        ({"error": None, "choices": []}, None),
        ({"error": {"code": 400}, "choices": [{"text": "x"}]}, None),  # an answer is there
        ([], None),
    ],
)
def test_an_error_inside_an_answer_has_its_own_status(answer: Any, status: int | None) -> None:
    assert error_inside(answer) == status


async def test_an_error_inside_a_200_is_tried_again_and_then_named() -> None:
    async with fake_endpoint(by_seed) as fake, EndpointClient(Endpoint("m", fake.base_url)) as client:
        refusing(fake, lambda fields: len(fake.requests) < 3, 200, '{"error": {"code": 503, "message": "busy"}}')
        assert len(await client.complete("Why?", SETTINGS, range(4))) == 4
        refusing(fake, lambda fields: True, 200, '{"error": {"code": 429, "message": "busy"}}')
        fake.requests.clear()
        with pytest.raises(PromptRefusedError, match="answered 429") as raised:
            await client.complete("Why?", SETTINGS, range(4))
    assert raised.value.cause == "passing"
    assert len(fake.requests) == RETRIES


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_named_and_not_followed(status: int) -> None:
    async with fake_endpoint(by_seed) as fake, fake_endpoint(by_seed) as elsewhere:
        fake.failures.append(
            web.Response(status=status, headers={"Location": f"{elsewhere.base_url}/chat/completions"})
        )
        async with EndpointClient(Endpoint("m", fake.base_url)) as client:
            with pytest.raises(EndpointError, match=rf"answered {status}, a redirect to {elsewhere.base_url}"):
                await client.complete("Why?", SETTINGS, range(1))
    assert not elsewhere.requests


async def test_stop_strings_that_a_model_does_not_take_cut_its_answers_here() -> None:
    def two_lines(prompt: str, seed: int) -> str:
        return "Paris is it\nand more words"

    stopless = frozenset({"stop"})
    async with (
        fake_endpoint(two_lines, unknown_fields=stopless) as fake,
        EndpointClient(Endpoint("m", fake.base_url)) as client,
    ):
        (sample,) = await client.complete("Why?", replace(SETTINGS, stop=("\n",)), [0])
    assert sample.text == "Paris is it"
    assert sample.completion_tokens == 6  # all of them are paid for
    assert client.notes == ("m does not take stop strings: its answers are cut at them here",)


async def test_doctor_reports_an_endpoint_that_wants_max_completion_tokens() -> None:
    async with fake_endpoint(by_seed, unknown_fields=frozenset({"max_tokens"}), embeddings=["none"]) as fake:
        found = await asyncio.to_thread(doctor, f"gpt-4o@{fake.base_url}")
    assert found.several
    assert found.streaming
    assert not found.embeddings


@given(st.text(), st.sampled_from([400, 403, 422, 500]))
def test_any_text_of_a_refusal_is_read_without_an_error(text: str, status: int) -> None:
    found = refused_field(status, text, BODY)
    assert found is None or found in {*OPTIONAL, "temperature", "top_p", "stop", "max_tokens"}
    assert isinstance(blames_prompt(status, text), bool)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "detail", "loc", "param", "message", "code", "input"]), inner)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([400, 422, 500]))
def test_any_json_of_a_refusal_is_read_without_an_error(value: Any, status: int) -> None:
    refused_field(status, json.dumps(value), BODY)
    found = error_inside(value)
    assert found is None or 400 <= found < 600
    with pytest.raises(EndpointError):
        read_completion(value, [0], "here")


@given(st.lists(st.sampled_from([*OPTIONAL, "temperature", "top_p", "stop", "max_tokens"]), unique=True), st.data())
def test_leaving_out_one_refused_field_after_another_ends(fields: list[str], data: Any) -> None:
    """Whatever an endpoint refuses in turn, each refusal makes the request smaller: no loop."""
    wording = data.draw(st.sampled_from(["Unknown argument: '{}'", '{{"param": "{}"}}', "{} is not supported"]))
    left = dict(BODY)
    for field in fields:
        if field == "n" and wording.startswith("{}"):
            continue
        refused = refused_field(400, wording.format(field), left)
        assert refused in (field, None)
        left.pop(refused or "", None)
