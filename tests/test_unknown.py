"""A prompt whose samples cannot tell gets no target, is remembered, and prompts like it go where the setting says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demur.errors import ArtifactError, InputError
from demur.evaluation.replay import replay
from demur.evaluation.thresholds.calibrate import calibrate
from demur.gate.quality.believed_quality import check_belief
from demur.gate.router import Router
from demur.labels.beliefs.unknown import (
    CUT_OFF,
    FEW_EQUAL,
    FOREIGN,
    GUESSED,
    NO_QUESTION,
    NONE_EQUAL,
    ONE_EQUAL,
    Saturation,
    UnknownPrompt,
    check_told,
    read_unknown,
    reason_of,
    saturation_of,
    told_by,
    unknown_details,
    unknown_facts,
    why_unknown,
    write_unknown,
)
from demur.meaning.entailment import reader_of, reads_any
from demur.meaning.rules.languages import is_english
from demur.measure.threshold import Calibration, share_of_scored
from demur.methods import BY_NAME, KNN
from demur.prompts.tool_calls import calls_of
from demur.records import FloatArray, IntArray, Preference, Sample
from demur.routing.known.known_prompts import Looked
from demur.routing.known.unknown_setting import ANOTHER_LANGUAGE, UNLIKE
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router, with_probabilities
from worlds import labelled

SATURATED = np.arange(8)  # four strong answers, then four weak ones
STRONG_SURE = np.array([0, 0, 0, 0, 1, 2, 3, 4])
WEAK_SURE = np.array([1, 2, 3, 4, 0, 0, 0, 0])
ACROSS = np.array([0, 1, 2, 3, 0, 4, 5, 6])
WORDS = " ".join(f"word{i}" for i in range(30))


def said(text: str, *, cut: bool = False, count: int = 4) -> list[Sample]:
    return [Sample(k, text, None, "length" if cut else "stop", 1, 1) for k in range(count)]


def why(ids: IntArray, weak: list[Sample] | None = None, strong: list[Sample] | None = None) -> str:
    return why_unknown(ids, weak or said("elm"), strong or said("oak"), "Which tree?", is_english)


def test_only_where_nothing_agrees_with_anything() -> None:
    assert why(SATURATED) == GUESSED
    assert why(STRONG_SURE) == why(WEAK_SURE) == why(ACROSS) == ""  # one sure model is the best label there is


def test_one_sample_of_each_model_leaves_no_pair_to_look_at() -> None:
    one = said("oak", count=1)
    assert why(np.arange(2), one, one) == ""
    two = said("oak", count=2)
    assert why(np.arange(4), two, two) == GUESSED


def test_models_guess_where_whole_short_answers_differ_and_texts_tell_nothing() -> None:
    """20 words on average are short, 21 are a text; answers mostly cut, in either model, are no whole ones."""
    short, texts = said(" ".join(["word"] * 20)), said(" ".join(["word"] * 21))
    assert why(SATURATED, short, short) == GUESSED
    assert why(SATURATED, texts, texts) == NONE_EQUAL
    half = [*said("So I", cut=True, count=2), *said("oak", count=2)]
    most = [*said("So I", cut=True, count=3), *said("oak", count=1)]
    assert why(SATURATED, half, half) == GUESSED
    assert why(SATURATED, most, half) == why(SATURATED, half, most) == NONE_EQUAL
    assert UnknownPrompt("1", "q", GUESSED).target == 0.5
    assert {UnknownPrompt("1", "q", one).target for one in (NONE_EQUAL, ONE_EQUAL, CUT_OFF, FOREIGN)} == {None}


def test_one_pair_of_texts_agrees_by_chance_and_one_pair_of_short_answers_does_not() -> None:
    assert why(ACROSS, said(WORDS), said(WORDS)) == ONE_EQUAL
    assert why(np.array([0, 1, 2, 3, 0, 1, 5, 6]), said(WORDS), said(WORDS)) == ""


REQUEST = "Write a haiku about rain."


def of_ten(strong: Sequence[int], weak: Sequence[int], prompt: str = REQUEST, answer: str = "oak") -> str:
    """Five strong answers, then five weak ones: 45 pairs, of which a tenth is four and a half."""
    return why_unknown(np.array([*strong, *weak]), said(answer, count=5), said(answer, count=5), prompt, is_english)


@pytest.mark.parametrize("text", ["oak", WORDS])
def test_few_equal_answers_to_a_request_are_chance_where_the_same_to_a_question_are_not(text: str) -> None:
    three = [0, 0, 1, 2, 3], [4, 4, 5, 5, 6]
    assert of_ten(*three, answer=text) == FEW_EQUAL
    assert of_ten(*three, prompt="What is rain?", answer=text) == ""
    assert of_ten([0, 0, 0, 1, 2], [3, 3, 4, 5, 6], answer=text) == FEW_EQUAL  # four pairs


@pytest.mark.parametrize(
    ("prompt", "strong", "weak"),
    [
        ("Name the capital of Peru.", ["Lima"] * 4 + ["Cuzco"], ["Lisbon", "Quito", "Rome", "La Paz", "Bogota"]),
        ("Translate to French: Good morning.", ["Bonjour"] * 3 + ["Salut", "Bon matin"], ["Bonjour", *"abcd"]),
        ("Classify the sentiment: a dull film.", ["negative"] * 5, ["positive", "negative", *"xyz"]),
        ("Give the symbol of gold.", ["Au", "Au", "Gd", "Go", "Ag"], ["Au", "Au", "Gd", "G", "Gl"]),
    ],
)
def test_requests_with_a_right_answer_keep_their_labels(prompt: str, strong: list[str], weak: list[str]) -> None:
    """One model repeats itself, or the other confirms it: five pairs of the 45 are enough."""
    ids = np.unique([*strong, *weak], return_inverse=True)[1]
    assert of_ten(ids[:5].tolist(), ids[5:].tolist(), prompt) == ""


def test_equal_calls_of_tools_are_not_chance() -> None:
    call = '[{"function": {"name": "book_table", "arguments": "{}"}, "type": "function"}]'
    assert calls_of(call)
    assert of_ten([0, 0, 1, 2, 3], [4, 5, 6, 7, 8], answer=call) == ""


def test_few_samples_of_a_request_are_looked_at_as_before() -> None:
    three = said("oak", count=3)
    assert why_unknown(np.array([0, 0, 1, 2, 3, 4]), three, three, REQUEST, is_english) == ""


def test_a_question_is_not_unknown_by_chance_answers_to_a_request() -> None:
    assert reason_of(FEW_EQUAL, REQUEST) == FEW_EQUAL
    assert reason_of(FEW_EQUAL, "What is the best name for a cafe?") == ""


def test_answers_cut_short_are_unknown_where_they_differ_in_both_models() -> None:
    differing = np.array([0, 0, 1, 2, 3, 3, 4, 5])
    cut = said("So I", cut=True)
    assert why(differing, cut, cut) == CUT_OFF
    assert why(differing, cut, said("oak")) == ""  # the strong model has finished its own
    assert why(np.zeros(8, dtype=int), cut, cut) == ""  # cut, and all the same as far as they go


def test_a_language_that_the_entailment_model_does_not_read_is_named_as_the_reason() -> None:
    answers = said("東京は日本の首都です。京都ではありません。")
    assert why(SATURATED, answers, answers) == FOREIGN
    assert why_unknown(SATURATED, answers, answers, "首都?", reads_any) == GUESSED
    assert why(STRONG_SURE, answers, answers) == ""


GUESSES = ["oak", "elm", "ash", "fir"]
OTHERS = ["yew", "box", "may", "tea"]
SURE = ["Rome"] * 4


def test_saturated_prompts_are_counted_alike_by_label_and_report() -> None:
    """A prompt with one equal pair of long answers is unknown; which model's they are is not kept for the report."""
    words = [" ".join(f"{i}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz") for i in range(7)]
    found = labelled([(words[:3] + words[:1], words[3:]), (GUESSES, OTHERS), (SURE, SURE), (GUESSES, SURE)])
    assert ONE_EQUAL in {one.reason for one in found.unknown}
    assert found.saturation == saturation_of(found.preferences, found.unknown)


