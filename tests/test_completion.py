"""Answers in every shape that an endpoint may give: texts, usage, log-probs; nothing that was paid for is lost."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import EndpointError, PromptRefusedError
from demur.models.endpoint import Endpoint
from demur.models.requests import client as clients
from demur.models.requests.client import LARGEST_ANSWER, EndpointClient
from demur.models.requests.completion import MOST_TOKENS, parse_completion, read_completion, read_usage
from demur.records import Sample, SamplingSettings
from demur.testing import fake_endpoint

SETTINGS = SamplingSettings(n=1, max_tokens=8)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "backoff_seconds", lambda attempt: 0.001)


def said(message: Any, **choice: Any) -> Sample:
    """The sample of an answer with one choice."""
    return parse_completion({"choices": [{"message": message, **choice}]}, [0], "here")[0]


def with_logprobs(*tokens: tuple[str, Any]) -> dict[str, Any]:
    return {"content": [{"token": text, "logprob": value} for text, value in tokens]}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "Par"}, {"type": "text", "text": "is"}]}, "Paris"),
        ({"content": [{"type": "thinking", "thinking": "France..."}, {"type": "text", "text": "Paris"}]}, "Paris"),
        ({"content": [{"type": "text", "text": "Paris"}, {"type": "reference", "reference_ids": [1]}]}, "Paris"),
        (
            {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
            '{"tool_calls": [{"name": "f", "arguments": "{}"}]}',
        ),
        ({"content": None, "tool_calls": [{"id": "1"}]}, ""),
        ({"content": "Paris", "reasoning_content": "France, so"}, "Paris"),
        ({"content": "<think>\nFrance, so\n</think>\n\nParis"}, "Paris"),
        ({"content": "France, so\n</think>\nParis"}, "Paris"),  # the template has opened it already
        ({"content": "<think></think>Paris"}, "Paris"),
        ({"content": "Tags such as <b> and <think> mark text."}, "Tags such as <b> and <think> mark text."),
    ],
)
def test_the_text_of_an_answer_is_what_the_model_answered(message: Any, text: str) -> None:
    assert said(message).text == text


@pytest.mark.parametrize(
    "message",
    [
        {"content": "<think> It never ended"},
        {"content": [{"type": "thinking", "thinking": "It never ended"}]},
        {"content": None, "reasoning_content": "It never ended"},
    ],
)
def test_thinking_alone_is_no_answer(message: Any) -> None:
    with pytest.raises(EndpointError, match=r"finish_reason 'length'\); a larger max_tokens may help"):
        said(message, finish_reason="length")


def test_what_was_thought_is_paid_for_but_not_believed_in() -> None:
    tokens = [("<think>", -3.0), ("hm", -2.0), ("</think>", -1.0), ("Par", -0.5), ("is", -0.25)]
    answer = {"choices": [{"message": {"content": "<think>hm</think>Paris"}, "logprobs": with_logprobs(*tokens)}]}
    found = read_completion(answer, [0], "here")
    assert found.samples == [Sample(0, "Paris", (-0.5, -0.25), "", 0, 5, 1)]
    assert found.thoughts == 1
    answer["choices"][0]["logprobs"] = with_logprobs(("hidden", -3.0), ("Paris", -0.5))
    assert read_completion(answer, [0], "here").samples[0].logprobs is None  # which tokens answer cannot be told


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf, None, True, "-1", 0.5, -(10**400), [-1.0]])
def test_a_choice_with_a_log_prob_that_is_none_keeps_its_text(value: Any) -> None:
    choices = [
        {"message": {"content": "Paris"}, "logprobs": with_logprobs(("Par", -0.5), ("is", value))},
        {"message": {"content": "Lyon"}, "logprobs": with_logprobs(("Lyon", -0.5))},
    ]
    low, high = parse_completion({"choices": choices}, [0, 1], "here")
    assert (low.text, low.logprobs) == ("Paris", None)
    assert (high.text, high.logprobs) == ("Lyon", (-0.5,))


def test_a_log_prob_that_rounding_put_above_0_is_0() -> None:
    assert said({"content": "x"}, logprobs=with_logprobs(("x", 1e-7))).logprobs == (0.0,)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428}, (10120, 4308)),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}, (32, 103)),
        ({"prompt_tokens": 19693, "completion_tokens": 7, "total_tokens": 19693}, (19693, 7)),
        ({"total_tokens": 1500}, (11, 1489)),  # about 11 were sent
        ({"completion_tokens": 100, "total_tokens": 150}, (50, 100)),
        ({"prompt_tokens": 1000.0, "completion_tokens": 20.0}, (1000, 20)),
        ({"prompt_tokens": 10**30, "completion_tokens": 5}, (0, 5)),
        ({"prompt_tokens": True, "completion_tokens": math.nan}, (0, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, 0)),
        (None, (0, 0)),
    ],
)
def test_usage_counts_what_was_paid(usage: Any, counts: tuple[int, int]) -> None:
    assert read_usage(usage, characters=40, sent_characters=40) == counts


def test_a_text_that_nobody_counted_leaves_its_cost_unknown() -> None:
    for usage in ({"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": 9, "completion_tokens": 0}):
        (found,) = parse_completion({"choices": [{"text": "x" * 2000}], "usage": usage}, [0], "here")
        assert (found.prompt_tokens, found.completion_tokens) == (0, 0)
    (empty,) = parse_completion({"choices": [{"text": ""}], "usage": {"prompt_tokens": 9}}, [0], "here")
    assert (empty.prompt_tokens, empty.completion_tokens) == (9, 0)


def test_reasoning_is_spread_over_answers_with_log_probs() -> None:
    choices = [
        {"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1.0]}},
        {"text": "bcd", "logprobs": {"tokens": ["b", "c", "d"], "token_logprobs": [-1.0, -1.0, -1.0]}},
    ]
    for completion, counts in ((4, [1, 3]), (400, [100, 300])):
        usage = {"prompt_tokens": 5, "completion_tokens": completion}
        found = parse_completion({"choices": choices, "usage": usage}, [0, 1], "here")
        assert [one.completion_tokens for one in found] == counts


async def answered(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> list[Sample]:
    """What a client reads from these bytes."""
    kind = {"Content-Type": "application/json"} | (headers or {})
    async with fake_endpoint(lambda prompt, seed: "") as fake, EndpointClient(Endpoint("m", fake.base_url)) as client:
        fake.failures = [web.Response(body=body, status=status, headers=kind) for _ in range(9)]
        return await client.complete("Why?", SETTINGS, [0])


CAFE = json.dumps({"choices": [{"message": {"content": "café"}}]}, ensure_ascii=False).encode()


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("kind", ["application/json; charset=iso-8859-1", "text/plain", "application/json"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_json_is_utf_8_whatever_its_header_says(status: int, kind: str, mark: bytes) -> None:
    assert (await answered(mark + CAFE, status=status, headers={"Content-Type": kind}))[0].text == "café"


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": "\\ud83d"}]}',
        b'{"choices": [{"text": "x"}], "usage": {"prompt_tokens": 1' + b"0" * 30 + b"}}",
        b'{"choices": [{"text": "x", "logprobs": {"content": [{"logprob": -1' + b"0" * 400 + b"}]}}]}",
    ],
)
async def test_odd_values_beside_a_text_do_not_lose_it(body: bytes) -> None:
    (found,) = await answered(body)
    assert found.text == "x"
    assert found.prompt_tokens <= MOST_TOKENS
    found.finish_reason.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"<html></html>",
        b"[" * 200_000 + b"]" * 200_000,
        b'{"choices": [{"text": "x"}], "usage": {"prompt_tokens": 1' + b"0" * 5000 + b"}}",
        b'{"choices": [null]}',
        b"null",
        b"\xff\xfe",
    ],
)
async def test_what_is_no_completion_is_one_line(body: bytes) -> None:
    with pytest.raises(EndpointError) as raised:
        await answered(body)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


async def test_an_answer_without_end_is_refused_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(b" " * 2**20) * 1000  # 1 GiB inflated, about 1 MB sent
    assert len(bomb) < 2 * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(EndpointError, match="sent more than 32 MiB"):
            await answered(bomb, headers={"Content-Encoding": "gzip"})
        assert tracemalloc.get_traced_memory()[1] < 4 * LARGEST_ANSWER
    finally:
        tracemalloc.stop()


async def test_another_model_than_was_asked_is_said_once() -> None:
    def from_model(name: str) -> bytes:
        return json.dumps({"model": name, "choices": [{"text": "x"}]}).encode()

    async with (
        fake_endpoint(lambda prompt, seed: "") as fake,
        EndpointClient(Endpoint("openai/gpt-4o", fake.base_url)) as client,
    ):
        for name in ("gpt-4o-2024-08-06", "other", "other"):
            fake.failures = [web.Response(body=from_model(name), content_type="application/json")]
            await client.complete("Why?", SETTINGS, [0])
    assert client.notes == ("openai/gpt-4o: the answers say that they come from other",)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(-(10**400)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


def shaped(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with these fields, each of which may be missing or anything else."""
    return st.fixed_dictionaries({}, optional={name: inner | VALUES for name, inner in fields.items()})


