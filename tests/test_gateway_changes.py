"""The gateway says when its traffic or a model changes, and seldom otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from demur.gateway.changes import Changes
from demur.gateway.ledger.record import LedgerRecord
from gateways import RECORD


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
    assert [one.startswith("a change: the scores of the prompts") for one in said] == [True]


def test_a_model_whose_answers_are_twice_as_long_is_named() -> None:
    changes = Changes()
    alarms(changes, records(1000, 1))
    said = alarms(changes, records(300, 2, longer=2.0))
    assert len(said) == 1
    assert f"the lengths of {RECORD.model}'s answers" in said[0]


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
    assert [f"{RECORD.model}'s seconds to the first byte" in one for one in said] == [True]
    assert alarms(changes, under_load(0.2, 0.2, 0.2)) == []
    assert len(alarms(changes, under_load(0.6))) == 1
