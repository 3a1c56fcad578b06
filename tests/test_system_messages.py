"""Logs of requests with a system message: labels are made with the one that clients send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import demur
from demur.config import load_run
from demur.prompts import load_prompts
from demur.prompts.conversations import SHOWN, shared_system, system_fact
from demur.records import ChatRequest, Prompt, SamplingSettings
from pairs import Pair, running_pair

SYSTEM = "You answer for a pub quiz. Be brief."


@pytest.fixture
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def row(text: str, system: str = SYSTEM, role: str = "system") -> dict[str, Any]:
    before = [{"role": role, "content": system}] if system else []
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    return {"messages": [*before, *talk, {"role": "user", "content": text}]}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def asked(number: int, system: str = "", request: ChatRequest | None = None) -> Prompt:
    return Prompt(str(number), f"why {number}?", system=system, request=request)


def test_a_row_keeps_which_system_message_it_came_with(tmp_path: Path) -> None:
    rows = [row("One?"), row("Two?", role="developer"), row("Three?", system=""), {"prompt": "Four?"}]
    found = load_prompts(written(tmp_path / "log.jsonl", rows))
    assert [(one.text, one.system) for one in found] == [
        ("One?", SYSTEM),
        ("Two?", SYSTEM),
        ("Three?", ""),
        ("Four?", ""),
    ]
    assert found[0].system is found[1].system, "a million rows hold it once"


@pytest.mark.parametrize(("of_ten", "shared"), [(10, SYSTEM), (9, SYSTEM), (8, ""), (0, "")])
def test_a_message_of_nine_tenths_is_the_runs(of_ten: int, shared: str) -> None:
    prompts = [asked(i, SYSTEM if i < of_ten else "") for i in range(10)]
    assert shared_system(prompts) == shared
    whole = ChatRequest(json.dumps({"messages": [], "tools": []}))
    assert shared_system([*prompts, *(asked(i, "other", whole) for i in range(20))]) == shared, "asked as they stand"


def test_no_prompts_have_none() -> None:
    assert shared_system([]) == ""
    assert system_fact([], SamplingSettings()) == ()


def test_what_is_sent_and_what_is_not_is_said() -> None:
    long = "You answer at length. " * 20
    prompts = [asked(i, SYSTEM if i < 6 else long) for i in range(10)]
    (fact,) = system_fact(prompts, SamplingSettings())
    assert fact[1].startswith(f"6 of 10 prompts come with {SYSTEM!r}, which the models are not asked with")
    (fact,) = system_fact(prompts, SamplingSettings(system=SYSTEM))
    assert fact[1].startswith(f"{SYSTEM!r}, as 6 of 10 prompts come with it")
    (fact,) = system_fact(prompts, SamplingSettings(system=long))
    assert fact[1].endswith("...'")
    assert len(fact[1]) <= SHOWN + 2
    assert system_fact([asked(1)], SamplingSettings()) == ()


@pytest.mark.parametrize(
    ("given", "sent"),
    [({}, SYSTEM), ({"system": ""}, ""), ({"system": "Be kind."}, "Be kind.")],
)
def test_the_models_are_asked_as_the_log_was(tmp_path: Path, pair: Pair, given: dict[str, Any], sent: str) -> None:
    file, run = written(tmp_path / "log.jsonl", [row(f"What is {i} and {i}?") for i in range(5)]), str(tmp_path / "run")
    demur.sample(file, **pair.names, run=run, n=2, **given)
    for request in (*pair.weak.requests, *pair.strong.requests):
        systems = [one["content"] for one in request["messages"] if one["role"] == "system"]
        assert systems == ([sent] if sent else [])
    assert load_run(run).sampling.system == sent
    there = len(pair.weak.requests)
    demur.sample(file, **pair.names, run=run, n=2)  # the same run goes on, whatever the file says
    assert len(pair.weak.requests) == there
    assert load_run(run).sampling.system == sent


def test_a_dry_run_says_it_and_counts_its_tokens(tmp_path: Path, pair: Pair) -> None:
    file, said = written(tmp_path / "log.jsonl", [row(f"What is {i}?") for i in range(5)]), list[Any]()
    for given in (None, ""):
        run = str(tmp_path / "run")
        demur.sample(file, **pair.names, run=run, n=2, system=given, dry_run=True, announce=said.append)
    with_it, without = said
    assert dict(with_it.prices)["system message"].startswith(repr(SYSTEM))
    assert "which the models are not asked with" in dict(without.prices)["system message"]
    assert with_it.weak.prompt_tokens > without.weak.prompt_tokens
    assert not (tmp_path / "run").exists()