def test_an_unknown_prompt_is_left_out_and_counted() -> None:
    found = labelled([(GUESSES, SURE), (GUESSES, OTHERS), (SURE, SURE)])
    assert [row.id for row in found.preferences] == ["0", "2"]
    assert found.unknown == (UnknownPrompt("1", "question 1", GUESSED),)
    assert found.saturation == Saturation(weak=2 / 3, strong=1 / 3, both=1 / 3)
    assert found.told == pytest.approx(2 / 3)
    assert found.sentence.startswith("labelled 2 of 3 prompts (67%): ")
    details = dict(found.details)
    assert details["answers all differ"] == "small model 67% of the prompts, large 33%, both 33%"
    assert details["why no label"] == f"1: {NO_QUESTION}"  # "question 1" is none
    assert details["in training"].startswith("1 without a label ")
    assert found.preferences[0].target == pytest.approx(0.75)  # a helpless weak model beside a sure strong one, lam 1/2


def test_labels_of_nothing_that_can_be_told_are_refused() -> None:
    with pytest.raises(InputError, match=r"none of 2 prompts can be labelled.*--from judge"):
        labelled([(GUESSES, OTHERS)] * 2)


def test_unknown_prompts_are_kept_in_a_file(tmp_path: Path) -> None:
    rows = (UnknownPrompt("1", "Schreib ein Gedicht\u2028über Tee", NONE_EQUAL), UnknownPrompt("2", "b", CUT_OFF))
    write_unknown(tmp_path / "unknown.jsonl", rows)
    assert read_unknown(tmp_path / "unknown.jsonl") == rows
    asked = UnknownPrompt("r", "Write a slogan for a bakery.", GUESSED)
    write_unknown(tmp_path / "unknown.jsonl", (asked,))
    (row,) = map(json.loads, (tmp_path / "unknown.jsonl").read_text().splitlines())
    assert row["reason"] == NO_QUESTION, "as the table of labels and every reason count it"
    assert read_unknown(tmp_path / "unknown.jsonl") == (asked,), "a question like it is a guess"
    write_unknown(tmp_path / "unknown.jsonl", ())
    assert read_unknown(tmp_path / "unknown.jsonl") == read_unknown(tmp_path / "no.jsonl") == ()


