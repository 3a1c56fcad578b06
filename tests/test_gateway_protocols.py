"""Messages and Responses read in the form of a chat completion: text, kind, tokens; odd and bad requests of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apis import APIS, MESSAGES_API, RESPONSES_API, Api, error_of, post, speaking
from demur.gateway.decision.abilities import kind_of
from demur.gateway.decision.conversations import Identity
from demur.gateway.decision.request.question import read_question
from demur.gateway.decision.request.routed_text import RoutedText
from demur.gateway.http.openai_bodies import ApiError, parse_body
from demur.gateway.protocols.messages import MESSAGES
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.protocols.responses import RESPONSES
from demur.gateway.protocols.served_protocols import PROTOCOLS, protocol_of
from demur.gateway.settings import GatewaySettings, ServedModel
from demur.gateway.upstreams.token_counts import MEDIA_TOKENS, StreamCount, whole_tokens
from demur.gateway.upstreams.token_estimates import TokenEstimate, TokenEstimates
from gateways import EASY, HARD, gateway

each = pytest.mark.parametrize("api", APIS.values(), ids=APIS)


def text_of(protocol: Protocol, fields: Mapping[str, Any], window: int = 0) -> str:
    """What is routed of a request."""
    raw = json.dumps({"model": "demur", **fields}).encode()
    settings = GatewaySettings(context_characters=window)
    return read_question(
        raw,
        protocol,
        lambda name: True,
        settings,
        key="",
        identity=Identity(),
        texts=RoutedText(),
        estimates=TokenEstimates(["weak"]),
    ).text


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "7 degrees"}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4000}}
DOCUMENT = {"type": "document", "source": {"type": "text", "data": "long " * 1000}}


def picture_line(address: str) -> str:
    """What stands for a picture in the text that is routed."""
    return f"[image {hashlib.sha256(address.encode()).hexdigest()[:16]}]"


SHOWN = picture_line("data:image/png;base64," + "A" * 4000)


@pytest.mark.parametrize(
    ("messages", "routed"),
    [
        ([{"role": "user", "content": "hi"}], "hi"),
        ([user(text("a"), text("b"))], "a\nb"),
        ([user(text("ask")), USE, user(RESULT)], "ask"),
        ([user(text("ask")), USE, user(RESULT, text("and now?"))], "and now?"),
        ([user(text("look"), IMAGE, DOCUMENT)], f"look\n{SHOWN}"),
        ([user(IMAGE)], SHOWN),
        ([user({"type": "of_tomorrow", "text": "not read"}, text("read"))], "read"),
        ([user(text("ask")), {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}], "ask"),
    ],
)
def test_what_is_routed_of_messages(messages: list[dict[str, Any]], routed: str) -> None:
    assert text_of(MESSAGES, {"system": "never", "messages": messages}) == routed
    assert text_of(MESSAGES, {"system": [text("never")], "messages": messages}) == routed


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "7 degrees"}


def said(role: str, words: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": words}]}


@pytest.mark.parametrize(
    ("given_input", "routed"),
    [
        ("hi", "hi"),
        ("", ""),
        ([{"role": "user", "content": "hi"}], "hi"),
        ([said("developer", "never"), said("user", "hi")], "hi"),
        ([said("user", "ask"), CALL, OUTPUT], "ask"),
        ([said("user", "ask"), {"type": "reasoning", "summary": []}, said("assistant", "yes", "output_text")], "ask"),
        ([said("user", "ask"), {"type": "custom_tool_call", "call_id": "c", "input": "x"}, {"type": "odd"}], "ask"),
        (
            [user({"type": "input_image", "image_url": "data:"}, {"type": "input_text", "text": "look"})],
            f"look\n{picture_line('data:')}",
        ),
    ],
)
def test_what_is_routed_of_responses(given_input: object, routed: str) -> None:
    assert text_of(RESPONSES, {"instructions": "never", "input": given_input}) == routed


def test_the_conversation_before_is_routed_with_it_in_every_api() -> None:
    turns = [("user", "abcdef"), ("assistant", "ghi"), ("user", "c")]
    messages = [{"role": role, "content": words} for role, words in turns]
    assert text_of(MESSAGES, {"messages": messages}, window=5) == "f\nghi\nc"
    assert text_of(RESPONSES, {"input": messages}, window=5) == "f\nghi\nc"
    items = [said(role, words, "output_text" if role == "assistant" else "input_text") for role, words in turns]
    assert text_of(RESPONSES, {"input": items}, window=5) == "f\nghi\nc"


SCHEMA = {"type": "json_schema", "schema": {}}
FUNCTION = {"type": "function", "name": "f", "parameters": {}}


@pytest.mark.parametrize(
    ("protocol", "fields", "kind"),
    [
        (MESSAGES, {"messages": [user(IMAGE)]}, {"images"}),
        (MESSAGES, {"messages": [user(DOCUMENT)]}, {"files"}),
        (MESSAGES, {"messages": [user({**RESULT, "content": [IMAGE]})]}, {"images"}),
        (MESSAGES, {"messages": [], "tools": [{"name": "f", "input_schema": {}}]}, {"tools"}),
        (MESSAGES, {"messages": [], "tools": [{"type": "web_search_20250305"}]}, {"tools", "other_tools"}),
        (MESSAGES, {"messages": [], "output_config": {"format": SCHEMA}}, {"json_schema"}),
        (MESSAGES, {"messages": [], "output_format": SCHEMA}, {"json_schema"}),
        (RESPONSES, {"input": [user({"type": "input_image"})]}, {"images"}),
        (RESPONSES, {"input": [user({"type": "input_file"})]}, {"files"}),
        (RESPONSES, {"input": [user({"type": "input_audio"})]}, {"files"}),
        (RESPONSES, {"input": "x", "tools": [FUNCTION]}, {"tools"}),
        (RESPONSES, {"input": "x", "tools": [FUNCTION, {"type": "web_search"}]}, {"tools", "other_tools"}),
        (RESPONSES, {"input": "x", "tools": [{"type": "custom", "name": "patch"}]}, {"tools", "other_tools"}),
        (RESPONSES, {"input": "x", "text": {"format": SCHEMA}}, {"json_schema"}),
        (RESPONSES, {"input": "x", "text": {"format": {"type": "text"}}}, set()),
    ],
)
def test_what_a_request_needs(protocol: Protocol, fields: dict[str, Any], kind: set[str]) -> None:
    assert kind_of(protocol.as_chat(fields), 0) == kind


def test_tokens_of_a_request_are_estimated_from_all_of_it() -> None:
    """40 characters each of system, text and result are 30 tokens, a message 4, the request 3; an image and a document
    count 1,000 each.
    """
    blocks = [text("u" * 40), {**RESULT, "content": [text("r" * 40)]}, IMAGE, DOCUMENT]
    asked = {"model": "demur", "system": "s" * 40, "messages": [user(*blocks)]}

    def tokens(protocol: Protocol, fields: Mapping[str, Any]) -> int:
        raw, settings = json.dumps(fields).encode(), GatewaySettings()
        given = {"key": "", "identity": Identity(), "texts": RoutedText(), "estimates": TokenEstimates(["weak"])}
        return read_question(raw, protocol, lambda name: True, settings, **given).tokens  # type: ignore[arg-type]

    assert tokens(MESSAGES, asked) == 30 + 3 * 4 + 3 + 2 * MEDIA_TOKENS
    items = [said("user", "u" * 40), {**OUTPUT, "output": "r" * 40}, user({"type": "input_image"})]
    assert (
        tokens(RESPONSES, {"model": "demur", "instructions": "s" * 40, "input": items}) == 30 + 4 * 4 + 3 + MEDIA_TOKENS
    )


@each
def test_an_answer_without_usage_is_estimated_from_its_text(api: Api) -> None:
    """40 characters are 10 tokens, whole or streamed."""
    whole = {name: value for name, value in api.answer("m", "x" * 40).items() if name != "usage"}
    assert whole_tokens(json.dumps(whole).encode(), TokenEstimate(7), api.protocol)[:3] == (7, 10, False)
    count = StreamCount(api.protocol)
    for event in api.events("m", "x" * 40):
        count.add(f"data: {json.dumps(_without_usage(event))}\n\n".encode())
    assert count.tokens(TokenEstimate(7))[:3] == (7, 10, False)


def _without_usage(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_usage(inner) for name, inner in value.items() if name != "usage"}
    return value


CACHED = {"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 3}
DETAILED = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 90},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 20},
}


def test_cached_and_reasoning_tokens_are_read_in_every_api() -> None:
    """Messages counts its cached tokens beside the others, Responses among them."""
    found = whole_tokens(
        json.dumps({**MESSAGES_API.answer("m", "x"), "usage": CACHED}).encode(), TokenEstimate(7), MESSAGES
    )
    assert (found.prompt, found.cached, found.completion) == (105, 90, 3)
    found = whole_tokens(
        json.dumps({**RESPONSES_API.answer("m", "x"), "usage": DETAILED}).encode(), TokenEstimate(7), RESPONSES
    )
    assert (found.prompt, found.cached, found.completion, found.reasoning) == (100, 90, 30, 20)
    count, events = StreamCount(MESSAGES), MESSAGES_API.events("m", "x")
    events[0]["message"]["usage"] = CACHED
    for event in events:
        count.add(f"data: {json.dumps(event)}\n\n".encode())
    assert (
        count.tokens(TokenEstimate(7)).prompt,
        count.tokens(TokenEstimate(7)).cached,
        count.tokens(TokenEstimate(7)).completion,
    ) == (105, 90, 3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "input", "tools", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(PROTOCOLS),
    st.dictionaries(
        st.sampled_from(["messages", "input", "system", "instructions", "tools", "text", "output_config", "stream"]),
        json_values,
        max_size=5,
    ),
    json_values,
)
def test_no_request_and_no_answer_breaks_their_reading(protocol: Protocol, fields: dict[str, Any], value: Any) -> None:
    try:
        text_of(protocol, fields)
    except ApiError as error:
        assert 400 <= error.status < 500
    protocol.begins(value)
    assert isinstance(protocol.failure(value), str)
    whole_tokens(json.dumps(value).encode(), TokenEstimate(1), protocol)


@given(st.sampled_from([(protocol, name) for protocol in PROTOCOLS for name in sorted(protocol.members)]), st.data())
def test_no_spelling_of_a_member_that_is_read_passes_beside_it(read: tuple[Protocol, str], data: st.DataObject) -> None:
    protocol, name = read
    spelled = "".join(data.draw(st.sampled_from([one, one.upper(), f"\\u{ord(one):04x}"])) for one in name)
    raw = f'{{"model":"demur","{spelled}":1}}'.encode()
    if spelled == name != "model":
        assert name in parse_body(raw, protocol.members)[1]
    else:
        with pytest.raises(ApiError):
            parse_body(raw, protocol.members)


def test_which_api_a_path_belongs_to() -> None:
    for protocol in PROTOCOLS:
        assert protocol_of(f"/v1{protocol.path}", {}) is protocol_of(protocol.path, {}) is protocol
    assert protocol_of("/v1/messages/batches", {}) is MESSAGES
    assert protocol_of("/v1/models", {"anthropic-version": "x"}) is MESSAGES
    assert protocol_of("/v1/models", {}).name == "chat"


# -- through the gateway -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, of the gateway's own request
async def test_two_megabytes_of_tool_results_arrive_as_they_were(tmp_path: Path) -> None:
    big = "r" * 2**21
    messages = [user(text(EASY)), USE, user({**RESULT, "content": [text(big)]})]
    items = [said("user", EASY), CALL, {**OUTPUT, "output": big}]
    async with gateway(tmp_path, sticky=False) as found, speaking(found) as heard:
        asked: list[tuple[Api, dict[str, Any]]] = [
            (MESSAGES_API, {"messages": messages}),
            (RESPONSES_API, {"input": items}),
        ]
        for api, fields in asked:
            raw = api.body(EASY, **fields)
            status, headers, _ = await post(found, api, raw)
            assert (status, headers["x-demur-model"]) == (200, "small")
            assert heard[-1].raw == raw.replace(b'"demur"', b'"small"')


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        (MESSAGES_API, {"messages": [user(text(EASY), DOCUMENT)]}),
        (MESSAGES_API, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        (
            RESPONSES_API,
            {"input": [user({"type": "input_text", "text": EASY}, {"type": "input_file", "file_id": "f"})]},
        ),
        (RESPONSES_API, {"tools": [{"type": "web_search"}]}),
    ],
)
async def test_what_only_one_model_can_goes_there(tmp_path: Path, api: Api, fields: dict[str, Any]) -> None:
    weak = ServedModel("small", "http://127.0.0.1:9/v1", files=False, other_tools=False, usd_per_million_input=0.0)
    async with gateway(tmp_path, weak=weak) as found, speaking(found) as heard:
        status, headers, _ = await post(found, api, api.body(EASY, **fields))
        assert (status, headers["x-demur-model"], len(heard)) == (200, "large", 1)
        assert "small is set up without" in headers["x-demur-reason"]


@each
async def test_what_no_model_can_is_an_error_in_the_apis_form(tmp_path: Path, api: Api) -> None:
    weak, strong = (ServedModel(name, "http://127.0.0.1:9/v1", tools=False) for name in ("small", "large"))
    tool = {"name": "f", "input_schema": {}} if api is MESSAGES_API else {**FUNCTION, "function": {"name": "f"}}
    async with gateway(tmp_path, weak=weak, strong=strong) as found, speaking(found) as heard:
        status, _, body = await post(found, api, api.body(HARD, tools=[tool]))
        assert (status, heard) == (400, [])
        assert "small is set up without tools; large is set up without tools" in error_of(api, body)[1]
