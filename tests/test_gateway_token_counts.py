"""What answers cost, whatever shape their upstream gives its usage: reasoning, floats, totals alone, long events."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway.settings import ServedModel
from demur.gateway.upstreams.events import data_of, is_error, split_events, with_data
from demur.gateway.upstreams.token_counts import StreamCount, whole_tokens
from demur.gateway.upstreams.token_estimates import TokenEstimate
from demur.models.prices import Price, Tokens, price_of
from gateways import EASY, HARD, gateway, wire

ASKED, TEXT = 100, "c" * 2000  # of the request, estimated; of the answer: 500 tokens, estimated


def answer(usage: object, text: str = TEXT) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()


def passed(data: bytes, *cuts: int) -> Tokens:
    """Tokens of a stream that is cut into pieces at these places."""
    count, places = StreamCount(), [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        count.add(data[start:end])
    return count.tokens(TokenEstimate(ASKED))


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (
            {"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428},
            Tokens(10120, 4308, reasoning=2809),
        ),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}, Tokens(32, 103, reasoning=94)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Tokens(10, 5, True, 0)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 9}, Tokens(10, 5, True, 0)),
        ({"total_tokens": 1500}, Tokens(100, 1400, False, 0)),
        ({"total_tokens": 550}, Tokens(50, 500, False, 0)),  # the text alone has 500
        ({"completion_tokens": 5, "total_tokens": 15}, Tokens(10, 5, True, 0)),
        ({"completion_tokens": 5}, Tokens(100, 5, False, 0)),
        ({"prompt_tokens": 10}, Tokens(10, 500, False, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Tokens(100, 500, False, 0)),
        ({"prompt_tokens": 1000.0, "completion_tokens": 500.0}, Tokens(1000, 500, True, 0)),
        ({"input_tokens": 10, "output_tokens": 5}, Tokens(10, 5, True, 0)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}},
            Tokens(10, 5, True, 9),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}},
            Tokens(10, 5, True, 10),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, Tokens(10, 5, True, 4)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": None}, Tokens(10, 5, True, 0)),
        (None, Tokens(100, 500, False, 0)),
        ([], Tokens(100, 500, False, 0)),
    ],
)
def test_every_shape_of_usage_whole_and_streamed(usage: object, tokens: Tokens) -> None:
    assert whole_tokens(answer(usage), TokenEstimate(ASKED)) == tokens
    event = b"data: " + answer(usage).replace(b"message", b"delta") + b"\n\n"
    assert passed(event + b"data: [DONE]\n\n") == tokens
    assert passed(b'data: {"usage": null}\n\n' + event) == tokens


def test_an_embedding_has_no_completion() -> None:
    data = b'{"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}}'
    assert whole_tokens(data, TokenEstimate(ASKED)) == Tokens(8, 0, True, 0)


def event(**chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


@pytest.mark.parametrize("characters", [8_100, 8_200, 2_000_000])
def test_an_answer_in_one_long_event_is_counted(characters: int) -> None:
    found = passed(event(**said("x" * characters)) + b"data: [DONE]\n\n")
    assert found.prompt == ASKED
    assert found.completion == pytest.approx(characters / 4, rel=0.001)


def test_usage_in_front_of_a_long_rest_of_its_event_is_read() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    for padding in (8_050, 2_000_000):
        assert passed(event(usage=usage, **said("x"), padding="p" * padding)) == Tokens(1000, 500, True, 0)


def test_small_events_before_a_long_one_are_counted_with_it() -> None:
    small = event(**said("four")) * 400
    assert passed(small + event(**said("x" * 9000))).completion == 400 + 2250


COUNT = st.one_of(st.none(), st.integers(0, 10**6), st.floats(0, 1e6), st.just(-1), st.just("5"), st.just(True))


@given(
    st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "x"]), COUNT),
    st.text(max_size=40),
    st.lists(st.integers(0, 200), max_size=4),
)
def test_no_usage_breaks_the_count_or_costs_nothing(usage: dict[str, object], text: str, cuts: list[int]) -> None:
    found = whole_tokens(answer(usage, text), TokenEstimate(ASKED))
    stream = event(choices=[{"delta": {"content": text}}], usage=usage)
    assert passed(stream, *(cut for cut in cuts if cut < len(stream))) == found
    assert found.prompt > 0
    assert found.completion > 0 or not text
    counts = [value for value in usage.values() if isinstance(value, int | float) and not isinstance(value, bool)]
    if found.counted and all(value >= 0 for value in counts):
        total = usage.get("total_tokens")
        assert found.prompt + found.completion >= (total if isinstance(total, int | float) else 0)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.text(max_size=40))
def test_no_usage_counts_less_than_its_total(prompt: int, completion: int, hidden: int, text: str) -> None:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion + hidden}
    found = whole_tokens(answer(usage, text), TokenEstimate(ASKED))
    assert found == passed(event(choices=[{"delta": {"content": text}}], usage=usage))
    assert found.prompt == prompt
    assert found.completion >= completion + hidden


def test_cached_tokens_have_their_own_price() -> None:
    price = Price(1e-6, 2e-6, "test", 1e-7)
    assert price.usd_of(Tokens(10_000, 100, cached=9_000)) == pytest.approx(1_000e-6 + 9_000e-7 + 200e-6)
    assert Price(1e-6, 2e-6, "test").usd_of(Tokens(10_000, 100, cached=9_000)) == pytest.approx(10_200e-6)
    known = price_of("gpt-4o")
    assert known and known.usd_per_cached_token == pytest.approx(known.usd_per_input_token / 2)


async def test_cached_tokens_are_charged_and_kept(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 10_000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 9000}}
    data = answer(usage)
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)
    strong = ServedModel("gpt-4o", "http://127.0.0.1:1/v1")
    async with gateway(tmp_path, strong=strong) as found, wire(found, said, roles=("strong",)):
        _, headers, _ = await found.ask(HARD)
        assert float(headers["x-demur-cost-usd"]) == pytest.approx(1000 * 2.5e-6 + 9000 * 1.25e-6 + 100 * 1e-5)
        await found.ask(EASY)
        assert found.gateway.metrics.recent[0].cached_tokens == 9000


# -- events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_end_with_a_blank_line_of_any_kind(end: bytes) -> None:
    first, second = b"data: 1" + end + b"id: 7" + end * 2, b": ping data: 2" + end + b"data: 3" + end * 2
    assert split_events(first + second + b"data: 4") == ([first, second], b"data: 4")
    assert [data_of(one) for one in (first, second)] == [b"1", b"3"]


def test_data_is_what_stands_behind_its_name_at_the_start_of_a_line() -> None:
    assert data_of(b": data: {}\n\n") is None
    assert data_of(b"data:a\ndata: b\ndata\nid: data: c\n\n") == b"a\nb\n"
    assert data_of(b"database: 1\n\n") is None
    assert is_error(b"event: error\ndata: {}\n\n")
    assert not is_error(b"data: event: error\n\n")


def test_only_an_events_data_is_replaced() -> None:
    assert with_data(b"id: 7\r\ndata: a\r\nretry: 1\r\n\r\n", b"bb") == b"id: 7\r\ndata: bb\r\nretry: 1\r\n\r\n"
    assert with_data(b"data:a\ndata: b\nid: 1\n\n", b"c") == b"data:c\nid: 1\n\n"
    assert with_data(b": none\n\n", b"c") == b": none\n\n"


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"data: {}", b": c"]), max_size=30), st.integers(0, 60))
def test_splitting_loses_no_byte_wherever_a_stream_is_cut(parts: list[bytes], cut: int) -> None:
    data = b"".join(parts)
    events, rest = split_events(data[:cut])
    more, last = split_events(rest + data[cut:], seen=len(rest))
    assert b"".join([*events, *more, last]) == data
