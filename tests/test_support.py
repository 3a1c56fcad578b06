"""Support of sentences by other samples, in place of whole texts that mean the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from demur.config import LabelConfig
from demur.labels.beliefs.belief import Belief, PairShares
from demur.labels.beliefs.unknown import CUT_OFF, FOREIGN
from demur.labels.from_samples import Labels, label_prompts
from demur.labels.scores.support import Supported, are_texts, sentences, support_shares
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.records import FloatArray, Prompt, Sample
from demur.sampling.pair import PairSamples

LONG = "and this is why so many people have come to see it every year since it was built there long ago"


def sample(*texts: str, cut: bool = False) -> list[Sample]:
    return [Sample(i, text, None, "length" if cut else "stop", 1, 1) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("answer", "cut", "found"),
    [
        ("It is Rome. It is old! Is it?", False, ["It is Rome.", "It is old!", "Is it?"]),
        ("It is Rome. It is", True, ["It is Rome."]),
        ("It is", True, ["It is"]),  # all that there is
        ("It is Rome. It is old. It is", True, ["It is Rome.", "It is old."]),
        ("Yes. It", True, ["Yes."]),
        ("Yes. No. So.", False, ["Yes."]),  # single words alone: the first one
        ("Yes.\n\n\nIt is Rome.\n", False, ["It is Rome."]),
        ("Yes. It is Rome.", False, ["It is Rome."]),  # a single word says nothing by itself
        ("Yes.", False, ["Yes."]),
        ("About 3.5 km, e.g. by car", False, ["About 3.5 km, e.g. by car"]),
        ("- red wine\n- white wine", False, ["- red wine", "- white wine"]),
        ("", False, []),
    ],
)
def test_the_sentences_of_an_answer(answer: str, cut: bool, found: list[str]) -> None:
    assert sentences(answer, cut=cut) == found


def test_support_by_hand() -> None:
    """Sentences are supported where another sample holds the same one."""
    strong = [sample("It is Rome. It is old.", "It is Rome. It is big.")]
    weak = [sample("It is Rome. It is new.", "It is Oslo. It is new.")]
    found = support_shares(["Where?"], weak, strong, exact_match)
    assert found.strong.tolist() == [0.5]  # one of two sentences, in both directions
    assert found.weak.tolist() == [0.5]
    assert found.across.tolist() == [0.25]  # the first weak text: 1/2 by either strong one; the second: 0


def test_each_sentence_is_compared_with_the_two_nearest_of_another_sample_alone() -> None:
    asked: list[tuple[str, str]] = []

    def remember(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        asked.extend(pairs)
        return np.array([[0.0, 1.0, 0.0]] * len(pairs))

    strong = [sample("the red cat", "a red dog.\nthe red cat sat.\nBlue sky here.\nthe cat sat")]
    support_shares(["Q"], [sample("one two", "three four")], strong, remember)
    assert [premise for premise, hypothesis in asked if hypothesis == "Q the red cat"] == [
        "Q the red cat sat.",
        "Q the cat sat",
    ]


def test_texts_have_over_forty_words_on_average() -> None:
    assert are_texts([sample("word " * 41)], [sample("word " * 40)]).tolist() == [True]
    assert are_texts([sample("word " * 40)], [sample("word " * 40)]).tolist() == [False]


def labelled(kind: str) -> Labels:
    """The strong model's texts say the same of the first prompt and nothing alike of the second; the third is short."""
    ends = [f"{LONG} {place}." for place in ("here", "there", "elsewhere")]
    same = [f"It stands in Rome. {LONG}. Also {end}" for end in ends]
    strong = {
        "0": sample(*same),
        "1": sample(*(f"{e} {LONG} {LONG}" for e in ends)),
        "2": sample("Rome", "Rome", "Rome"),
    }
    weak = {
        "0": sample(*(f"{LONG} {word}. {LONG} so {word}." for word in ("one", "two", "three"))),
        "1": sample(*(f"{LONG} {word}. {LONG} so {word}." for word in ("four", "five", "six"))),
        "2": sample("Rome", "Rome", "Rome"),
    }
    prompts = [Prompt(str(i), f"question {i}") for i in range(3)]
    config = LabelConfig(kind=kind)
    return label_prompts(prompts, PairSamples(weak, strong), Meanings(exact_match), config, weak="w", strong="s")