class Directions:
    """Sums, poems, and what is neither, at right angles."""

    identity = "directions"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        rows = [[t.startswith("sum"), t.startswith("poem"), t.startswith("new")] for t in texts]
        return np.array(rows, dtype=np.float32)


TRAINING = [TrainingPrompt("sum" + "+" * i, float(i % 3 == 0), None, None) for i in range(60)]
UNKNOWN = [UnknownPrompt("p", "poem", NONE_EQUAL)]


def trained(**given: object) -> PromptRouter:
    options = {"unknown": UNKNOWN, **given}
    method = BY_NAME["kernel"]()
    return train_router(Directions(), method, TRAINING, weak="small", strong="large", **options)  # type: ignore[arg-type]


class Letters:
    """A prompt's only letter, turned a little by its number."""

    identity = "letters"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        turns = np.array([np.pi / 2 * (text[0] == "b") + 0.002 * int(text[1:]) for text in texts])
        return np.column_stack([np.cos(turns), np.sin(turns)]).astype(np.float32)


GAINED = [TrainingPrompt(f"a{i}", 0.8 + 0.1 * (i % 2), None, None) for i in range(40)] + [
    TrainingPrompt(f"b{i}", 0.9, None, None) for i in range(8)
]


def guessing(method: str, reason: str = GUESSED) -> PromptRouter:
    """Of prompts with b five of six are unknown; something is gained on all others."""
    unknown = [UnknownPrompt(f"u{i}", f"b{i}", reason) for i in range(8, 48)]
    return train_router(Letters(), BY_NAME[method](), GAINED, weak="small", strong="large", unknown=unknown)


@pytest.mark.parametrize("method", ["sw", "mf", "mlp", "knn", "logistic", "kernel"])
def test_routers_learn_that_nothing_is_gained_where_both_models_guess(method: str) -> None:
    a, b = guessing(method).look_at(["a50", "b50"]).scores
    assert b < a - 0.1


