"""Answers as no benchmark has them: scripts mixed, right to left, very long, refused, empty, thoughts, other dress.

Whole runs of mixed languages are in test_mixed_languages.py, cut answers in test_unknown.py, thinking that an endpoint
returns in test_completion.py.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from demur.meaning.clusters import meaning_clusters
from demur.meaning.compare import entail
from demur.meaning.entailment import exact_match

TEN_SCRIPTS = "Что такое 東京 (Tokyo) في اليابان? ประเทศ कहाँ είναι 서울 העיר? ქალაქი"
LONG = "The history of the city begins with a small settlement on the river. " * 420  # 5,460 words


@pytest.mark.parametrize(
    ("question", "a", "b", "same"),
    [
        (TEN_SCRIPTS, "東京", "東京。", True),
        (TEN_SCRIPTS, "Токио — 東京 — طوكيو", "Киото — 京都 — كيوتو", False),
        ("ما هي عاصمة فرنسا؟", "باريس", "\u200fباريس\u200f", True),  # with marks of direction
        ("ما هي عاصمة فرنسا؟", "عاصمة فرنسا هي باريس.", "\u2067باريس\u2069", True),
        ("ما هي عاصمة فرنسا؟", "\u2067باريس\u2069", "ليون", False),
        ("מהי בירת צרפת?", "\u202bפריז\u202c", "פריז", True),
        ("How many are there?", "\u202d12\u202c", "12", True),
        ("Where is it?", f"{LONG}It is in Rome.", f"{LONG}It is in Paris.", False),
        ("Where is it?", f"{LONG}So the answer is Rome.", "Rome", True),
        ("Explain.", LONG, LONG.swapcase(), True),
        ("Who?", "I'm sorry, I can't help with that.", "I cannot assist with that request.", True),
        ("Who?", "Sorry, but I can't help.", "Paris", False),
        ("Who?", "", " \n", True),
        ("Who?", "", "Paris", False),
        ("Capital of France?", "<think>\nLyon? No.\n</think>\n\nParis", "Paris", True),
        ("Capital of France?", "<think>Paris", "Paris", False),  # it never came to an answer
        ("Capital of France?", "<think>Paris", "<think>Lyon</think>", True),  # both say nothing
        ("Capital of France?", "<thinking>Paris is it", "", True),
        ("Name three colours.", "- red\n- green\n- blue", "1. **blue**\n2. **red**\n3. **green**", True),
        ("Name three colours.", "* red\n* green\n* blue", "red; green; yellow", False),
        ("Capital of France?", "## Answer\n\n**Paris**", "Paris", True),
        ("Capital of France?", "> Paris", "Paris", True),
        ("Capital of France?", "[Paris](https://example.org/Paris)", "Paris", True),
    ],
)
def test_pairs_of_odd_answers(question: str, a: str, b: str, same: bool) -> None:
    assert entail(question, a, b).same is same
    assert entail(question, b, a).same is same


def test_refusals_are_one_meaning_silence_another_and_neither_is_an_answer() -> None:
    answers = [
        "I'm sorry, I can't help with that.",
        "",
        "Paris",
        "I cannot assist with this.",
        "<think>Paris",
        "Paris.",
    ]
    assert meaning_clusters(["Who?"], [answers], entailment=exact_match).ids[0].tolist() == [0, 1, 2, 0, 1, 2]


def test_answers_of_5000_words_take_no_longer_than_their_ends() -> None:
    endings = [f"{LONG}It is in {name}." for name in ("Rome", "Paris", "Oslo", "Rome")]
    start = time.process_time()
    ids = meaning_clusters(["Where is it?"], [endings], entailment=exact_match).ids[0]
    assert time.process_time() - start < 5
    assert np.array_equal(ids, [0, 1, 2, 0])
