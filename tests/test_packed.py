"""What a large run holds in memory is packed, and looks as it did."""

from __future__ import annotations

import numpy as np
import pytest

from demur.labels.scores.measurement import Clusters
from demur.models.requests.cut_answers import remedy_words
from demur.records import Prompt, Sample
from demur.sampling.cost import cut_sentences
from demur.sampling.packed_samples import PackedSamples, SamplesOf

HALF = "half an emoji: \ud83d"
FIRST = Sample(0, "Paris", (-0.5, -0.25), "stop", 12, 2, choices=2)
SECOND = Sample(1, HALF, None, "length", 0, 64)


def test_packed_samples_are_the_samples() -> None:
    found = PackedSamples([("a", [FIRST, SECOND]), ("b", [])])
    assert dict(found) == {"a": [FIRST, SECOND], "b": []}
    assert (len(found), list(found)) == (2, ["a", "b"])
    with pytest.raises(KeyError):
        found["c"]


def test_samples_of_prompts_come_in_the_prompts_order() -> None:
    prompts = [Prompt("b", "B?"), Prompt("a", "A?")]
    found = SamplesOf(PackedSamples([("a", [FIRST]), ("b", [SECOND])]), prompts)
    assert list(found) == [[SECOND], [FIRST]]
    assert (len(found), found[-1], found[1:]) == (2, [FIRST], [[FIRST]])


def test_clusters_in_one_array_are_the_lists() -> None:
    lists = [np.array([0, 1, 0]), np.array([], dtype=int), np.array([0])]
    found = Clusters(lists)
    assert [ids.tolist() for ids in found] == [[0, 1, 0], [], [0]]
    assert (len(found), found[-1].tolist(), [ids.tolist() for ids in found[:2]]) == (3, [0], [[0, 1, 0], []])
    assert list(Clusters([])) == []
    with pytest.raises(IndexError):
        found[3]


def test_answers_that_were_cut_are_counted_one_after_another() -> None:
    sides = iter([FIRST, SECOND]), iter([FIRST])
    found = cut_sentences(("small", "large"), sides, 64)
    assert found == [f"50% of small's answers were cut at 64 tokens: {remedy_words(64)}"]