def test_unknown_prompts_that_are_learned_stay_unknown_and_are_no_training_prompts(tmp_path: Path) -> None:
    router = guessing("knn")
    assert [one.prompt for one in router.training] == [one.prompt for one in GAINED]
    assert len(router.vectors) == len(router.training_scores) == len(GAINED)
    assert router.record["verdict"]["n"] == len(GAINED)
    router.save(tmp_path)
    for one in (router, PromptRouter.load(tmp_path, encoder=Letters())):
        made = one.route("b30")
        assert (made.role, made.stage, made.unknown) == ("strong", "unknown", True)
        assert made.untold == NO_QUESTION  # it asks for a text, and may have no right answer to guess at
        assert not one.route("a20").unknown


def test_a_router_of_which_some_unknown_prompts_were_learned_and_some_were_not_can_be_read_again(
    tmp_path: Path,
) -> None:
    """Texts show nothing, so nothing is learned of them and they have no score of their own."""
    reasons = [GUESSED, NONE_EQUAL] * 10
    unknown = [UnknownPrompt(f"u{i}", f"b{i}", reason) for i, reason in enumerate(reasons, 8)]
    made = train_router(Letters(), KNN(3), GAINED, weak="small", strong="large", unknown=unknown)
    made.save(tmp_path)
    read = PromptRouter.load(tmp_path, encoder=Letters())
    assert made.unknown
    assert read.unknown
    assert read.unknown.held_out == made.unknown.held_out
    assert [*read.unknown.held_out] == [f"b{i}" for i in range(8, 28, 2)]


def test_a_learned_unknown_prompt_is_scored_by_fits_that_did_not_see_it(tmp_path: Path) -> None:
    """The nearest neighbour of a training prompt in-sample is itself; held out it is another one."""
    alone = [UnknownPrompt("u", "b100", GUESSED)]
    router = train_router(Letters(), KNN(1), GAINED, weak="small", strong="large", unknown=alone)
    router = with_probabilities(router, np.full(len(GAINED), 0.8))
    router.save(tmp_path)
    for one in (router, PromptRouter.load(tmp_path, encoder=Letters())):
        seen, held_out = (look(["b100"]).scores[0] for look in (one.look_at, one.look_held_out))
        assert held_out == one.training_scores[-1] > seen
    assert router.look_held_out(["a0"]).scores[0] == router.training_scores[0]


def test_what_is_labelled_by_other_means_is_learned_as_labelled() -> None:
    labelled_too = [UnknownPrompt("u", "b0", GUESSED)]
    with_it, without = (
        train_router(Letters(), BY_NAME["kernel"](), GAINED, weak="small", strong="large", unknown=unknown)
        for unknown in (labelled_too, [])
    )
    assert with_it.look_at(["b0"]).scores == pytest.approx(without.look_at(["b0"]).scores)


@pytest.mark.parametrize("reason", [NONE_EQUAL, ONE_EQUAL, CUT_OFF, FOREIGN])
def test_of_unknown_prompts_that_show_nothing_nothing_is_learned(reason: str) -> None:
    a, b = guessing("kernel", reason).look_at(["a50", "b50"]).scores
    assert b > a  # as the labelled prompts with b have it


def test_what_is_nearest_to_an_unknown_prompt_goes_where_the_setting_says() -> None:
    router = replace(trained(), calibration=Calibration(0.0, 1.0, 60, "all strong"), on_unknown="strong")
    made = router.route("poem about tea", threshold=2.0)  # whatever threshold is asked for
    assert (made.role, made.model, made.unknown, made.stage) == ("strong", "large", True, "unknown")
    assert NONE_EQUAL in made.reason
    assert "(unknown = strong)" in made.reason
    assert replace(router, on_unknown="weak").route("poem about tea").role == "weak"
    by_score = replace(router, on_unknown="score").route("poem about tea", threshold=2.0)
    assert (by_score.role, by_score.unknown, by_score.stage) == ("weak", True, "prompt")
    assert "score" in by_score.reason
    assert NONE_EQUAL in by_score.reason