def test_texts_that_no_whole_text_tells_of_are_labelled_by_their_sentences() -> None:
    assert {row.id for row in labelled("believed").preferences} == {"2"}
    found = labelled("support")
    targets = {row.id: row.target for row in found.preferences}
    assert targets["0"] > 0.5  # the strong texts support each other, and not the weak ones
    assert targets["1"] == targets["2"] == 0.5  # nothing is gained
    assert found.unknown == ()
    assert found.preferences[0].kind == "entropy support"
    assert "over 40 words, to 2 of 3 prompts" in dict(found.details)["long answers"]


def supported(texts: list[bool], strong: list[float], weak: list[float], across: list[float]) -> Supported:
    return Supported(np.array(texts), PairShares(np.array(strong), np.array(weak), np.array(across)))


@pytest.mark.parametrize(
    ("weak", "across", "slope"),
    [
        ([0.0, 1.0], [0.0, 0.5], 0.5),  # half of what the weak texts say alike, the strong ones say as well
        ([0.0, 1.0], [0.5, 0.5], 0.0),
        ([0.0, 1.0], [1.0, 0.0], -1.0),
        ([0.0, 0.5, 1.0], [0.25, 0.25, 0.75], 0.5),
        ([0.5, 0.5], [0.0, 1.0], 0.0),  # which does not vary
        ([0.5], [0.25], 0.0),
    ],
)
def test_the_slope_of_support_by_hand(weak: list[float], across: list[float], slope: float) -> None:
    found = supported([True] * len(weak), [1.0] * len(weak), weak, across)
    assert found.slope == pytest.approx(slope)


def test_only_texts_take_their_gains_from_support() -> None:
    belief = Belief(np.array([0.25, 0.75]), 0.5, 0.5)
    assert supported([False, False], [], [], []).support_belief(belief) is belief
    found = supported([False, True], [0.5], [0.5], [0.5]).support_belief(belief)
    assert found.gains[0] == 0.25
    assert found.gains[1] == pytest.approx(0.0)  # the weak text says what both strong ones do
    assert belief.gains.tolist() == [0.25, 0.75]


def test_of_texts_only_a_foreign_language_is_a_reason() -> None:
    found = supported([True, True, True, False, False], [], [], [])
    assert found.reasons([FOREIGN, CUT_OFF, "", CUT_OFF, FOREIGN]) == [FOREIGN, "", "", CUT_OFF, FOREIGN]
    assert found.sentence.startswith("of over 40 words, to 3 of 5 prompts")


def test_one_sample_has_no_other_to_support_it() -> None:
    found = support_shares(["Where?"], [sample("It is Rome.")], [sample("It is Rome.")], exact_match)
    assert (found.strong.tolist(), found.weak.tolist(), found.across.tolist()) == ([0.0], [0.0], [1.0])
    empty = support_shares([], [], [], exact_match)
    assert [len(each) for each in (empty.strong, empty.weak, empty.across)] == [0, 0, 0]
    silent = support_shares(["Where?"], [sample("", "It is Rome.")], [sample("It is Rome.", "")], exact_match)
    assert (silent.strong.tolist(), silent.weak.tolist(), silent.across.tolist()) == ([0.0], [0.0], [0.25])


def test_a_text_is_asked_about_without_a_question_too() -> None:
    asked: list[tuple[str, str]] = []

    def remember(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        asked.extend(pairs)
        return np.array([[0.0, 1.0, 0.0]] * len(pairs))

    support_shares([""], [sample("red cat")], [sample("blue dog")], remember)
    assert asked == [("blue dog", "red cat")]  # what stands in the strong text, then what it may support
