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

from demur.gate.router import Router
from demur.gateway.decision.request.ask import LONGEST, asked_in, last_ask
from demur.gateway.decision.request.boilerplate import Boilerplate, Stripped, line_names
from demur.gateway.decision.request.messages import Message
from demur.gateway.decision.request.routed_text import RoutedText
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.reload import reload_all
from demur.gateway.settings import RouteSettings
from demur.labels.beliefs.unknown import UnknownPrompt
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from gateways import EASY, HARD, Running, gateway

ASK = "Which river flows through Rome?"


def text(*messages: tuple[str, object], window: int = 0, **fields: object) -> str:
    said = {"messages": [{"role": role, "content": content} for role, content in messages], **fields}
    return RoutedText().find(said, named="", key="", context_characters=window).text


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
    assert find({"prompt": ["first", "second"]}, named="", key="", context_characters=0).text == "first"
    assert find({"prompt": [1, 2, 3]}, named="", key="", context_characters=0).text == ""


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
        f"[[ ## context ## ]]\nThe Tiber.\n\n[[ ## question ## ]]\n{ASK}\n\nRespond with `[[ ## answer ## ]]`.",
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
        "What does [[ ## question ## ]] mean?\n\nAnd `[[ ## answer ## ]]`?",
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


RULES = "\n".join(f"{n}. Every block must use the format that stands in rule {n} of this long list." for n in range(6))


@pytest.mark.parametrize(
    "wrap, left",
    [
        ("{ask}\n\n{rules}", "{ask}"),
        ("{rules}\n---\n{ask}", "{ask}"),
        ("One.\n{rules}\n{ask}", "One.\n{ask}"),
        ("{rules}\nTo do\n{ask}", "To do\n{ask}"),
    ],
)
def test_a_long_template_is_learned_from_two_texts_and_taken_off_the_third(wrap: str, left: str) -> None:
    learned = Boilerplate()
    texts = [wrap.format(ask=f"Which river flows through town {n}?", rules=RULES) for n in range(4)]
    found = [learned.strip(one, "key") for one in texts]
    assert found[:2] == [Stripped(one) for one in texts[:2]]
    assert found[2:] == [Stripped(left.format(ask=f"Which river flows through town {n}?"), 6) for n in (2, 3)]
    assert learned.strip(texts[3], "another key") == Stripped(texts[3])


INSTRUCTIONS = [
    "Write an essay of 500 words about the answer, with sources, as an e-mail to my professor.",
    "Answer as JSON.",
    "Auf Deutsch, bitte.",
    "Think step by step.\nGive the final answer in a box.",
    "Please answer in German.\nUse bullet points.\nAt most 100 words.\nEnd with a question.\nBe polite.",
    "Rules:\n- Answer in French\n- give the sources\n- as JSON with the members answer and sources",
]


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
@pytest.mark.parametrize("first", [True, False])
def test_what_a_person_asks_for_each_time_is_no_template(instruction: str, first: bool) -> None:
    learned = Boilerplate()
    for number in range(10):
        ask = f"Which river flows through town {number}?"
        whole = f"{instruction}\n{ask}" if first else f"{ask}\n{instruction}"
        assert learned.strip(whole, "") == Stripped(whole)


def test_lines_of_the_training_prompts_are_no_template() -> None:
    learned = Boilerplate(line_names([f"What is a Tiber?\n  {RULES}"]))
    for number in range(5):
        whole = f"Which river flows through town {number}?\n{RULES}"
        assert learned.strip(whole, "") == Stripped(whole)


def test_the_same_text_again_is_no_template() -> None:
    learned = Boilerplate()
    for _ in range(5):
        assert learned.strip(RULES, "") == Stripped(RULES)


def test_lines_that_were_never_sent_together_are_no_template() -> None:
    learned, lines = Boilerplate(), RULES.splitlines()
    for number, line in enumerate(lines * 3):
        learned.strip(f"Which river flows through town {number}?\n{line}", "")
    assert learned.strip(f"Which river flows through Rome?\n{RULES}", "").left_out == 0


async def test_an_instruction_keeps_its_decision_however_often_it_is_sent(tmp_path: Path) -> None:
    async with gateway(tmp_path, sticky=False) as found:
        for letter in "abcdefgh":
            decided = await decide(found, f"a{letter}a aa aaaa?\n{HARD} {HARD}")
            assert (decided["role"], decided["text"]) == ("strong", f"a{letter}a aa aaaa?\n{HARD} {HARD}")


async def test_the_reason_says_how_many_lines_were_left_out(tmp_path: Path) -> None:
    async with gateway(tmp_path, sticky=False) as found:
        for letter in "abcde":
            status, headers, _ = await found.ask(f"{EASY} {letter}\n{RULES}")
            assert status == 200
        assert headers["x-demur-reason"].endswith("; routed without 6 lines that other requests share")
        assert (await decide(found, f"{EASY} f\n{RULES}"))["reason"].endswith("6 lines that other requests share")
        assert "routed without" not in (await found.ask(f"{EASY} f\nA line"))[1]["x-demur-reason"]


async def test_prompts_like_the_training_prompts_are_decided_as_offline(tmp_path: Path) -> None:
    """In a gateway that has learned a template, once it takes over a router that learned with it."""
    texts = [f"{word} {word}?\n{RULES}" for word in ("zzz", "aaa", "zaz", "aza", "zzzz", "aaaa")]
    async with gateway(tmp_path, sticky=False) as found:
        assert [len((await decide(found, one))["text"].splitlines()) for one in texts] == [7, 7, 1, 1, 1, 1]
        said = [one.replace("?", end, 1) for end in "?!." for one in texts]
        rows = [TrainingPrompt(one, float(one[0] == "z"), 1.0, 0.0) for one in said]
        router = train_router(LetterEncoder(), SimilarityWeighted(gamma=1e4), rows, weak="small", strong="large")
        Router(router).save(tmp_path / "router")
        await reload_all(found.gateway, "a test")
        for one in texts + texts:
            decided = await decide(found, one)
            offline = router.route(one)
            assert (decided["text"], decided["role"]) == (one, offline.role)
            assert decided["score"] == pytest.approx(offline.score)


def test_a_gateway_begins_with_the_lines_of_labelled_and_unknown_prompts() -> None:
    labelled, unknown = RULES.replace("rule", "law"), RULES.replace("rule", "norm")
    router = train_router(
        LetterEncoder(),
        SimilarityWeighted(),
        [TrainingPrompt(f"{word}\n{labelled}", float(word[0] == "z"), 1.0, 0.0) for word in ("zz", "aa") * 9],
        weak="small",
        strong="large",
        unknown=[UnknownPrompt("1", f"bb\n{unknown}", "all differ")],
    )
    texts = RoutedText.of(RouteSettings(), router)
    for wrapper, left_out in ((labelled, 0), (unknown, 0), (RULES, 6)):
        for number in range(4):
            said = {"messages": [{"role": "user", "content": f"Which river flows through town {number}?\n{wrapper}"}]}
            found = texts.find(said, named="", key="", context_characters=0)
        assert found.left_out == left_out


async def decide(found: Running, said: str) -> dict[str, Any]:
    """What `POST /v1/decide` answers on a text."""
    async with found.session.post(f"{found.address}/v1/decide", json={"text": said}) as answer:
        fields: dict[str, Any] = await answer.json()
        return fields


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
        "[[ ## question ## ]]\n\n" * 4_500,
        "[[ ## task ## ]]\n" + "\n \n" * 30_000,
        "\n" * 99_000,
    ],
    ids=["open tags", "other ends", "fences", "half tags", "labels", "fields", "blanks", "lines"],
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