@pytest.mark.parametrize("prompt", ["sum+++", "new thing"])
def test_what_is_nearer_to_a_training_prompt_or_to_nothing_is_not_unknown(prompt: str) -> None:
    assert not trained().route(prompt).unknown


def test_prompts_unlike_any_training_prompt_are_unknown_where_the_setting_says(tmp_path: Path) -> None:
    by_score = trained().route("new thing", threshold=2.0)
    assert (by_score.role, by_score.unknown, by_score.familiar) == ("weak", False, False)
    trained(record={"unlike": "unknown"}).save(tmp_path)
    router = PromptRouter.load(tmp_path, encoder=Directions())
    made = router.route("new thing", threshold=2.0)
    assert (made.role, made.unknown, made.familiar, made.stage) == ("strong", True, False, "unknown")
    assert made.reason.startswith(
        "unknown: unlike any training prompt, in meaning, length or language; such prompts go"
    )
    assert not router.route("sum+++").unknown
    assert NONE_EQUAL in router.route("poem").reason  # the reason of its own
    assert router.look_at(["new thing", "sum+++", "poem"]).unknown.tolist() == [True, False, True]
    assert replace(router, on_unknown="weak").route("new thing", threshold=-1.0).role == "weak"


def test_an_explanation_shows_the_prompt_that_could_not_be_labelled_beside_the_labelled_ones() -> None:
    unknown = [UnknownPrompt("p", "poem", NONE_EQUAL), UnknownPrompt("o", "other", NONE_EQUAL)]
    router = Router(trained(unknown=unknown))
    found = router.explain("poem about tea").lines
    at = found.index("  1.00  poem")
    assert "could not be labelled, and this prompt is like it" in found[at + 1]
    assert found[at + 2].startswith("  0.00  sum")
    assert "could not be labelled" not in "\n".join(router.explain("sum+++").lines)
    assert router.route("poem about tea", neighbours=0).unknown_neighbour is None


def test_what_resembles_an_unknown_prompt_in_meaning_is_not_unlike_what_was_learned() -> None:
    """Its nearest labelled prompt is far, but it was to be learned from, too."""
    assert trained().look_at(["poem about tea", "new thing"]).familiar.tolist() == [True, False]


FRENCH = "poem: Quel est l'auteur de Madame Bovary, s'il vous plaît ?"


@pytest.mark.parametrize(
    ("far", "why", "unlike", "settled"),
    [
        (FRENCH, ANOTHER_LANGUAGE, "score", [True, False]),
        (FRENCH, ANOTHER_LANGUAGE, "language", [True, True]),
        (FRENCH, ANOTHER_LANGUAGE, "unknown", [True, True]),
        ("poem of the lake and of the river. " * 60, UNLIKE, "score", [True, False]),
        ("poem of the lake and of the river. " * 60, UNLIKE, "language", [True, False]),
        ("poem of the lake and of the river. " * 60, UNLIKE, "unknown", [True, True]),
    ],
)
def test_a_language_or_length_that_was_not_learned_is_the_reason_before_any_neighbour(
    far: str, why: str, unlike: str, settled: list[bool]
) -> None:
    """What its nearest prompt is unknown for, such as that both models guess, tells nothing about it."""
    rows = [replace(one, prompt=one.prompt + " of the numbers") for one in TRAINING for _ in range(2)]
    options = {"unknown": [UnknownPrompt("p", "poem of the sea", GUESSED)], "record": {"unlike": unlike}}
    router = train_router(Directions(), KNN(), rows, weak="small", strong="large", **options)  # type: ignore[arg-type]
    assert router.look_at(["poem of the lake", "poem of the lake?"]).untold == [NO_QUESTION, GUESSED]
    found = router.look_at([far, far.replace("poem", "sum")])
    assert found.untold == [why if one else "" for one in settled]
    assert not found.familiar.any()
    made = router.route(far, threshold=2.0)
    assert (made.role, made.stage) == ("strong", "unknown")
    assert made.reason.startswith(f"unknown: {why}; such prompts go to the strong model")


