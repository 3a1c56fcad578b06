"""The text that is routed: the person's words, whatever their client puts around them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway.decision.request.ask import LONGEST, asked_in, last_ask
from demur.gateway.decision.request.boilerplate import Boilerplate
from demur.gateway.decision.request.messages import Message
from demur.gateway.decision.request.routed_text import RoutedText
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.settings import RouteSettings
from gateways import EASY, HARD, gateway

ASK = "Which river flows through Rome?"


def text(*messages: tuple[str, object], window: int = 0, **fields: object) -> str:
    said = {"messages": [{"role": role, "content": content} for role, content in messages], **fields}
    return RoutedText().find(said, named="", key="", context_characters=window)


def test_the_last_words_of_the_user_after_a_little_of_what_was_said() -> None:
    assert text(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")) == "c"
    assert text(("user", "abcdef"), ("assistant", "ghi"), ("user", "c"), window=5) == "f\nghi\nc"
    assert text(("user", "abc"), ("assistant", "ghi"), ("user", "c"), window=2) == "hi\nc"
    assert text(("user", "q"), ("tool", "result")) == "q"
    assert (
        text(("user", [{"type": "text", "text": "x"}, {"type": "image_url"}, {"type": "text", "text": "y"}])) == "x\ny"
    )
    assert text(("system", "only")) == "only"
    assert text(("user", "half \ud800")) == "half ?"
    find = RoutedText().find
    assert find({"prompt": ["first", "second"]}, named="", key="", context_characters=0) == "first"
    assert find({"prompt": [1, 2, 3]}, named="", key="", context_characters=0) == ""


def test_an_ask_that_stands_by_itself_is_routed_alone() -> None:
    assert text(("user", "abc"), ("assistant", "ghi"), ("user", ASK), window=500) == ASK


def test_what_was_only_given_to_read_is_no_context() -> None:
    given_to_read = [("user", "These are my files."), ("assistant", "Ok, I have read them.")]
    assert text(("user", "abc"), ("assistant", "ghi"), *given_to_read, ("user", "c"), window=99) == "abc\nghi\nc"


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_messages_break_it(messages: object) -> None:
    try:
        RoutedText().find({"messages": messages}, named="", key="", context_characters=100)
    except ApiError as error:
        assert error.status == 400


FILE = "src/app.py\n```python\nx = 1\n```\n"


@pytest.mark.parametrize(
    "wrapped",
    [
        f"<task>\n{ASK}\n</task>\n<environment_details>\nNow.\n</environment_details>",
        f"<system-reminder>Be brief. <b>Now</b></system-reminder>\n{ASK}",
        f"{ASK}\n<system-reminder>a</system-reminder>\n<system-reminder>b</system-reminder>",
        f"<context><source id='1'>The Tiber <i>is</i> long.</source></context>\n{ASK}",
        f"Context:\nThe Tiber is long.\n\nQuestion: {ASK}\nHelpful Answer:",
        f"Answer from the text.\n\n### User Query: {ASK}",
        f"{FILE}\n{ASK}",
        f"{ASK}\n\n{FILE}",
    ],
)
def test_templates_are_told_from_the_ask(wrapped: str) -> None:
    assert asked_in(wrapped) == ASK


@pytest.mark.parametrize(
    "whole",
    [
        "Why is <div>this</div> too wide?",
        "What does `a < b > c` mean?",
        "Explain:\n```python\nprint(1)\n```",
        "Is <my-tag> open?",
    ],
)
def test_what_a_person_writes_stays_whole(whole: str) -> None:
    assert asked_in(whole) == whole


@pytest.mark.parametrize(
    "written",
    [
        "Observation: 7",
        "Tool result: 7",
        "[read_file for 'a.py'] Result:\nx = 1",
        "<tool_response>7</tool_response>",
        "Execution logs:\n7",
    ],
)
def test_results_in_the_users_name_are_no_asks(written: str) -> None:
    messages = [Message("user", ASK), Message("assistant", "I will look."), Message("user", written)]
    found = last_ask(messages)
    assert found is not None
    assert (found.place, found.text) == (0, ASK)


def test_after_a_text_agents_call_comes_its_result() -> None:
    call = Message("assistant", "Thought: x\nAction: search\nAction Input: y")
    done = Message("assistant", "Thought: x\nAction: none\nFinal Answer: z")
    assert last_ask([Message("user", ASK), call, Message("user", "Rome lies on the Tiber.")]).text == ASK  # type: ignore[union-attr]
    assert last_ask([Message("user", ASK), done, Message("user", "Thanks!")]).text == "Thanks!"  # type: ignore[union-attr]


def test_a_summary_is_no_ask() -> None:
    said = "This session is being continued from a previous conversation that ran out of context. It was about Rome."
    assert last_ask([Message("user", said)]) is None
    assert text(("user", said)) == ""


def test_a_template_is_learned_from_two_texts_and_taken_off_the_third() -> None:
    learned = Boilerplate()
    found = [
        learned.strip(f"Follow these rules:\n- be brief\n{ask}\nEnd of the request.", "key")
        for ask in ("a b", "c d", "e f")
    ]
    assert found == [
        "Follow these rules:\n- be brief\na b\nEnd of the request.",
        "Follow these rules:\n- be brief\nc d\nEnd of the request.",
        "e f",
    ]
    other = "Follow these rules:\n- be brief\ng h\nEnd of the request."
    assert learned.strip(other, "another key") == other


def test_the_same_text_again_is_no_template() -> None:
    learned = Boilerplate()
    for _ in range(5):
        assert learned.strip("First line of it.\nSecond line of it.", "") == "First line of it.\nSecond line of it."


def test_what_is_learned_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.decision.request.boilerplate.LARGEST", 10)
    learned = Boilerplate()
    for number in range(50):
        learned.strip(f"line number {number}\nanother line {number}", "")
    assert len(learned._texts_of) == 10


@pytest.mark.parametrize(
    "hostile",
    [
        "<a-b>" * 20_000,
        "<a-b></a-c>" * 9_000,
        "a.py\n```\n" * 11_000,
        "<a-b " * 20_000,
        "question:" * 11_000,
        "\n" * 99_000,
    ],
    ids=["open tags", "other ends", "fences", "half tags", "labels", "lines"],
)
def test_no_text_takes_long(hostile: str) -> None:
    started = time.process_time()
    asked_in(hostile)
    assert time.process_time() - started < 0.5
    assert len(hostile) <= LONGEST


async def test_header_metadata_and_function_say_what_is_routed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def own(request: Mapping[str, Any]) -> str | None:
        if "fail" in json.dumps(request):
            raise ValueError("no")
        return request["messages"][0]["content"] if len(request["messages"]) > 1 else None

    module = ModuleType("texts_of_my_own")
    module.find = own  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "texts_of_my_own", module)
    async with gateway(
        tmp_path, context_characters=0, sticky=False, route=RouteSettings("texts_of_my_own:find")
    ) as found:
        assert (await found.ask(EASY, headers={"x-demur-text": HARD}))[2]["model"] == "large"
        assert (await found.ask(EASY, metadata={"demur_text": HARD}))[2]["model"] == "large"
        both = [{"role": "user", "content": HARD}, {"role": "user", "content": EASY}]
        assert (await found.ask(messages=both))[2]["model"] == "large"
        assert (await found.ask(messages=[*both, {"role": "user", "content": "fail " + EASY}]))[2]["model"] == "small"
        assert (await found.ask(EASY))[2]["model"] == "small"
