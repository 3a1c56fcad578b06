"""Meanings that are kept: what decided about them is in their key, and each list is clustered once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import demur
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings, deciding_code, hash_of_code
from demur.records import FloatArray, Sample
from demur.store import Store


def test_the_code_that_decides_is_hashed_with_all_folders_below(tmp_path: Path) -> None:
    """A changed rule must not find the meanings that the one before it decided."""
    below = tmp_path / "rules" / "values"
    below.mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    for path in (tmp_path / "a.py", below / "dates.py", below / "words.json"):
        path.write_text("1")
    before = hash_of_code(tmp_path)
    assert before == hash_of_code(tmp_path)
    for path in (tmp_path / "notes.txt", tmp_path / "weights" / "tokenizer.json"):
        path.write_text("2")
        assert hash_of_code(tmp_path) == before
    for path in (tmp_path / "a.py", below / "dates.py", below / "words.json"):
        path.write_text("2")
        assert hash_of_code(tmp_path) != before
        path.write_text("1")
    assert deciding_code() == hash_of_code(Path(demur.__file__).parent / "meaning")


class Counted:
    """Equal texts mean the same; counts its calls and pairs."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        self.calls.append(len(pairs))
        return np.asarray(exact_match(pairs), dtype=float)


QUESTIONS, ANSWERS = ["Which tree?", "Which river?"], [["oak", "elm", "oak"], ["Rhine", "Elbe"]]


def test_each_list_of_answers_is_clustered_once() -> None:
    model = Counted()
    meanings = Meanings(model, rules=False)
    found = meanings(QUESTIONS, ANSWERS)
    assert [ids.tolist() for ids in found.ids] == [[0, 1, 0], [0, 1]]
    assert found.calls == len(model.calls) > 0
    asked = len(model.calls)
    again = meanings(QUESTIONS, ANSWERS)
    assert (again.calls, len(model.calls)) == (0, asked)
    assert [ids.tolist() for ids in again.ids] == [ids.tolist() for ids in found.ids]
    assert again.pairs == found.pairs
    other = meanings(["Which lake?", "Which river?"], ANSWERS)  # the question belongs to the key
    assert other.calls > 0


@pytest.mark.parametrize(("identity", "kept"), [("model 1", True), ("", False)])
def test_meanings_of_a_named_model_are_kept_in_the_store(tmp_path: Path, identity: str, kept: bool) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        first = Counted()
        expected = Meanings(first, identity, rules=False, store=store)(QUESTIONS, ANSWERS)
        second = Counted()
        found = Meanings(second, identity, rules=False, store=store)(QUESTIONS, ANSWERS)
        assert (second.calls == []) is kept
        assert [ids.tolist() for ids in found.ids] == [ids.tolist() for ids in expected.ids]
        assert found.pairs == expected.pairs
        for changed in (Meanings(second, "model 2", rules=False, store=store), Meanings(second, identity, store=store)):
            count = len(second.calls)
            changed(QUESTIONS, ANSWERS)
            assert len(second.calls) > count or changed.rules


def test_answers_are_compared_by_what_their_model_stated() -> None:
    meanings = Meanings(exact_match, rules=False)
    stating = meanings.stating({("Which tree?", "a long text"): "oak"})
    assert stating.compared_text("Which tree?", "a long text") == "oak"
    assert stating.compared_text("Which river?", "a long text") == "a long text"
    samples = [Sample(0, "a long text", None, "stop", 3, 2), Sample(1, "oak", None, "stop", 3, 2)]
    assert [one.text for one in stating.compared_samples("Which tree?", samples)] == ["oak", "oak"]
    texts = [one.text for one in samples]
    assert stating(["Which tree?"], [texts]).ids[0].tolist() == [0, 0]
    assert meanings(["Which tree?"], [texts]).ids[0].tolist() == [0, 1]


def test_saturated_prompts_are_kept_as_clustered() -> None:
    """Seven answers that all differ are 21 pairs, of which a fifth, rounded, are the likeliest; six are too few."""
    many, few = [f"answer {i}" for i in range(7)], [f"answer {i}" for i in range(6)]
    model = Counted()
    meanings = Meanings(model, rules=False)
    found = meanings.saturated_prompts(["q", "r"], [many, few])
    assert found.found.tolist() == [True, False]
    assert found.pairs[0] > 0
    assert found.pairs[1] == 0
    asked = len(model.calls)
    clusters = meanings(["q"], [many])
    assert (clusters.calls, len(model.calls)) == (0, asked)
    assert clusters.ids[0].tolist() == list(range(7))
    assert clusters.pairs == (found.pairs[0],)
    again = meanings.saturated_prompts(["q"], [many])
    assert (again.found.tolist(), again.pairs) == ([True], (found.pairs[0],))
    assert len(model.calls) == asked
    same = meanings.saturated_prompts(["t"], [[*many, "answer 0"]])
    assert same.found.tolist() == [False]
