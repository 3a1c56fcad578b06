"""Two answers compared: what decided, with which probabilities, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.meaning import entailment as module
from demur.meaning.compare import MeaningDecision, entail
from demur.meaning.entailment import (
    LaterEntailment,
    entailment_identity,
    exact_match,
    for_samples,
    meaning_identity,
    open_plain,
    own_name,
    reader_of,
)
from demur.records import FloatArray, no_progress

DECIDED = MeaningDecision("Q?", "a", "b", True, "model: shipped", (0.05, 0.15, 0.8), (0.1, 0.2, 0.7), True)
WAYS = (
    "  the first entails the second: 0.800 (neutral 0.150, contradiction 0.050)",
    "  the second entails the first: 0.700 (neutral 0.200, contradiction 0.100)",
)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (DECIDED, ("same meaning, decided by model: shipped", *WAYS)),
        (
            replace(DECIDED, same=False, same_when_sampled=False),
            ("different meaning, decided by model: shipped", *WAYS),
        ),
        (
            replace(DECIDED, same_when_sampled=False),
            (
                "same meaning, decided by model: shipped",
                *WAYS,
                "  a labelling run decides: different; fewer pairs of sampled answers hold, so it requires more",
            ),
        ),
        (
            replace(DECIDED, decided_by="rule: dates", forward=None, backward=None),
            ("same meaning, decided by rule: dates",),
        ),
        (
            replace(DECIDED, decided_by="nothing: x", unknown=True),
            ("unknown, decided by nothing: x; they count as different",),
        ),
    ],
)
def test_a_decision_in_lines(found: MeaningDecision, lines: tuple[str, ...]) -> None:
    assert found.lines == lines


class Asked:
    """Entailment .9 one way and .2 the other; keeps what it was asked."""

    identity = "asked"

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        self.pairs += pairs
        return np.array([(0.05, 0.05, 0.9), (0.2, 0.6, 0.2)][: len(pairs)])


def test_both_ways_must_hold_and_the_question_stands_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Asked()
    monkeypatch.setattr(module, "shipped_entailment", lambda: model)
    found = entail("Who won it?", "Bob", "Robert")
    assert model.pairs == [("Who won it? Bob", "Who won it? Robert"), ("Who won it? Robert", "Who won it? Bob")]
    assert (found.same, found.same_when_sampled, found.unknown) == (False, False, False)
    assert (found.forward, found.backward) == ((0.05, 0.05, 0.9), (0.2, 0.6, 0.2))
    assert (found.question, found.answer_a, found.answer_b) == ("Who won it?", "Bob", "Robert")
    model.pairs.clear()
    entail("", "Bob", "Robert")
    assert model.pairs[0] == ("Bob", "Robert")


def test_without_rules_the_model_decides_but_about_empty_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Asked()
    monkeypatch.setattr(module, "shipped_entailment", lambda: model)
    assert entail("How long?", "2 hours", "120 minutes", rules=False).decided_by == "model: shipped"
    assert len(model.pairs) == 2
    empty = entail("How long?", "", "120 minutes", rules=False)
    assert (empty.same, empty.decided_by) == (False, "rule: an empty answer is its own meaning")
    assert entail("How long?", "", " ", rules=False).same
    assert len(model.pairs) == 2


def test_scores_are_kept_in_the_store_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Asked()
    monkeypatch.setattr(module, "shipped_entailment", lambda: model)
    store = str(tmp_path / "s.sqlite")
    first = entail("Who won it?", "Bob", "Robert", store=store)
    assert entail("Who won it?", "Bob", "Robert", store=store) == first
    assert len(model.pairs) == 2


def test_what_an_entailment_is_known_by() -> None:
    assert entailment_identity("exact") == meaning_identity("exact") == "exact"
    assert entailment_identity("own:me.mine") == ""
    shipped = entailment_identity("shipped")
    assert shipped.startswith("onnx ")
    assert meaning_identity("shipped") == f"{shipped} at 0.1"
    judges = [entailment_identity(f"llm:{name}@http://127.0.0.1:1/v1") for name in ("m", "m", "n")]
    assert judges[0] == judges[1] != judges[2]
    assert judges[0].startswith("llm m@http://127.0.0.1:1/v1 ")
    assert own_name(exact_match) == "own:demur.meaning.entailment.exact_match"
    assert own_name(Asked()) == "own:test_compare.Asked"
    with pytest.raises(InputError, match=r"an entailment of your own, me\.mine; give it again \(entailment=\)"):
        open_plain("own:me.mine").__enter__()


def test_only_the_shipped_model_is_of_english_and_gets_another_prior() -> None:
    assert reader_of("shipped")("What is the capital of Japan?")
    assert not reader_of("shipped")("Wie heißt die Hauptstadt von Japan?")
    assert reader_of("exact")("Wie heißt die Hauptstadt von Japan?")
    plain = Asked()
    assert for_samples("exact", plain) is plain
    (row,) = for_samples("shipped", plain)([("a", "b")])
    assert row[2] == pytest.approx(0.9 / 9 / (0.9 / 9 + 0.1))


def test_an_entailment_is_opened_when_it_is_first_asked_and_again_after_it_was_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[int] = []

    def shipped() -> Asked:
        opened.append(1)
        return Asked()

    monkeypatch.setattr(module, "shipped_entailment", shipped)
    later = LaterEntailment("shipped")
    assert opened == []
    for _ in range(2):
        assert later([("a", "b")]).shape == (1, 3)
    assert len(opened) == 1
    later.close()
    later([("a", "b")])
    assert len(opened) == 2
    make, arguments = later.__reduce__()
    assert (make, arguments) == (LaterEntailment, ("shipped", None, no_progress, None))
