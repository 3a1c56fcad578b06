"""What the gateway reads and changes in requests and answers, without a gateway: splicing, tokens, turns, circuits."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway.http.json_edit import body_of, without_logprobs
from demur.gateway.http.openai_bodies import (
    ApiError,
    parse_body,
    request_headers,
    response_headers,
    threshold_of,
)
from demur.gateway.upstreams.token_counts import MEDIA_TOKENS, StreamCount, request_size, whole_tokens
from demur.gateway.upstreams.token_estimates import RequestSize, TokenEstimate
from demur.models.prices import Tokens
from demur.models.requests.retries import retry_after

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), values), st.text(min_size=1), st.text(min_size=1), st.booleans())
def test_only_the_model_changes(body: dict[str, object], old: str, new: str, escaped: bool) -> None:
    raw = json.dumps(body | {"model": old}, ensure_ascii=escaped).encode("utf-8", "replace")
    read, fields = parse_body(raw)
    assert fields == json.loads(raw)
    changed = read.replace_member(model=new)
    assert json.loads(changed) == json.loads(raw) | {"model": new}
    back = body_of(changed)[0].replace_member(model=fields["model"])
    assert json.loads(back) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        (b'{"model":"demur","x":1,"x":2.0,"y":1.50,"z":1e400}', b'{"model":"m","x":1,"x":2.0,"y":1.50,"z":1e400}'),
        (b'{ "model" :\n"demur", "metadata":{"model":"demur"}}', b'{ "model" :\n"m", "metadata":{"model":"demur"}}'),
        (b'{"mod\\u0065l":"demur","a":{"model":"demur"}}', b'{"mod\\u0065l":"m","a":{"model":"demur"}}'),
        (b'{"model":"demur","model":"demur@1"}', b'{"model":"m","model":"m"}'),
        ('{"a":"é\\u00e9","model":"demur","b":"😀"}'.encode(), '{"a":"é\\u00e9","model":"m","b":"😀"}'.encode()),
        (b'\xef\xbb\xbf{"model":"demur"}\n', b'\xef\xbb\xbf{"model":"m"}\n'),
        (b'{"say \\"model": "demur", "model":"demur\\ud800"}', b'{"say \\"model": "demur", "model":"m"}'),
        (b'{"model":"m" }', b'{"model":"m" }'),
    ],
)
def test_a_new_model_stands_where_the_old_one_stood(raw: bytes, changed: bytes) -> None:
    assert body_of(raw)[0].replace_member(model="m") == changed


def test_what_a_body_lacks_comes_last() -> None:
    assert body_of(b'{"model":"a", "t":1.50 } ')[0].replace_member(logprobs=True, model="b") == (
        b'{"model":"b", "t":1.50 ,"logprobs":true} '
    )
    assert body_of(b"{}")[0].replace_member(n=1) == b'{"n":1}'


def test_only_logprobs_leave_an_answer() -> None:
    asked = b'{ "choices": [ {"message":{"content":"x"}, "logprobs":{"content":[{"logprob":-1e-1}]}}],  "f":1.50}'
    assert without_logprobs(asked) == b'{ "choices": [ {"message":{"content":"x"}, "logprobs":null}],  "f":1.50}'
    for without in (b'{ "choices": [{"logprobs": null}, {}], "f": 1.50}', b"{", b'{"choices": 3}', b"[DONE]"):
        assert without_logprobs(without) is without


@given(st.binary() | st.dictionaries(st.text(), values).map(lambda body: json.dumps(body).encode()))
def test_no_body_breaks_the_parser(raw: bytes) -> None:
    try:
        parse_body(raw)
    except ApiError as error:
        assert 400 <= error.status < 500


def test_threshold_aliases() -> None:
    assert threshold_of("demur@0.3") == 0.3
    assert threshold_of("demur@1e-3") == 0.001
    assert threshold_of("router-mf-0.11593") == 0.11593
    assert threshold_of("demur") is None
    assert threshold_of("gpt-4o") is None
    for wrong in ("demur@1.2.3", "demur@.", "demur@1e999"):
        with pytest.raises(ApiError):
            threshold_of(wrong)


def test_headers_of_a_hop_or_an_account_stay_on_their_side() -> None:
    given = {
        "Connection": "keep-alive, X-Hop",
        "x-hop": "1",
        "X-Api-Key": "k",
        "api-key": "k",
        "Cookie": "a=b",
        "OpenAI-Organization": "theirs",
        "Content-Encoding": "gzip",
        "x-demur-route": "weak",
        "Content-Type": "application/json",
        "X-Trace": "7",
    }
    assert request_headers(given) == {"Content-Type": "application/json", "X-Trace": "7"}
    answered = {"Set-Cookie": "a=b", "openai-organization": "ours", "x-request-id": "r", "Content-Encoding": "gzip"}
    assert response_headers(answered) == {"x-request-id": "r", "Content-Encoding": "gzip"}


def stream_tokens(data: bytes, asked: int) -> Tokens:
    """Tokens of a stream that passes in one piece."""
    count = StreamCount()
    count.add(data)
    return count.tokens(TokenEstimate(asked))


def test_usage_is_read_wherever_it_stands() -> None:
    answer = b'{"choices": [{"message": {"content": "\\"usage\\": {"}}], '
    whole = answer + b'"usage": {"prompt_tokens": 3, "completion_tokens": 5}}'
    assert whole_tokens(whole, TokenEstimate(9)) == Tokens(3, 5, True, 0)
    before = b'{"usage": {"prompt_tokens": 1000, "completion_tokens": 5000}, "choices": ["' + b"x" * 20_000 + b'"]}'
    assert whole_tokens(before, TokenEstimate(9)) == Tokens(1000, 5000, True, 0)
    stream = (
        b'data: {"choices": []}\n\ndata: {"usage": {"prompt_tokens": 7, "completion_tokens": 1, "x": {"y": 1}}}\n\n'
    )
    assert stream_tokens(stream + b'data: {"usage":null}\n\ndata: [DONE]\n\n', 9) == Tokens(7, 1, True, 0)
    assert stream_tokens(b'data: {"usage": null}\n\n', 9) == Tokens(9, 0, False, 0)
    assert stream_tokens(b"", 0) == Tokens(0, 0, False, 0)


@pytest.mark.parametrize("count", ['"many"', "[1]", "NaN", "1e999", "1e30", "-1", "true", "9007199254740993"])
def test_what_is_no_count_is_no_usage(count: str) -> None:
    answer = f'{{"usage": {{"prompt_tokens": {count}, "completion_tokens": 2}}}}'
    assert whole_tokens(answer.encode(), TokenEstimate(9)) == Tokens(9, 0, False, 0)


def test_tokens_are_estimated_from_the_whole_request_and_the_text_of_the_answer() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:" + "A" * 10_000}}
    messages = [
        {"role": "system", "content": "s" * 40},
        {"role": "user", "content": [{"type": "text", "text": "u" * 40}, image]},
    ]
    assert request_size({"model": "large", "messages": messages}) == RequestSize(80, 2, MEDIA_TOKENS)
    assert request_size({"prompt": [1, 2, 3]}) == RequestSize(12, 0)  # a token each
    assert request_size({"input": ["abcd", "efgh"]}) == RequestSize(8, 0)
    answer = {"id": "i" * 500, "choices": [{"message": {"role": "assistant", "content": "c" * 80}}]}
    assert whole_tokens(json.dumps(answer).encode(), TokenEstimate(7)) == Tokens(7, 20, False, 0)
    assert whole_tokens(b"<html>", TokenEstimate(7)) == Tokens(7, 0, False, 0)
    event = b'data: {"id": "' + b"i" * 100 + b'", "choices": [{"delta": {"content": "four"}}]}\n\n'
    assert stream_tokens(event * 100, 7) == Tokens(7, 100, False, 0)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after(formatdate(time.time() + 90, usegmt=True)) == pytest.approx(90, abs=2)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_after(value) for value in (None, "", "soon", "nan")] == [None] * 4
