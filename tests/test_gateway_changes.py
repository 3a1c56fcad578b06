"""The gateway says when its traffic or a model changes, and seldom otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demur.gateway.learning.changes import Changes
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.protocols.openai import CHAT
from demur.gateway.upstreams.answers.answering_model import answering_model
from demur.gateway.upstreams.answers.passed_answer import PassedAnswer
from gateways import HARD, RECORD, gateway, wire


def records(n: int, seed: int, *, shift: float = 0.0, longer: float = 1.0, **given: Any) -> Iterator[LedgerRecord]:
    random = np.random.default_rng(seed)
    for _ in range(n):
        yield replace(
            RECORD,
            stage="prompt",
            score=float(np.clip(random.normal(0.4, 0.1) + shift, 0, 1)),
            completion_tokens=int(longer * random.integers(20, 200)),
            first_byte_seconds=float(random.exponential(0.2)),
            **given,
        )


def under_load(*seconds: float) -> Iterator[LedgerRecord]:
    """200 requests at each of these mean seconds to the first byte."""
    random = np.random.default_rng(4)
    for mean in seconds:
        for _ in range(200):
            yield replace(RECORD, stage="gate", first_byte_seconds=float(random.normal(mean, 0.02)))


def alarms(changes: Changes, found: Iterable[LedgerRecord]) -> list[str]:
    return [said for record in found for said in changes.add(record)]


def test_ten_thousand_requests_of_one_kind_raise_no_alarm() -> None:
    assert alarms(Changes(), records(10_000, 0)) == []


def test_other_prompts_raise_one_alarm_about_the_scores_within_300_requests() -> None:
    changes = Changes()
    alarms(changes, records(1000, 1))
    said = alarms(changes, records(300, 2, shift=0.15))
    assert [one.startswith("a change: recent prompts score differently") for one in said] == [True]


def test_a_model_whose_answers_are_twice_as_long_is_named() -> None:
    changes = Changes()
    alarms(changes, records(1000, 1))
    said = alarms(changes, records(300, 2, longer=2.0))
    assert len(said) == 1
    assert f"recent answers of {RECORD.model} differ in length" in said[0]


def test_after_a_reload_what_arrives_is_usual() -> None:
    changes = Changes()
    alarms(changes, records(1000, 1))
    changes.begin_again()
    assert alarms(changes, records(2000, 2, shift=0.15)) == []


@pytest.mark.parametrize("given", [{"outcome": "upstream_error"}, {"tokens_counted": False}])
def test_lengths_that_are_not_known_are_not_watched(given: dict[str, Any]) -> None:
    changes = Changes()
    alarms(changes, records(500, 1))
    assert alarms(changes, records(500, 2, longer=5.0, **given)) == []


def test_load_that_changes_every_200_requests_is_said_once_and_again_after_500_that_are_alike() -> None:
    changes = Changes()
    said = alarms(changes, under_load(0.2, 0.2, 0.2, 0.5, 0.2, 0.8, 0.3, 0.9, 0.2))
    assert [f"{RECORD.model} takes a different time to its first byte" in one for one in said] == [True]
    assert alarms(changes, under_load(0.2, 0.2, 0.2)) == []
    assert len(alarms(changes, under_load(0.6))) == 1


# -- the version that a provider names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'{"id": "1", "model": "large-2024-08", "choices": [], "system_fingerprint": "fp_1"}', "large-2024-08 fp_1"),
        (b'{"choices": [{"message": {"content": "' + b"x" * 9000 + b'"}}], "model": "large-b"}', "large-b"),
        (rb'{"choices": [{"message": {"content": "say \"model\": \"other\""}}]}', ""),
        (b'{"model": null, "system_fingerprint": null}', ""),
        (b"", ""),
    ],
)
def test_the_model_and_build_that_an_answer_names_are_read_outside_its_texts(data: bytes, named: str) -> None:
    assert answering_model(data) == named


def test_a_stream_names_its_model_at_its_beginning_however_it_is_cut() -> None:
    passed, event = PassedAnswer(CHAT), b'data: {"model": "large-b", "choices": [{"delta": {"content": "hello"}}]}\n\n'
    for at in range(len(event)):
        passed.add(event[at : at + 1])
    for _ in range(1000):
        passed.add(b'data: {"choices": [{"delta": {"content": "more"}}]}\n\n')
    assert passed.answering_model == "large-b"


def test_a_version_that_was_not_named_before_is_said_once_and_the_first_is_usual() -> None:
    named = ["a", "a", "b", "a", "b", "", "c"]  # two builds that serve in turn are two, not a change at each turn
    said = alarms(Changes(), (replace(RECORD, answered_by=one) for one in named))
    assert [one.partition(".")[0] for one in said] == [
        f"a change: {RECORD.model} now answers as {one!r}" for one in ("b", "c")
    ]
    assert "false alarm" not in "".join(said)


def test_failures_name_no_version_and_a_new_name_each_time_is_none() -> None:
    assert alarms(Changes(), (replace(RECORD, answered_by=one, outcome="upstream_error") for one in "ab")) == []
    assert len(alarms(Changes(), (replace(RECORD, answered_by=str(i)) for i in range(1000)))) == 19


async def test_a_provider_that_changes_the_model_is_said_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with gateway(tmp_path) as found:
        for version in ("large-2024-05", "large-2024-05", "large-2024-08"):
            said = {"model": version, "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
            data = json.dumps(said).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
            async with wire(found, head + data, roles=("strong",)):
                await found.ask(HARD)
        async with found.session.get(f"{found.operator}/metrics") as answer:
            counted = await answer.text()
    assert capsys.readouterr().err.count("a change: large now answers as 'large-2024-08'") == 1
    assert "demur_changes_total 1" in counted