def test_no_prompt_that_a_router_learned_from_is_unlike_its_training_prompts(tmp_path: Path) -> None:
    """The longest by far, the only one in French, and an unknown one: each resembles itself."""
    odd = ["sum of " + "1 and " * 900 + "2", "sum: Quelle est la capitale de la France, s'il vous plaît ?"]
    rows = [*(replace(one, prompt=f"{one.prompt} of the numbers, {i}") for one in TRAINING for i in range(3))]
    rows += [TrainingPrompt(text, 0.0, None, None) for text in odd]
    unknown = [UnknownPrompt("p", "poem " * 900, NONE_EQUAL), UnknownPrompt("q", "poem: où est la mer ?", NONE_EQUAL)]
    train_router(Directions(), KNN(), rows, weak="small", strong="large", unknown=unknown).save(tmp_path)
    router = PromptRouter.load(tmp_path, encoder=Directions())
    found = router.look_at(
        [*(one.prompt for one in rows), *(one.prompt for one in unknown), odd[0] + "!", odd[1] + "!"]
    )
    assert found.familiar.tolist() == [True] * (len(rows) + 2) + [False, False]
    assert found.untold[len(rows) : -2] == [NONE_EQUAL] * 2


def test_a_saved_router_remembers_and_an_older_one_still_loads(tmp_path: Path) -> None:
    trained(on_unknown="weak").save(tmp_path)
    made = Router.load(tmp_path, encoder=Directions()).route("poem")
    assert (made.role, made.unknown) == ("weak", True)
    description = json.loads((tmp_path / "router.json").read_text())
    (tmp_path / "unknown.jsonl").write_text("")
    with pytest.raises(ArtifactError, match=r"unknown\.jsonl"):
        PromptRouter.load(tmp_path, encoder=Directions())
    del description["unknown"], description["sha256"]["unknown.jsonl"]
    (tmp_path / "router.json").write_text(json.dumps(description))
    (tmp_path / "unknown.jsonl").unlink()
    assert not PromptRouter.load(tmp_path, encoder=Directions()).route("poem").unknown


def test_a_share_is_counted_over_prompts_that_cannot_be_told_too() -> None:
    assert share_of_scored(0.5, 6, 2, 0) == pytest.approx(2 / 6)  # 4 of 8 in all, 2 of them whatever their score
    assert share_of_scored(0.1, 6, 2, 0) == 0.0  # not to be had
    assert share_of_scored(0.9, 6, 0, 2) == 1.0
    found = Calibration(0.5, 2 / 6, 6, "strong share 50%").beside(2, 0)
    assert (found.strong_share, found.n, found.unknown) == (0.5, 8, 0.25)
    assert "25% of them are unknown" in found.sentence
    with pytest.raises(InputError, match="none of 3 prompts have a score"):
        share_of_scored(0.5, 0, 3, 0)


def test_calibrate_and_replay_count_unknown_prompts_where_they_go(tmp_path: Path) -> None:
    trained().save(tmp_path / "router")
    prompts = [*(f"sum{'+' * i}" for i in range(6)), "poem one", "poem two"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))
    given = {"router": str(tmp_path / "router"), "encoder": Directions()}
    found = calibrate(tmp_path / "p.jsonl", strong_share=0.1, anyway=True, **given)  # type: ignore[arg-type]
    assert (found.strong_share, found.unknown) == (0.25, 0.25)
    again = replay(tmp_path / "p.jsonl", **given)  # type: ignore[arg-type]
    assert (again.strong_share, again.unknown_share, again.unlabelled_share) == (0.25, 0.25, 0.25)
    assert any("25.0% resemble prompts that could not be labelled" in line for line in again.details)
    assert dict(again.block.notes)["unknown"].startswith("25% of the prompts go to the large model")


def test_quality_is_not_estimated_where_belief_has_nothing_to_stand_on() -> None:
    def checked(reasons: Sequence[str], **told: object) -> None:
        first = trained(unknown=())
        first = replace(first, record={**first.record, "told": told}, on_unknown="strong-unless-guessed")
        check_belief(Router(first), Looked(np.zeros(4), np.ones(4, dtype=bool), list(reasons)))

    checked([""] * 4)
    checked(["", GUESSED, NONE_EQUAL, NONE_EQUAL])  # where both guess and the score decides, neither is right
    with pytest.raises(InputError, match="25% of these prompts can be judged"):
        checked(["", NONE_EQUAL, NONE_EQUAL, NONE_EQUAL])
    with pytest.raises(InputError, match="40% of the prompts that were to be labelled"):
        checked([""] * 4, share=0.4)
    with pytest.raises(InputError, match="does not agree with itself on 60%"):
        checked([""] * 4, share=1.0, saturation={"strong": 0.6})


