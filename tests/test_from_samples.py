"""From samples to preferences: what of the samples makes labels worthless is said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from demur.config import LabelConfig
from demur.errors import InputError
from demur.labels.beliefs.unknown import GUESSED, UNMEASURED, Saturation, UnknownPrompt
from demur.labels.from_samples import Labels, label_prompts
from demur.labels.pair_meanings import pair_meanings
from demur.labels.scores.measurement import (
    Clusters,
    Measured,
    Measuring,
    _together,
    believe,
    heard_apart,
    measure_prompts,
    measure_sureness,
)
from demur.labels.scores.sureness import Sureness
from demur.labels.targets import need_in_words, winner_of
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.records import Preference, Prompt, Sample
from demur.sampling.pair import PairSamples

PROMPTS = [Prompt(str(i), f"question {i}") for i in range(4)]


def side(answers: list[tuple[str, str]]) -> dict[str, list[Sample]]:
    """Two samples per prompt."""
    return {
        prompt.id: [Sample(k, text, (-0.1,) if text else (), "stop", 1, 1) for k, text in enumerate(said)]
        for prompt, said in zip(PROMPTS, answers, strict=True)
    }


def labelled(weak: list[tuple[str, str]], strong: list[tuple[str, str]], config: LabelConfig | None = None) -> Labels:
    samples = PairSamples(side(weak), side(strong))
    given = config or LabelConfig()
    return label_prompts(PROMPTS, samples, Meanings(exact_match), given, weak="small", strong="large")


def test_a_model_that_never_answers_is_refused() -> None:
    silent, speaking = [("", " ")] * 4, [("x", "y")] * 4
    with pytest.raises(InputError, match=r"all answers of small are empty.*template"):
        labelled(silent, speaking)
    with pytest.raises(InputError, match="all answers of large are empty"):
        labelled(speaking, silent)


def test_a_model_that_often_says_nothing_is_warned_of() -> None:
    half = [("", ""), ("", ""), ("x", "y"), ("x", "x")]
    third = [("", ""), ("x", ""), ("x", "y"), ("x", "x")]  # 3 of 8 empty
    fourth = [("", ""), ("x", "x"), ("x", "y"), ("x", "x")]
    found = labelled(half, third).warnings
    assert [line.partition(" are empty")[0] for line in found[:2]] == [
        "50% of small's answers",
        "38% of large's answers",
    ]
    assert not any("empty" in line for line in labelled(fourth, fourth).warnings)


def test_a_row_shows_both_first_answers() -> None:
    found = labelled([("x", "z")] * 4, [("y", "y")] * 4)
    assert {(row.response_a, row.response_b) for row in found.preferences} == {("x", "y")}
    other = labelled([("x", "x")] * 4, [("y", "z")] * 4)
    assert {(row.response_a, row.response_b) for row in other.preferences} == {("x", "y")}


def test_agreement_by_hand() -> None:
    """The strong model says oak twice, the weak one once of two: 1 (1 - 1/2) is gained, and y = 1/2 + 1/4."""
    half = labelled([("oak", "elm")] * 4, [("oak", "oak")] * 4, LabelConfig(source="agreement")).preferences[0]
    assert (half.target, half.kind, half.winner, half.n) == (0.75, "agreement", "model_b", 2)
    assert (half.meanings_a, half.meanings_b) == (2, 1)
    assert [half.entropy_a, half.entropy_b] == pytest.approx([math.log(2), 0.0])
    lost = labelled([("oak", "oak")] * 4, [("oak", "elm")] * 4, LabelConfig(source="agreement")).preferences[0]
    assert lost.target == 0.5  # 1/2 (1/2 - 1) + 1/2 (1/2 - 0): what oak loses, elm gains


def test_without_log_probs_the_definition_is_discrete_and_nothing_is_combined() -> None:
    bare = {key: [replace(one, logprobs=None) for one in said] for key, said in side([("oak", "elm")] * 4).items()}
    samples = PairSamples(bare, side([("oak", "oak")] * 4))
    config = LabelConfig(kind="combined")
    found = label_prompts(PROMPTS, samples, Meanings(exact_match), config, weak="small", strong="large")
    assert (found.definition, {row.definition for row in found.preferences}) == ("discrete", {"discrete"})
    assert "entropy by discrete instead of rao_blackwell" in dict(found.details)["log-probs"]
    asked = replace(config, definition="paper")
    warned = label_prompts(PROMPTS, samples, Meanings(exact_match), asked, weak="small", strong="large")
    assert warned.warnings[0].startswith("no log-probs of small: entropy by discrete instead of paper")
    assert dict(found.details)["targets"].startswith("agreement: without log-probs")
    assert {(row.kind, row.target) for row in found.preferences} == {("agreement", 0.75)}


def test_both_models_need_as_many_samples() -> None:
    short = {key: said[:1] for key, said in side([("oak", "oak")] * 4).items()}
    with pytest.raises(InputError, match="2"):
        label_prompts(
            PROMPTS,
            PairSamples(short, side([("oak", "oak")] * 4)),
            Meanings(exact_match),
            LabelConfig(),
            weak="small",
            strong="large",
        )
    with pytest.raises(InputError, match="no prompts to label"):
        label_prompts([], PairSamples({}, {}), Meanings(exact_match), LabelConfig(), weak="small", strong="large")


# -- what labels say of themselves -----------------------------------------------------------------------------------


def rows(*targets: float, kind: str = "agreement") -> tuple[Preference, ...]:
    return tuple(
        Preference(str(i), "w", "s", f"p{i}", "a", "b", target, winner_of(target), kind)
        for i, target in enumerate(targets)
    )


def test_labels_are_counted_by_winner() -> None:
    found = Labels(rows(0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5), ())
    assert found.sentence == (
        "labelled 8 prompts: large model better 38%, small model better 25%, no real difference 38%"
    )
    assert found.details == (("kind of labels", "agreement"),)
    assert found.told == 1.0
    assert Labels((), ()).told == 0.0


def test_the_result_counts_by_the_words_that_explain_says_of_each_target() -> None:
    """A target of .53 is a believed gain of .06: it names a winner, and hardly one, so no need is counted."""
    targets = (0.53, 0.55, 0.46, 0.6, 0.4, 0.5, 0.5, 0.61, 0.39, 0.1)
    said = Labels(rows(*targets), ()).sentence
    for words, count in Counter(map(need_in_words, targets)).items():
        assert f"{words} {count / 10:.0%}" in said
    assert "no real difference 70%" in said


def test_labels_of_samples_say_what_they_stand_on() -> None:
    unknown = (UnknownPrompt("x", "p", "why"),)
    found = Labels(rows(1.0, 0.0, 0.0), (), (), "discrete", Saturation(0.5, 0.25, 0.125), 1234, unknown, 0.1)
    assert found.told == 0.75
    assert found.sentence.startswith("labelled 3 of 4 prompts (75%): large model better 33%, small model better 67%")
    details = dict(found.details)
    assert details["semantic entropy"] == "by discrete"
    assert details["compared"] == "about 1,234 pairs of answers by the entailment model"
    assert details["answers all differ"].endswith("both 12%")
    assert details["answers cut"] == "10%, by a limit of tokens"
    assert "answers cut" not in dict(replace(found, cut=0.0).details)
    assert dict(replace(found, pairs_asked=34).details)["compared"].endswith(", 34 of them now")


def test_a_row_holds_all_that_was_measured_of_its_prompt() -> None:
    """The weak model wavers between two trees, so ln 2; the strong one is sure of a third."""
    found = labelled([("elm", "ash")] * 4, [("oak", "oak")] * 4, LabelConfig(kind="margin", definition="discrete"))
    row = found.preferences[2]
    assert (row.id, row.prompt, row.model_a, row.model_b) == ("2", "question 2", "small", "large")
    assert (row.n, row.meanings_a, row.meanings_b, row.definition) == (2, 2, 1, "discrete")
    assert [row.entropy_a, row.entropy_b, row.margin] == pytest.approx([math.log(2), 0.0, math.log(2)])
    assert (row.kind, row.slope, row.strong_weight) == ("entropy margin", None, None)
    assert row.target == 0.5  # all margins are equal
    assert (found.definition, found.cut, found.unknown) == ("discrete", 0.0, ())
    assert found.pairs_scored == 4  # elm and ash, of each prompt
    assert found.saturation == Saturation(1.0, 0.0, 0.0)


def test_believed_rows_keep_their_belief() -> None:
    found = labelled([("elm", "oak")] * 2 + [("oak", "oak")] * 2, [("oak", "oak")] * 4, LabelConfig(kind="believed"))
    assert {row.kind for row in found.preferences} == {"entropy believed"}
    assert all(row.slope is not None and row.strong_weight is not None for row in found.preferences)
    assert found.preferences[0].target > found.preferences[3].target


def test_a_saturated_strong_model_is_warned_of_and_eq_2_as_printed() -> None:
    config = LabelConfig(kind="hard", definition="paper", delta="paper")
    found = labelled([("oak", "oak")] * 4, [("elm", "ash")] * 2 + [("oak", "elm")] * 2, config)
    assert any(
        line.startswith("the large model's answers all differ on 100% of the prompts") for line in found.warnings
    )
    assert any("by Eq. 2 as printed are not better than chance" in line for line in found.warnings)
    sure = labelled([("elm", "ash")] * 4, [("oak", "oak")] * 4, replace(config, definition="discrete"))
    assert not any("differ on" in line or "as printed" in line for line in sure.warnings)


def test_unequal_numbers_of_samples_name_the_prompt_and_both() -> None:
    short = {key: said[: 1 if key == "2" else 2] for key, said in side([("oak", "oak")] * 4).items()}
    with pytest.raises(InputError, match="prompt '2': 1 weak and 2 strong samples; entropies compare at equal n only"):
        label_prompts(
            *(PROMPTS, PairSamples(short, side([("oak", "oak")] * 4)), Meanings(exact_match), LabelConfig()),
            weak="small",
            strong="large",
        )


def test_of_one_sample_saturation_is_not_measured() -> None:
    one = {key: said[:1] for key, said in side([("oak", "oak")] * 4).items()}
    other = {key: said[:1] for key, said in side([("oak", "oak"), ("elm", "elm")] * 2).items()}
    found = label_prompts(
        *(PROMPTS, PairSamples(one, other), Meanings(exact_match), LabelConfig(source="agreement")),
        weak="small",
        strong="large",
    )
    assert found.saturation == UNMEASURED


# -- measured by hand -------------------------------------------------------------------------------------------------


def measured(weak: list[list[int]], strong: list[list[int]]) -> Measured:
    nothing = Sureness(np.zeros(len(weak)), np.zeros(len(weak)))
    return Measured(
        nothing, nothing, Clusters([np.array(ids) for ids in weak]), Clusters([np.array(i) for i in strong])
    )


def test_meanings_are_counted_by_prompt_and_some_prompts_can_be_kept() -> None:
    found = measured([[0, 1, 1], [0, 0, 0], [0, 1, 2]], [[0, 0, 1], [0, 1, 2], [0, 0, 0]])
    assert (found.weak_meanings, found.strong_meanings) == ([2, 1, 3], [2, 3, 1])
    kept = found.of(np.array([True, False, True]))
    assert (kept.weak_meanings, kept.strong_meanings, kept.belief) == ([2, 3], [2, 1], None)
    assert len(kept.weak.entropy) == 2
    with pytest.raises(AssertionError, match="needs a belief"):
        _ = found.believed_gains


def test_lists_of_clusters_are_read_like_a_list() -> None:
    found = Clusters([np.array([0, 1]), np.array([], dtype=int), np.array([5])])
    assert len(found) == 3
    assert [ids.tolist() for ids in found] == [[0, 1], [], [5]]
    assert (found[-1].tolist(), found[-3].tolist()) == ([5], [0, 1])
    assert [ids.tolist() for ids in found[1:]] == [[], [5]]
    for place in (3, -4):
        with pytest.raises(IndexError, match=str(place)):
            found[place]
    assert len(Clusters([])) == 0


def test_coverage_is_measured_where_all_answers_have_tokens() -> None:
    """Two distinct answers of probability 1/4 hold 1/2 together; of one that has no tokens nothing is known."""
    quarter = (math.log(0.5), math.log(0.5))
    answers = [[Sample(0, "oak", quarter, "stop", 1, 2), Sample(1, "elm", quarter, "stop", 1, 2)]]
    found = measure_sureness([np.array([0, 1])], answers, "discrete", tokens=True)
    assert found.coverage == pytest.approx([math.log(2)])
    assert found.entropy == pytest.approx([math.log(2)])
    assert found.consistency.tolist() == [0.0]
    assert measure_sureness([np.array([0, 1])], answers, "discrete", tokens=False).coverage is None
    silent = [[Sample(0, "oak", None, "stop", 1, 2), Sample(1, "elm", None, "stop", 1, 2)]]
    nothing = measure_sureness([np.array([0, 0])], silent, "discrete", tokens=True).coverage
    assert nothing is not None
    assert np.isnan(nothing).tolist() == [True]


@pytest.mark.parametrize(
    ("small", "large", "said"),
    [
        (3, 1, "38% of small's and 12% of large's answers have no log-probs"),
        (0, 2, "25% of large's answers have no log-probs"),
        (8, 2, "all of small's and 25% of large's answers have no log-probs"),
        (8, 0, "no log-probs of small"),
        (8, 8, "no log-probs of small and large"),
    ],
)
def test_it_is_said_how_many_answers_lack_log_probs(small: int, large: int, said: str) -> None:
    """Of 8 answers of each model, so many have none."""
    sides = [side([("oak", "oak"), ("elm", "elm"), ("ash", "ash"), ("fir", "fir")]) for _ in range(2)]
    for answers, lacking in zip(sides, (small, large), strict=True):
        for place in range(lacking):
            some = answers[str(place // 2)]
            some[place % 2] = replace(some[place % 2], logprobs=None)
    found = label_prompts(
        PROMPTS, PairSamples(*sides), Meanings(exact_match), LabelConfig(), weak="small", strong="large"
    )
    assert dict(found.details)["log-probs"] == (
        f"{said}, so entropy by discrete instead of rao_blackwell, for both models"
    )


def test_who_says_nothing_agrees_with_none() -> None:
    said = [Sample(0, "oak", None, "stop", 1, 1), Sample(1, "", None, "stop", 1, 1)]
    (apart,) = heard_apart([np.array([0, 1, 0, 1])], [said], [said])
    assert apart[0] == apart[2]
    assert len({apart[0], apart[1], apart[3]}) == 3
    assert heard_apart([], [said], [said]) == []


def test_gains_of_joint_clusters_by_hand() -> None:
    """The strong answers come first: 0 0 | 0 1 gains 1 (1 - 1/2); 0 1 | 0 0 loses 1/2 (1/2 - 1) and gains 1/2 1/2."""
    joint = Clusters([np.array([0, 0, 0, 1]), np.array([0, 1, 0, 0]), np.array([0, 1])])
    found = replace(measured([[0, 0]] * 3, [[0, 0]] * 3), joint=joint)
    assert found.gains.tolist() == [0.5, 0.0, 1.0]


@pytest.mark.parametrize(
    ("slope", "weight", "gains"),
    [
        (None, 0.5, [0.0, 0.5]),  # WW and SW are 1 and 1, 0 and 0: the slope is 1, and (SS - WW) / 2 is gained
        (0.0, 1.0, [0.0, 1.0]),  # SS - SW
        (0.75, 0.75, [0.0, 0.75]),  # of the first prompt 3/4 - 1/4 - 1/2
    ],
)
def test_what_is_believed_by_hand(slope: float | None, weight: float, gains: list[float]) -> None:
    found = believe([np.zeros(4, dtype=int), np.array([0, 0, 1, 2])], slope=slope)
    assert found.slope == pytest.approx(1.0 if slope is None else slope)
    assert found.strong_weight == pytest.approx(weight)
    assert found.gains == pytest.approx(gains)
    kept = replace(measured([[0, 0]] * 2, [[0, 0]] * 2), belief=found).of(np.array([False, True]))
    assert kept.believed_gains.tolist() == pytest.approx(gains[1:])


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("joint", [True, False])
def test_prompts_are_measured_alike_in_any_portions(size: int, joint: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both agree; the weak model wavers; nothing agrees with anything, which does not tell."""
    monkeypatch.setattr("demur.labels.scores.measurement.portion_size", lambda mapping, count: size)
    weak, strong = (
        [[Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)] for texts in side]
        for side in (("aa", "ab", "ab"), ("aa", "cc", "cd"))
    )
    work = Measuring(Meanings(exact_match), "exact", "discrete", joint=joint, tokens=False)
    told: list[tuple[str, int, int]] = []
    found = measure_prompts(PROMPTS[:3], (weak, strong), work, progress=lambda *given: told.append(given))
    assert found.reasons == ["", "", GUESSED]
    assert found.measured.weak.entropy == pytest.approx([0, math.log(2), math.log(2)])
    assert found.measured.strong.consistency.tolist() == [1, 1, 0]
    assert (found.measured.weak.coverage, found.measured.strong.coverage) == (None, None)
    assert [len(ids) for ids in found.measured.weak_ids] == [2, 2, 2]
    assert [len(np.unique(ids)) for ids in found.measured.joint] == ([1, 3, 4] if joint else [])
    assert [len(np.unique(ids)) for ids in found.measured.heard] == ([1, 3, 4] if joint else [])
    assert told[-1] == ("measuring samples", 3, 3)
    assert [done for _, done, _ in told] == {1: [0, 1, 2, 3], 2: [0, 2, 3], 9: [0, 3]}[size]