CHOICES = shaped(
    index=st.integers(0, 3),
    finish_reason=st.sampled_from(["stop", "length", "content_filter"]),
    text=st.text(max_size=9),
    message=shaped(
        content=st.text(max_size=9) | st.lists(shaped(type=st.just("text"), text=st.text(max_size=4)), max_size=3),
        refusal=st.just("I cannot."),
        reasoning_content=st.text(max_size=9),
    ),
    logprobs=shaped(
        content=st.lists(shaped(token=st.text(max_size=3), logprob=st.floats(-5, 0)), max_size=3),
        tokens=st.lists(st.text(max_size=3), max_size=3),
        token_logprobs=st.lists(st.floats(-5, 0), max_size=3),
    ),
)
USAGE = shaped(prompt_tokens=st.integers(0, 99), completion_tokens=st.integers(0, 99), total_tokens=st.integers(0, 300))


@given(shaped(choices=st.lists(CHOICES | VALUES, max_size=3), usage=USAGE, model=st.text(max_size=3)))
def test_any_answer_is_samples_or_one_error(answer: dict[str, Any]) -> None:
    """Never a traceback; whatever comes out can be kept in the store."""
    try:
        found = read_completion(answer, [0, 1], "here", stop=("x",), sent_characters=9)
    except EndpointError:
        return
    for sample in found.samples:
        sample.text.encode()
        sample.finish_reason.encode()
        assert sample.logprobs is None or all(-math.inf < value <= 0 for value in sample.logprobs)
        assert 0 <= sample.prompt_tokens <= MOST_TOKENS
        assert 0 <= sample.completion_tokens <= 2 * MOST_TOKENS