def test_the_bounds_of_what_cannot_be_told() -> None:
    """Four samples of each model, or three; texts of 21 words, or of 20; more than half cut, or half."""
    texts, shorter = said(WORDS[:-1]), said(" ".join(["word"] * 20))
    assert why(ACROSS, texts, texts) == ONE_EQUAL
    assert why(ACROSS, shorter, shorter) == ""
    three = said(WORDS, count=3)
    assert why(np.array([0, 1, 2, 0, 3, 4]), three, three) == ""
    differing = np.array([0, 0, 1, 2, 3, 3, 4, 5])
    half = [*said("So I", cut=True, count=2), *said("oak", count=2)]
    most = [*said("So I", cut=True, count=3), *said("oak", count=1)]
    assert why(differing, half, most) == why(differing, most, half) == ""
    assert why(differing, most, most) == CUT_OFF


def test_cut_answers_that_agree_half_the_time_tell_something() -> None:
    """Two strong and two weak answers, all cut: 0 0 0 1 agree in 3 of 6 pairs, 0 0 1 1 in 2 of 6."""
    two = said("So I", cut=True, count=2)
    assert why(np.array([0, 0, 0, 1]), two, two) == ""
    assert why(np.array([0, 0, 1, 1]), two, two) == CUT_OFF


def test_one_answer_in_another_language_is_enough_to_name_it() -> None:
    mixed = [*said("It is the oak.", count=3), *said("東京は日本の首都です。", count=1)]
    assert why(SATURATED, mixed, said("It is the elm.")) == FOREIGN


def test_the_shipped_model_reads_english_and_others_are_not_judged() -> None:
    assert reader_of("shipped")("東京は日本の首都です。") is False
    assert reader_of("exact")("東京は日本の首都です。") is True
    assert reader_of("shipped")("It is the capital of Japan.") is True


def test_how_many_prompts_told() -> None:
    rows = [UnknownPrompt("1", "a", CUT_OFF), UnknownPrompt("2", "b", CUT_OFF), UnknownPrompt("3", "c", NONE_EQUAL)]
    assert told_by([], rows) == {"share": 0.0, "saturation": {"weak": 1 / 3, "strong": 1 / 3, "both": 1 / 3}}
    assert told_by([], ())["share"] == 0.0
    with pytest.raises(InputError, match=r"none of 3 prompts can be labelled from its samples \(most answers of both"):
        check_told(rows, 3, "large")
    check_told(rows, 4, "large")
    assert unknown_details(rows) == [("why no label", f"2: {CUT_OFF}"), ("", f"1: {NONE_EQUAL}")]
    assert unknown_facts(rows)[0] == ("without a label", "3 prompts, listed in unknown.jsonl")
    assert unknown_facts([]) == unknown_details([]) == []


def test_shares_of_saturated_prompts_are_of_each_model_and_of_both() -> None:
    weak, strong = np.array([True, True, False, False]), np.array([True, False, False, False])
    assert Saturation.of(weak, strong) == Saturation(0.5, 0.25, 0.25)
    assert Saturation.of(weak[:0], strong[:0]) == Saturation(0.0, 0.0, 0.0)
    assert Saturation(0.5, 0.25, 0.125).fact[1] == "small model 50% of the prompts, large 25%, both 12%"


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unknown.jsonl").write_text('{"id": "1", "text": "a"}\n')
    with pytest.raises(InputError, match=r"unknown\.jsonl: not what `demur label` writes"):
        read_unknown(tmp_path / "unknown.jsonl")


