"""A router carries how its labels' samples were asked: the gateway asks so where it is told to, and else says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demur.gate.router import Router
from demur.gateway.decision.as_labelled import as_labelled
from demur.gateway.http.json_edit import body_of
from demur.routing.asked_as import AskedAs, asked_otherwise, labelled_as
from gateways import EASY, HARD, Running, gateway, save_router

ASKED = AskedAs("Be brief.", "Q: {prompt} A:")
SAMPLING = {"system": "Be brief.", "template": "Q: {prompt} A:", "chat": True}
USER = {"role": "user", "content": "Why?"}


def sent(api: str, asked: AskedAs = ASKED, **fields: Any) -> dict[str, Any]:
    raw = json.dumps({"model": "demur", **fields}).encode()
    found: dict[str, Any] = json.loads(as_labelled(body_of(raw)[0], api, asked).raw)
    assert found.pop("model") == "demur"
    return found


def test_a_prompt_alone_is_asked_as_the_samples_were() -> None:
    system, filled = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q: Why? A:"}
    assert sent("chat", messages=[USER]) == {"messages": [system, filled]}
    assert sent("messages", messages=[USER]) == {"messages": [filled], "system": "Be brief."}
    assert sent("responses", input="Why?") == {"input": "Q: Why? A:", "instructions": "Be brief."}


def test_a_request_with_a_system_message_keeps_it() -> None:
    for role in ("system", "developer"):
        messages = [{"role": role, "content": "Be kind."}, USER]
        assert sent("chat", messages=messages) == {"messages": messages}
    own = {"messages": [USER], "system": "Be kind."}
    assert sent("messages", AskedAs("Be brief."), **own) == own
    own = {"input": "Why?", "instructions": "Be kind."}
    assert sent("responses", AskedAs("Be brief."), **own) == own


def test_a_template_is_of_one_text_alone() -> None:
    """In a conversation, and beside pictures, the person's words are no prompt that stands alone."""
    talk = [USER, {"role": "assistant", "content": "So."}, USER]
    shown = [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]
    for messages in (talk, shown):
        assert sent("chat", AskedAs(template="Q: {prompt}"), messages=messages) == {"messages": messages}
    assert sent("completions", prompt="Why?") == {"prompt": "Why?"}


def test_what_differs_is_said_with_what_to_do() -> None:
    record = {"sampling": SAMPLING}
    said = asked_otherwise(record, AskedAs())
    assert "the template 'Q: {prompt} A:'" in said
    assert "Be brief." not in said, "a system message is each request's own"
    assert "--as-labelled" in said
    assert asked_otherwise(record, labelled_as(record)) == ""
    assert asked_otherwise({}, AskedAs()) == ""
    plain = {"sampling": {**SAMPLING, "chat": False}}
    assert labelled_as(plain) == AskedAs(template="Q: {prompt} A:", plain=True)
    assert "plain completions" in asked_otherwise(plain, AskedAs())
    assert asked_otherwise(plain, labelled_as(plain)) == ""


def test_stop_strings_are_sent_where_a_request_has_none() -> None:
    asked = AskedAs(stop=("\n",))
    assert sent("chat", asked, messages=[USER]) == {"messages": [USER], "stop": ["\n"]}
    assert sent("messages", asked, messages=[USER]) == {"messages": [USER], "stop_sequences": ["\n"]}
    assert sent("responses", asked, input="Why?") == {"input": "Why?"}
    own = {"messages": [USER], "stop": "."}
    assert sent("chat", asked, **own) == own


def test_tokens_are_drawn_as_the_samples_were_where_a_request_does_not_say() -> None:
    """top_k and min_p are for models that demur starts: hosted ones refuse them."""
    sampling = {"temperature": 1.0, "top_p": 0.9, "top_k": 0, "min_p": 0.0}
    hosted, own = (labelled_as({"sampling": sampling | {"chat": chat}}) for chat in (True, False))
    assert sent("chat", hosted, messages=[USER]) == {"messages": [USER], "temperature": 1.0, "top_p": 0.9}
    assert sent("chat", own, messages=[USER]) == {"messages": [USER], **sampling}
    said = {"messages": [USER], "temperature": 0, "top_p": 1, "top_k": 1, "min_p": 0.5}
    assert sent("chat", own, **said) == said
    assert asked_otherwise({"sampling": sampling}, AskedAs()) == ""


def test_plain_completions_are_filled_by_the_models_own_chat_template() -> None:
    """A request keeps its messages; the template is Jinja, and holds quotes and lines as they are."""
    asked = AskedAs(template='Say "Q":\n{prompt}\nA:', plain=True)
    assert sent("chat", asked, messages=[USER]) == {"messages": [USER]}
    assert asked.chat_template == r"""{{ "Say \"Q\":\n" }}{{ messages[-1]['content'] }}{{ "\nA:" }}"""
    assert AskedAs("Be brief.").chat_template == ""


async def test_plain_completions_of_an_endpoint_cannot_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_sampling(tmp_path / "labelled", chat=False)
    async with gateway(tmp_path, router=str(tmp_path / "labelled"), as_labelled=True) as found:
        _, headers, _ = await found.ask(EASY)
        assert "the labels were sampled as plain completions" in headers["x-demur-reason"]
        assert asked(found) == [[{"role": "user", "content": EASY}]]
    assert "which takes models that demur starts itself" in capsys.readouterr().err


def with_sampling(folder: Path, **more: Any) -> None:
    save_router(folder)
    router = Router.load(folder)
    record = {"sampling": SAMPLING | more}
    replace(router, prompt_router=replace(router.prompt_router, record=record)).save(folder)


def asked(found: Running) -> list[Any]:
    return [request["messages"] for request in (*found.weak.requests, *found.strong.requests)]


@pytest.mark.parametrize("prompt", [EASY, HARD])
async def test_the_gateway_asks_as_labelled_where_it_is_told_to(tmp_path: Path, prompt: str) -> None:
    with_sampling(tmp_path / "labelled")
    async with gateway(tmp_path, router=str(tmp_path / "labelled"), as_labelled=True) as found:
        status, headers, _ = await found.ask(prompt)
        assert status == 200
        assert "labels were sampled" not in headers["x-demur-reason"]
        filled = {"role": "user", "content": f"Q: {prompt} A:"}
        assert asked(found) == [[{"role": "system", "content": "Be brief."}, filled]]
        await found.ask(prompt, model="large")  # a model that the client names gets what the client says
        assert asked(found)[-1] == [{"role": "user", "content": prompt}]


async def test_a_gateway_that_asks_otherwise_says_so_in_every_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_sampling(tmp_path / "labelled")
    async with gateway(tmp_path, router=str(tmp_path / "labelled")) as found:
        _, headers, _ = await found.ask(EASY)
        assert "the labels were sampled with the template 'Q: {prompt} A:'" in headers["x-demur-reason"]
        assert "without the system message that the labels were made with" in headers["x-demur-reason"]
        assert asked(found) == [[{"role": "user", "content": EASY}]]
    assert "serve with --as-labelled" in capsys.readouterr().err
