"""A client's own system message: labels hold for the way in which the models were asked, and the gateway says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demur.gate.gate import Gate
from demur.gate.router import Router
from demur.gateway.decision.request.system_message import (
    OTHER_SYSTEM,
    WITHOUT_SYSTEM,
    is_spoken,
    other_system,
    system_message,
    system_message_in,
)
from demur.gateway.ledger.read import read_ledger
from demur.gateway.protocols.messages import MESSAGES
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.protocols.responses import RESPONSES
from demur.meaning.rules.languages import language_of_notes
from demur.routing.asked_as import ALONE, labelled_as
from gateways import EASY, HARD, Running, gateway, save_router

OTHER = "with a system message that the labels were not made with"
USER = {"role": "user", "content": EASY}
BRIEF = "Be brief, and answer with one word."


def labelled(folder: Path, *, gate: Gate | None = None, **more: Any) -> str:
    """A saved router of English prompts whose samples were asked with `BRIEF`."""
    save_router(folder, gate)
    router = Router.load(folder)
    record = {"sampling": {"system": BRIEF, "template": "{prompt}", "chat": True}, "languages": {"en": 1.0}}
    record |= {"unlike": "language"} | more
    replace(router, prompt_router=replace(router.prompt_router, record=record)).save(folder)
    return str(folder)


async def ask(
    found: Running, system: str, prompt: str = EASY, headers: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
    status, said, _ = await found.ask(prompt, messages=messages, headers=headers or {})
    assert status == 200
    return said


@pytest.mark.parametrize(
    ("protocol", "fields"),
    [
        (CHAT, {"messages": [{"role": "system", "content": BRIEF}, USER]}),
        (CHAT, {"messages": [{"role": "developer", "content": [{"type": "text", "text": BRIEF}]}, USER]}),
        (MESSAGES, {"system": BRIEF, "messages": [USER]}),
        (MESSAGES, {"system": [{"type": "text", "text": BRIEF}], "messages": [USER]}),
        (RESPONSES, {"instructions": BRIEF, "input": EASY}),
        (RESPONSES, {"input": [{"role": "developer", "content": [{"type": "input_text", "text": BRIEF}]}]}),
    ],
)
def test_it_is_found_in_every_api(protocol: Protocol, fields: dict[str, Any]) -> None:
    assert system_message_in(protocol.as_chat(fields)) == system_message(BRIEF)


def test_white_space_alone_makes_no_other_message() -> None:
    record = {"sampling": {"system": BRIEF}}
    assert other_system(system_message(f"  {BRIEF.replace(' ', chr(10) + ' ')}\n"), record, ALONE) == ""
    assert other_system(system_message(BRIEF.lower()), record, ALONE) == OTHER_SYSTEM
    assert other_system(system_message(BRIEF), {"sampling": {}}, ALONE) == OTHER_SYSTEM


def test_a_request_without_the_message_of_the_labels_differs_unless_the_gateway_adds_it() -> None:
    record = {"sampling": {"system": BRIEF}}
    assert other_system(None, record, ALONE) == WITHOUT_SYSTEM
    assert other_system(None, record, labelled_as(record)) == ""
    assert other_system(None, {"sampling": {}}, ALONE) == ""
    assert other_system(None, record, None) == "", "a gateway that learns samples what its clients send"


def test_nothing_is_said_of_labels_whose_way_of_asking_is_not_known() -> None:
    """Labels that were made elsewhere, and requests that were sampled as recorded, with their own messages."""
    found = system_message(BRIEF)
    assert other_system(found, {}, ALONE) == ""
    assert other_system(found, {"sampling": {}, "calls": True}, ALONE) == ""


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Answer in German.", False),
        ("You are a helpful assistant. Always reply in Japanese.", False),
        ("Réponds en français.", False),
        ("日本語で答えてください。", False),
        ("Answer in English.", True),
        ("If the user writes in German, reply in German.", True),
        ("Senior Python developer", True),
        ("Output valid JSON", True),
        ("Be brief.", True),
    ],
)
def test_a_language_that_was_not_learned(text: str, spoken: bool) -> None:
    record = {"sampling": {"system": BRIEF}, "languages": {"en": 1.0}}
    assert is_spoken(system_message(text), record) == spoken
    assert is_spoken(system_message(text), {"sampling": {"system": BRIEF}}), "of this router no languages are known"
    assert is_spoken(system_message(text), record | {"sampling": {"system": text}}), "the labels were made with it"


@pytest.mark.parametrize(
    "note",
    ["Expert translator", "Medical assistant, cautious", "Code reviewer; strict", "Chain of thought disabled"],
)
def test_english_notes_are_no_other_language(note: str) -> None:
    assert language_of_notes(note) in ("", "en")


async def test_the_reason_names_another_system_message_and_the_decision_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with gateway(tmp_path, router=labelled(tmp_path / "labelled"), as_labelled=True) as found:
        for prompt, model in ((EASY, "small"), (HARD, "large")):
            headers = await ask(found, "You are a secret pirate.", prompt)
            assert (headers["x-demur-model"], OTHER in headers["x-demur-reason"]) == (model, True)
            assert OTHER not in (await ask(found, f" {BRIEF}\n", prompt))["x-demur-reason"]
            _, headers, _ = await found.ask(prompt)
            assert (headers["x-demur-model"], OTHER in headers["x-demur-reason"]) == (model, False)
        async with found.session.get(f"{found.operator}/metrics") as answer:
            assert "demur_other_system_total 2\n" in await answer.text()
    said = capsys.readouterr().err
    assert said.count(OTHER) == 1
    records = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert sum(OTHER in record.reason for record in records) == 2
    assert "pirate" not in said + json.dumps([record.reason for record in records])


async def test_a_request_with_the_message_of_the_labels_has_no_warning_and_one_without_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every reason said that the score may not hold without the message, also of requests that came with it."""
    async with gateway(tmp_path, router=labelled(tmp_path / "labelled")) as found:
        for _ in range(2):
            reason = (await ask(found, BRIEF, EASY))["x-demur-reason"]
            assert "system message" not in reason
            assert "may not hold" not in reason
            _, headers, _ = await found.ask(EASY)
            assert WITHOUT_SYSTEM in headers["x-demur-reason"]
    assert capsys.readouterr().err.count(WITHOUT_SYSTEM) == 1


async def test_a_request_for_german_answers_goes_where_unknown_prompts_go(tmp_path: Path) -> None:
    async with gateway(tmp_path, router=labelled(tmp_path / "labelled"), sticky=False) as found:
        for system in ("Answer in German.", "Réponds en français."):
            for asked in (None, {"x-demur-threshold": "2"}):
                headers = await ask(found, system, headers=asked)
                assert (headers["x-demur-model"], headers["x-demur-stage"]) == ("large", "unknown")
                assert "in a language that the router has not learned from" in headers["x-demur-reason"]
        assert (await ask(found, "Answer in English."))["x-demur-model"] == "small"
    router = labelled(tmp_path / "by_score", unlike="score")
    async with gateway(tmp_path, router=router) as found:
        headers = await ask(found, "Answer in German.")
        assert headers["x-demur-model"] == "small"
        assert "the score is a guess" in headers["x-demur-reason"]