def test_whoever_loads_a_router_may_say_where_unknown_prompts_go(tmp_path: Path) -> None:
    trained(on_unknown="strong").save(tmp_path)
    made = Router.load(tmp_path, encoder=Directions(), unknown="weak").route("poem")
    assert (made.role, made.stage) == ("weak", "unknown")
    assert "unknown = weak" in made.reason
    assert Router.load(tmp_path, encoder=Directions(), unknown="score").route("poem").stage == "prompt"
    assert Router.load(tmp_path, encoder=Directions()).route("poem").role == "strong"
    with pytest.raises(InputError, match="unknown is 'cheap'; use strong, strong-unless-guessed, weak, score"):
        Router.load(tmp_path, encoder=Directions(), unknown="cheap")  # type: ignore[arg-type]


def test_calls_of_tools_have_no_words() -> None:
    """Four texts of 40 words beside four calls: 20 words on average, so that they are not texts."""
    call = '[{"name": "weather", "arguments": {"city": "Oslo"}}]'
    assert calls_of(call) is not None
    assert why(ACROSS, said(call), said(" ".join(["word"] * 40))) == ""
    assert why(ACROSS, said(call), said(" ".join(["word"] * 41))) == ONE_EQUAL


def test_saturation_counts_rows_of_two_samples_or_more() -> None:
    def row(n: int, meanings_a: int | None, meanings_b: int | None) -> Preference:
        return Preference(
            *("1", "s", "l", "q", "a", "b", 0.5, "tie", "agreement"), n=n, meanings_a=meanings_a, meanings_b=meanings_b
        )

    assert saturation_of([row(2, 2, 1)]) == Saturation(1.0, 0.0, 0.0)
    assert saturation_of([row(2, 1, 2), row(2, 2, 2)]) == Saturation(0.5, 1.0, 0.5)
    assert saturation_of([row(2, 2, 1), row(1, 1, 1)]) == Saturation(1.0, 0.0, 0.0)  # one sample tells nothing
    assert saturation_of([row(2, 2, 1), row(2, None, None)]) == Saturation(1.0, 0.0, 0.0)  # nor does what was graded
    assert saturation_of([row(2, 2, 1)], [UnknownPrompt("2", "q", FOREIGN)]) == Saturation(1.0, 0.5, 0.5)
    assert saturation_of([row(2, 2, 1)], [UnknownPrompt("2", "q", ONE_EQUAL)]) == Saturation(0.5, 0.0, 0.0)
    assert saturation_of([]) == Saturation(0.0, 0.0, 0.0)
    lost = UnknownPrompt("2", "q", CUT_OFF)
    assert [told_by([row(2, 2, 1)] * 3, [lost] * count)["share"] for count in (0, 1, 3)] == [1.0, 0.75, 0.5]


def test_of_nothing_nothing_is_told() -> None:
    assert told_by([], [])["share"] == 0.0
    check_told([], 1, "large")
    check_told([UnknownPrompt("1", "q", CUT_OFF)], 2, "large")
    with pytest.raises(InputError, match=r"none of 1 prompt can be labelled from its samples \(most answers of both"):
        check_told([UnknownPrompt("1", "q", CUT_OFF)], 1, "large")


def test_a_file_of_unknown_prompts_may_be_missing_or_empty(tmp_path: Path) -> None:
    assert read_unknown(tmp_path / "none.jsonl") == ()
    (tmp_path / "empty.jsonl").touch()
    assert read_unknown(tmp_path / "empty.jsonl") == ()


def test_rows_that_repeat_a_prompt_are_held_out_together() -> None:
    """A fit that has seen one of them has seen the other; and one prompt had two scores, which of them depended on who
    asked. Unknown prompts that are learned besides have folds of their own."""
    rows = [*TRAINING, *TRAINING[:5], *TRAINING[:2]]
    besides = [UnknownPrompt(f"{i}", f"poem {i}", GUESSED) for i in range(12)]
    made = train_router(Directions(), KNN(3), rows, weak="small", strong="large", unknown=besides)
    scores: dict[str, set[float]] = {}
    for row, score in zip(rows, made.training_scores.tolist(), strict=True):
        scores.setdefault(row.prompt, set()).add(score)
    assert {len(found) for found in scores.values()} == {1}
    assert made.unknown is not None
    assert len(made.unknown.held_out) == 12