COUNTS = st.integers(0, 10**6) | st.just(0)


@given(COUNTS, COUNTS, COUNTS, st.integers(0, 10**5), st.integers(0, 10**5))
def test_no_usage_counts_less_than_it_says(prompt: int, completion: int, hidden: int, made: int, sent: int) -> None:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion + hidden}
    for given_usage in (usage, {"total_tokens": usage["total_tokens"]}):
        found = read_usage(given_usage, made, sent)
        assert sum(found) >= usage["total_tokens"]
        assert min(found) >= 0
    if prompt:
        assert read_usage(usage, made, sent) == (prompt, completion + hidden)


async def test_a_sibling_of_a_broken_choice_is_handed_over_before_the_refusal() -> None:
    choices = [{"index": 0, "message": {"content": "x"}}, {"index": 1, "message": {"content": None}}]
    body = json.dumps({"choices": choices}).encode()
    came: list[Sample] = []
    async with fake_endpoint(lambda prompt, seed: "") as fake, EndpointClient(Endpoint("m", fake.base_url)) as client:
        fake.failures = [web.Response(body=body, content_type="application/json")]
        with pytest.raises(PromptRefusedError) as raised:
            async for samples in client.sample("Why?", SETTINGS, range(2)):
                came += samples
    assert raised.value.cause == "answer"
    assert [one.text for one in came] == ["x"]
