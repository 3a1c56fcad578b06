"""When a conversation stays with its model: inside a tool loop always, else as long as its prompt cache is worth it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from demur.gateway.decision.conversation_model import (
    REPEATED_SECONDS,
    SAME_WORDS,
    ConversationRecord,
    KnownConversation,
    NextCosts,
    may_be_unseen,
    next_record,
    stays,
    tool_loop_role,
)
from demur.gateway.decision.conversations import Turn
from demur.models.prices import Price
from demur.records import Role

NOW = 1_000_000.0
NEW, LOOP = Turn(("n",), ("n",), ask="new"), Turn(("n",), ("n",), ask="old", loops=True)
FREE, CLOUD = Price(0.0, 0.0, "free"), Price(3e-6, 15e-6, "list", 0.3e-6)


def found(role: Role = "strong", **more: object) -> KnownConversation:
    return known(replace(ConversationRecord(role, "old", NOW - 10, tokens=1000), **more))  # type: ignore[arg-type]


def known(record: ConversationRecord) -> KnownConversation:
    return KnownConversation(record, "n")


def costs(tokens: int = 1000, **more: object) -> NextCosts:
    return replace(NextCosts(FREE, CLOUD, tokens, 100, 100), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["weak", "strong"])
def test_a_tool_loop_keeps_its_model(role: Role) -> None:
    assert tool_loop_role(LOOP, found(role)) == role
    assert tool_loop_role(replace(LOOP, ask="reminded", ongoing=frozenset("n")), found(role)) == role  # found by a call
    assert tool_loop_role(replace(LOOP, ask="another"), found(role)) is None
    assert tool_loop_role(NEW, found(role)) is None
    assert tool_loop_role(LOOP, None) is None


def test_a_new_ask_leaves_the_strong_model_where_that_saves_more_than_the_cache_is_worth() -> None:
    """1,000 tokens cached: staying costs .0003 + .0015; the cache is worth .0027. A longer ask saves more."""
    assert "$0.0018 less for this ask, $0.0027 of prompt cache" in stays(NEW, found(), costs(), NOW)
    assert stays(NEW, found(requests=4, asks=2), costs(), NOW) == ""  # two requests an ask save .0036
    assert stays(NEW, found(), costs(strong_answer=200), NOW) == ""  # .0003 + .0030


def test_a_cache_that_has_expired_holds_nothing() -> None:
    """Reading 1,000 tokens costs .0030 either way."""
    assert stays(NEW, found(at=NOW - 301), costs(), NOW) == ""
    assert stays(NEW, found(at=NOW - 299), costs(), NOW)


def test_what_the_weak_model_costs_counts_against_leaving() -> None:
    """A cache of 100 tokens is worth .00027; staying costs .0027 + .00003 + .0015, the weak model .005."""
    dear = Price(5e-6, 0.0, "list")
    assert stays(NEW, found(tokens=100), costs(), NOW) == ""
    assert stays(NEW, found(tokens=100), costs(weak=dear), NOW)


@pytest.mark.parametrize(
    "unknown",
    [{"weak": None}, {"strong": None}, {"strong": Price(3e-6, 15e-6, "list")}],
    ids=["weak", "strong", "cache"],
)
def test_an_unknown_price_keeps_the_conversation_where_it_is(unknown: dict[str, Any]) -> None:
    said = stays(NEW, found(tokens=0), costs(**unknown), NOW)
    assert "unknown" in said


def test_the_same_ask_is_answered_by_the_same_model() -> None:
    again = Turn(("n",), ("n",), ask="old")
    assert stays(again, found(at=NOW - 10_000), costs(strong_answer=10_000), NOW)
    assert stays(again, found("weak"), costs(), NOW) == ""  # and may escalate
    assert stays(LOOP, found(), costs(strong_answer=10_000), NOW)


def test_a_beginning_is_held_only_by_the_same_words_lately() -> None:
    begins = Turn(("n",), ("n",), ask="old", begins=True)
    assert stays(begins, found(), costs(), NOW)
    assert stays(begins, found(at=NOW - 700), costs(), NOW) == ""
    assert stays(begins, found(chosen=False), costs(), NOW) == ""  # the client forced it
    again = Turn(("n",), ("n",), ask="old")
    assert stays(again, found(chosen=False), costs(strong_answer=10_000), NOW)  # of a history it is another try
    assert stays(replace(begins, ask="new"), found(), costs(), NOW) == ""


def test_a_beginning_is_held_only_by_the_router_and_threshold_that_decided_it() -> None:
    begins = Turn(("n",), ("n",), ask="old", begins=True)
    assert stays(begins, found(decided_by="r"), costs(), NOW, decides="r")
    assert stays(begins, found(decided_by="r"), costs(), NOW, decides="other") == ""
    assert stays(begins, found(), costs(), NOW, decides="r")  # of an earlier version, which did not note it


def test_the_same_words_in_a_history_that_another_threshold_has_decided_are_held_by_the_prompt_cache_alone() -> None:
    """Of 1,000 tokens it is worth .0027, of 100 .00027; an answer of the weak model saves .0015 and the reading."""
    again = Turn(("n",), ("n",), ask="old")
    assert "of prompt cache" in stays(again, found(decided_by="r"), costs(), NOW, decides="other")
    assert stays(again, found(decided_by="r", tokens=100), costs(100), NOW, decides="other") == ""
    assert stays(again, found(decided_by="r", tokens=100), costs(100), NOW, decides="r")
    assert stays(replace(again, loops=True), found(decided_by="r", tokens=100), costs(100), NOW, decides="other")


def test_what_has_decided_is_kept_until_another_decides() -> None:
    def after(
        turn: Turn, before: ConversationRecord | None, decides: str, *, chosen: bool = True
    ) -> ConversationRecord:
        found = known(before) if before else None
        return next_record(turn, found, "strong", chosen=chosen, tokens=50, now=NOW, decides=decides)

    first = after(NEW, None, "r")
    looped = after(replace(LOOP, ask="new"), first, "s", chosen=False)
    again = after(NEW, looped, "s")
    begun = after(replace(NEW, ask="other", begins=True), again, "t")
    assert [one.decided_by for one in (first, looped, again, begun)] == ["r", "r", "s", "t"]


def test_what_is_kept_of_a_turn() -> None:
    first = next_record(NEW, None, "weak", chosen=True, tokens=50, now=NOW)
    assert first == ConversationRecord("weak", "new", NOW, 50, asks=1, requests=1)
    looped = next_record(replace(LOOP, ask="new"), known(first), "weak", chosen=False, tokens=60, now=NOW + 1)
    assert looped == ConversationRecord("weak", "new", NOW + 1, 60, asks=1, requests=2, chosen=True)
    then = next_record(replace(NEW, ask="other"), known(looped), "strong", chosen=True, tokens=70, now=NOW + 2)
    assert then == ConversationRecord("strong", "other", NOW + 2, 70, asks=2, requests=3, mixed=True)
    forced = next_record(replace(NEW, ask="last"), known(then), "strong", chosen=False, tokens=80, now=NOW + 3)
    assert (forced.ask, forced.chosen, forced.mixed) == ("last", False, True)
    again = next_record(Turn(("n",), ("n",), "x", begins=True), known(then), "weak", chosen=True, tokens=5, now=NOW + 4)
    assert again == ConversationRecord("weak", "x", NOW + 4, 5)


def test_the_reason_of_a_repeated_question_says_for_how_long() -> None:
    assert f"within {REPEATED_SECONDS / 60:g} minutes" in SAME_WORDS


def test_what_only_another_process_may_have_seen_may_be_the_strong_models() -> None:
    assert not may_be_unseen(None, None)
    assert not may_be_unseen(replace(NEW, begins=True), None)
    assert may_be_unseen(NEW, None)  # perhaps another try
    assert may_be_unseen(NEW, found("strong"))
    assert not may_be_unseen(NEW, found("weak"))
    assert not may_be_unseen(LOOP, found("weak"))  # of the ask that this process has seen
    assert may_be_unseen(replace(LOOP, ask="another"), found("weak"))
    assert not may_be_unseen(replace(LOOP, ask="another"), found("weak"), answered=True)
    assert may_be_unseen(replace(LOOP, ask="another"), found("strong"), answered=True)


def test_a_later_record_has_the_later_time_whatever_the_machines_clock_says() -> None:
    assert next_record(NEW, found(), "weak", chosen=True, tokens=1, now=NOW - 60).at == NOW - 10