def test_coverage_is_of_all_portions_or_of_none() -> None:
    one, two = (Sureness(np.full(n, 1.0), np.full(n, 0.5), np.full(n, 2.0)) for n in (1, 2))
    whole = _together([one, two])
    assert whole.coverage is not None
    assert (len(whole.entropy), len(whole.consistency), whole.coverage.tolist()) == (3, 3, [2.0] * 3)
    assert (set(whole.entropy), set(whole.consistency)) == ({1.0}, {0.5})
    assert _together([one, replace(two, coverage=None)]).coverage is None


def test_what_both_models_answers_mean_by_hand() -> None:
    """Nothing agrees with anything; the weak model says a twice and the strong one once, which comes first."""
    weak, strong = (
        [[Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)] for texts in side]
        for side in (("ab", "aa"), ("cd", "ab"))
    )
    found = pair_meanings(PROMPTS[:2], weak, strong, Meanings(exact_match), joint=True)
    assert [ids.tolist() for ids in found.weak] == [[0, 1], [0, 0]]
    assert [ids.tolist() for ids in found.strong] == [[0, 1], [0, 1]]
    assert [ids.tolist() for ids in found.joint] == [[0, 1, 2, 3], [0, 1, 0, 0]]
    alone = pair_meanings(PROMPTS[:2], weak, strong, Meanings(exact_match), joint=False)
    assert (len(alone.joint), [ids.tolist() for ids in alone.weak]) == (0, [[0, 1], [0, 0]])


def test_pairs_are_counted_alike_when_prompts_are_labelled_again() -> None:
    """Four answers that all differ: 6 pairs over both models, which hold those within either one."""
    weak, strong = (
        [[Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)]]
        for texts in (("a yellow cat", "a red dog"), ("the blue fish", "one green bird"))
    )

    def nothing_alike(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.tile([0.1, 0.8, 0.1], (len(pairs), 1))

    meanings = Meanings(nothing_alike)
    assert [pair_meanings(PROMPTS[:1], weak, strong, meanings, joint=True).pairs for _ in range(2)] == [6, 6]


def test_labels_of_no_samples_say_nothing_of_them() -> None:
    """Such as those of a file: nothing was cut, no answers were compared, and every prompt has its label."""
    labels = Labels((), ())
    assert (labels.cut, labels.notes, labels.unknown, labels.pairs_scored) == (0.0, (), (), 0)
