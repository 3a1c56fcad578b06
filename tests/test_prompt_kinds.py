"""Kinds of prompts: what is known of each, what a router does with it, and what that costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demur.cli import printing
from demur.errors import InputError
from demur.evaluation.replay import replay
from demur.evaluation.report.cautions import cut_notes
from demur.evaluation.report.headline import headline, training_headline
from demur.evaluation.report.kinds_table import kinds_note, kinds_table, new_kinds_notes
from demur.evaluation.results import KindsTable
from demur.evaluation.thresholds.calibrate import calibrate
from demur.gate.router import Router
from demur.labels.beliefs.unknown import (
    GUESSED,
    NO_QUESTION,
    NONE_EQUAL,
    UnknownPrompt,
    unknown_details,
    unknown_facts,
)
from demur.labels.prompt_kinds import (
    CODE,
    CUT_TEXTS,
    FOREIGN,
    KEY,
    KINDS,
    LONG,
    MOST_ROWS,
    PICTURES,
    SHORT,
    TOOLS,
    PromptKind,
    PromptKinds,
    kind_of,
)
from demur.meaning.rules.languages import is_english
from demur.measure.threshold import Calibration
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import LetterEncoder
from demur.records import ChatRequest, OnUnknown, Preference, Prompt, Sample
from demur.routing.known.remembered_prompts import Remembered
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router

QUESTION = "What is the capital of France?"
TEXT = "one word after another until there are many of them and so on without an end to it that anybody can see at all"
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def sample(text: str, ends: str = "stop", tokens: int = 1) -> Sample:
    return Sample(0, text, None, ends, 10, tokens)


def asked(content: object, **more: object) -> Prompt:
    return Prompt(
        "1", QUESTION, request=ChatRequest(json.dumps({"messages": [{"role": "user", "content": content}]} | more))
    )


@pytest.mark.parametrize(
    ("prompt", "answers", "kind"),
    [
        (Prompt("1", QUESTION), [("Paris", "stop")] * 2, SHORT),
        (Prompt("1", QUESTION), [("one " * 20, "stop")] * 2, SHORT),  # 20 words, on average, are not yet a text
        (Prompt("1", QUESTION), [("one " * 20, "stop"), ("one " * 21, "stop")], LONG),
        (Prompt("1", QUESTION), [(TEXT, "length"), (TEXT, "stop")], LONG),  # half of them are not most
        (Prompt("1", QUESTION), [(TEXT, "length")] * 2, CUT_TEXTS),
        (Prompt("1", QUESTION), [("```python\nprint(1)\n```", "stop")] * 2, CODE),
        (Prompt("1", QUESTION), [("```python\nprint(1)\n```", "stop"), ("Paris", "stop")], SHORT),
        (Prompt("1", "Was ist die Hauptstadt von Frankreich und warum?"), [("Paris", "stop")] * 2, FOREIGN),
        (asked([PICTURE]), [("Paris", "stop")] * 2, PICTURES),
        (asked(QUESTION, tools=[{"type": "function"}]), [("Paris", "stop")] * 2, TOOLS),
    ],
)
def test_a_prompt_is_of_the_kind_that_it_and_its_answers_show(
    prompt: Prompt, answers: Sequence[tuple[str, str]], kind: str
) -> None:
    weak, strong = ([sample(*one)] for one in answers)
    assert kind_of(prompt, weak, strong, is_english) == kind


def preference(text: str) -> Preference:
    return Preference(text, "small", "large", text, "", "", target=1.0, winner="model_b", kind="entropy believed")


def mixed(*, english: bool = True) -> PromptKinds:
    """Ten prompts with short answers, six labelled and three guessed; four texts, one labelled."""
    labelled, lost = [f"s{i}" for i in range(6)] + ["t0"], [f"s{i}" for i in range(6, 10)] + ["t1", "t2", "t3"]
    names = {text: SHORT if text[0] == "s" else LONG for text in (*labelled, *(f"{one}?" for one in lost))}
    unknown = [UnknownPrompt(text, f"{text}?", GUESSED if text in lost[:3] else NONE_EQUAL) for text in lost]
    return PromptKinds.count(names, [preference(text) for text in labelled], unknown, english=english)


def test_what_became_of_the_prompts_is_counted_by_kind() -> None:
    found = mixed()
    assert found.kinds == (PromptKind(SHORT, 10, 6, 3), PromptKind(LONG, 4, 1, 0))
    assert [one.untold for one in found.kinds] == [1, 3]
    assert [one.mostly_untold for one in found.kinds] == [False, True]
    assert found.of == (0,) * 6 + (1,) + (0,) * 4 + (1,) * 3


def test_only_questions_count_as_guessed_so_that_the_table_adds_up_with_the_lines_below() -> None:
    """Short answers to a request that all differ go where texts go: neither the table nor the lines call it a guess."""
    asked = {"who?": GUESSED, "Name a cat.": GUESSED, "Suggest a slogan.": GUESSED, "t": NONE_EQUAL}
    unknown = [UnknownPrompt(text, text, why) for text, why in asked.items()]
    kind = PromptKinds.count(dict.fromkeys([*asked, "s"], SHORT), [preference("s")], unknown, english=True).kinds[0]
    assert (kind.labelled, kind.guessed, kind.untold) == (1, 1, 3)
    lines = [line for _, line in unknown_facts(unknown)]
    assert lines[1].startswith("1 are questions ")
    assert lines[2].startswith("the other 3: ")
    reasons = [line for _, line in unknown_details(unknown)]
    assert f"2: {NO_QUESTION}" in reasons
    assert f"1: {GUESSED}" in reasons


def test_one_sentence_says_where_demur_cannot_tell() -> None:
    assert mixed().untold_sentence == "sentences and texts: the samples mostly do not show which model is needed"
    assert mixed().sentence("go to the large model") == (
        f"{mixed().untold_sentence}; those without a label go to the large model, the others go by their score"
    )
    rare = PromptKinds((PromptKind(SHORT, 990, 900, 0), PromptKind(LONG, 9, 0, 0)), english=True)
    assert rare.sentence("go to the large model") == rare.untold_sentence == ""


def test_a_row_of_the_table_has_the_share_of_each_part() -> None:
    assert [one.cells for one in mixed().kinds] == [
        (SHORT, "10", "6 (60%)", "3 (30%)", "1 (10%)"),
        (LONG, "4", "1 (25%)", "0", "3 (75%)"),
    ]


def test_what_the_entailment_model_does_not_read_is_said_to_be_compared_by_rules() -> None:
    read = (PromptKind(SHORT, 10, 9, 0), PromptKind(CODE, 5, 4, 0))
    foreign = PromptKind(FOREIGN, 3, 1, 0, (("ja", 2), ("de", 1)))
    code, others = PromptKinds((*read, foreign)).by_rules
    assert code == "code is compared by rules, which miss paraphrases"
    assert others.startswith("other languages (ja 2, de 1) are compared by rules, which miss paraphrases: ")
    assert others.endswith("`demur label --entailment hub:NAME`")
    assert PromptKinds(read[:1]).by_rules == PromptKinds((*read, foreign), english=False).by_rules == ()


def test_languages_are_named_by_how_often_they_occur() -> None:
    texts = [
        "日本の首都はどこですか。",
        "フランスの首都はどこですか。",
        "Was ist die Hauptstadt von Frankreich und warum?",
    ]
    found = PromptKinds.count(dict.fromkeys(texts, FOREIGN), list(map(preference, texts)), (), english=True)
    assert found.kinds[0].shown == "other languages (ja 2, de 1)"


def test_a_table_has_at_most_six_rows() -> None:
    """Of seven kinds the texts that were cut are among the other texts."""
    names = {str(i): name for i, name in enumerate(KINDS)}
    found = PromptKinds.count(names, list(map(preference, names)), (), english=True)
    assert len(found.kinds) == MOST_ROWS
    assert [one.prompts for one in found.kinds if one.name == LONG] == [2]
    assert sum(one.prompts for one in found.kinds) == 7


def test_each_prompts_answers_have_their_own_length_and_each_kind_its_mean() -> None:
    """A router of an earlier version has the means alone, 35 and 5,100 tokens; a length is kept in steps of 12 %."""
    texts, lengths = [*"abcdef"], [4.0, 6.0, 30.0, 100.0, 200.0, 10_000.0]
    names = dict(zip(texts, [SHORT] * 4 + [LONG] * 2, strict=True))
    tokens = np.array([[1.0, one] for one in lengths])
    found = PromptKinds.count(names, list(map(preference, texts)), (), english=True).with_tokens(
        tokens, ("weak", "strong")
    )
    own = found.lengths(texts, "strong")
    assert [own[text] for text in texts[:4]] == pytest.approx(lengths[:4], rel=0.07)
    assert np.mean([own[text] for text in texts[:4]]) == pytest.approx(35)
    assert np.mean([own[text] for text in texts[4:]]) == pytest.approx(5100)
    assert found.lengths(texts, "weak") == pytest.approx(dict.fromkeys(texts, 1.0))
    earlier = PromptKinds.from_record({KEY: {k: v for k, v in found.as_record()[KEY].items() if k != "answered"}})
    assert earlier is not None
    assert [earlier.lengths(texts, "strong")[text] for text in "ae"] == [35, 5100]


def test_a_router_keeps_the_kinds() -> None:
    texts = ["Was ist die Hauptstadt von Frankreich und warum?", "one"]
    found = PromptKinds.count(
        {texts[0]: FOREIGN, texts[1]: SHORT}, list(map(preference, texts)), (), english=True
    ).with_tokens(np.array([[1.0, 2.0], [3.0, 4.0]]), ("weak", "strong"))
    record = json.loads(json.dumps(found.as_record()))
    assert PromptKinds.from_record(record) == found
    assert record[KEY]["of"] == "10"
    assert PromptKinds.from_record({}) is None


LETTERS = "abcdefghijklmnopqrst"
SHORTS, TEXTS = [f"{one} {one} ww ww" for one in LETTERS], [f"{one} yz yz yz" for one in LETTERS]


LOST = [UnknownPrompt(text, text, NONE_EQUAL) for text in TEXTS]


NAMES = {"weak": "small", "strong": "large"}


def routed(on_unknown: OnUnknown = "strong", unknown: Sequence[UnknownPrompt] = LOST, kind: str = LONG) -> Router:
    """Of forty prompts twenty have short answers and are labelled, and twenty, texts, are unknown. Half of the short
    ones go to the small model, which is free; answers of the large one have 10 tokens to those, and 90 to texts."""
    rows = [TrainingPrompt(text, float(i % 2), 1.0, 0.0) for i, text in enumerate(SHORTS)]
    names = dict.fromkeys(SHORTS, SHORT) | {one.prompt: kind for one in unknown}
    kinds = PromptKinds.count(names, list(map(preference, SHORTS)), unknown, english=True)
    tokens = np.array([[1.0, 10.0]] * 20 + [[1.0, 90.0]] * 20)
    flat = {"added_tokens": 0.0, "source": "given", "usd_per_input_token": 0.0}
    record = {
        **kinds.with_tokens(tokens, ("weak", "strong")).as_record(),
        "serving_cost": {
            "weak": flat | {"usd_per_output_token": 0.0, "answer_tokens": 1.0},
            "strong": flat | {"usd_per_output_token": 1e-5, "answer_tokens": 50.0},
        },
        "sampling": {"max_tokens": 64},
        "told": {"share": 0.5},
        "cut": {"weak": 0.3, "strong": 0.05},
    }
    made = train_router(
        *(LetterEncoder(), SimilarityWeighted(), rows),
        weak="small",
        strong="large",
        record=record,
        unknown=unknown,
        on_unknown=on_unknown,
    )
    scores = np.arange(len(rows)) / len(rows)
    made = replace(made, training_scores=scores, calibration=Calibration(0.5, 0.5, 20, "strong share 50%"))
    return Router(made, beliefs=np.array([np.full(len(rows), 0.2), np.full(len(rows), 0.8)]))


def test_what_is_saved_is_counted_by_the_lengths_of_the_kinds_own_answers() -> None:
    """Always-strong costs 20 x 10 + 20 x 90 = 2,000 tokens; ten short answers stay local, 100 tokens: 5 % are saved.
    At the mean length, 50, it would be a quarter."""
    said = training_headline(routed())
    assert said.strong_share == 0.75
    assert said.usd_strong == pytest.approx(1000 * 2000 * 1e-5 / 40)
    assert said.saved == pytest.approx(0.05)


NEW_SHORTS, NEW_TEXTS = [f"{text} {text}" for text in SHORTS], [f"{text} {text}" for text in TEXTS]


def test_a_new_prompts_answer_is_as_long_as_those_to_the_nearest_training_prompts(tmp_path: Path) -> None:
    """Labelled or not: 10 tokens beside a short answer, 90 beside a text; by the mean all would have 50."""
    router, texts = routed(), [*NEW_SHORTS, *NEW_TEXTS[:10]]
    looked = router.prompt_router.look_held_out(texts)
    assert [near[0] for near in looked.like] == [*SHORTS, *TEXTS[:10]]
    assert all(len(set(near)) == 3 for near in looked.like)
    said = headline(router, looked, texts, on="prompts")
    assert said.usd_strong == pytest.approx(1000 * 1100 * 1e-5 / 30)
    assert router.explain(NEW_TEXTS[0]).usd == pytest.approx(90e-5)
    short = router.explain(NEW_SHORTS[0])
    assert max(short.usd or 0.0, short.usd_other or 0.0) == pytest.approx(10e-5)
    router.prompt_router.save(tmp_path / "router")
    asked = tmp_path / "new.jsonl"
    asked.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    found = replay(asked, router=str(tmp_path / "router"), encoder=LetterEncoder())
    assert found.usd_strong == pytest.approx(1100e-5)


def test_the_nearest_prompts_are_several_labelled_or_not_and_their_lengths_are_averaged() -> None:
    """One prompt's answers say little of another's: of three near ones one is a text, without a label."""
    near = routed().prompt_router.look_at(["aaa w yz"]).like[0]
    assert set(near) & set(SHORTS) and set(near) & set(TEXTS)
    cost = routed().prompt_router.cost("strong")
    assert cost is not None
    assert cost.answer_length("new", (SHORTS[0], SHORTS[1], TEXTS[0])) == pytest.approx((10 + 10 + 90) / 3)
    assert cost.answer_length(SHORTS[0], (TEXTS[0],)) == pytest.approx(10)
    assert cost.answer_length("new") == 50
    assert cost.answer_length("new", ("not sampled", TEXTS[0])) == pytest.approx(90)


def test_replay_by_another_threshold_says_what_stays_local_at_that_one(tmp_path: Path) -> None:
    routed("score").prompt_router.save(tmp_path / "router")
    asked = tmp_path / "new.jsonl"
    asked.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in NEW_TEXTS))
    for threshold, local in ((-1.0, "0%"), (2.0, "100%")):
        found = replay(asked, router=str(tmp_path / "router"), encoder=LetterEncoder(), threshold=threshold)
        (note,) = [one for one in found.block.cautions if "Samples rarely show" in one]
        assert f"and {local} of them stay local" in note and "of the training prompts" in note


def test_without_a_quality_new_prompts_are_forecast_for_and_nothing_is_measured(tmp_path: Path) -> None:
    """All are unknown, so that no quality is told; what they cost is expected by other prompts' answers."""
    routed().prompt_router.save(tmp_path / "router")
    asked = tmp_path / "new.jsonl"
    asked.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in NEW_TEXTS))
    found = replay(asked, router=str(tmp_path / "router"), encoder=LetterEncoder())
    assert found.headline.quality is None
    assert "forecast for" in dict(found.block.notes) and "measured on" not in dict(found.block.notes)


def test_a_prompt_that_repeats_is_one_of_the_nearest_labelled_or_not() -> None:
    """Three copies of the nearest one would bring back its answers alone."""
    router = routed().prompt_router
    assert router.unknown
    unknown = Remembered(
        router.unknown.prompts[:1] * 4 + router.unknown.prompts,
        np.r_[router.unknown.vectors[[0] * 4], router.unknown.vectors],
    )
    router = replace(router, unknown=unknown)
    (near,) = router.look_at([NEW_TEXTS[0]]).like
    assert near[0] == TEXTS[0] and len(set(near)) == 3
    repeated = replace(router, training=router.training[:1] * 5 + router.training, unknown=None, nearest=None)
    repeated = replace(repeated, vectors=np.r_[np.repeat(router.vectors[:1], 5, axis=0), router.vectors])
    (near,) = repeated.look_at([NEW_SHORTS[0]]).like
    assert near[0] == SHORTS[0] and len(set(near)) == 3


def test_a_budget_on_new_prompts_counts_the_lengths_of_their_kinds(tmp_path: Path) -> None:
    """Texts alone cost 20 x 90 tokens of 40 prompts, so that half of it cannot be reached; by the mean it could."""
    routed().prompt_router.save(tmp_path / "router")
    asked = tmp_path / "new.jsonl"
    asked.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in [*NEW_SHORTS, *NEW_TEXTS]))
    with pytest.raises(InputError, match="unknown prompts go to the strong model"):
        calibrate(asked, router=str(tmp_path / "router"), encoder=LetterEncoder(), usd_per_1k=0.3, anyway=True)


def test_the_table_says_where_each_kind_goes_how_good_that_is_and_its_share_of_the_cost() -> None:
    """Of 1,900 tokens that are paid 1,800 are of texts. Quality: half of the short answers at .2, half at .8."""
    found = kinds_table(routed())
    assert found is not None
    assert found.rows == (
        (SHORT, "20", "20 (100%)", "0", "0", "50%", "0.50 of 0.80, believed", "5%"),
        (LONG, "20", "0", "0", "20 (100%)", "0%", "not known", "95%"),
    )
    assert found.sentence.startswith("Sentences and texts: ")
    assert found.sentence.endswith("those without a label go to the large model, the others go by their score.")


def test_questions_on_which_both_models_guess_count_as_answered_by_neither_where_the_score_decides() -> None:
    """The strong model is at .8 on 20 prompts and at 0 on 20; the served quality is the headline's."""
    guesses = [UnknownPrompt(f"g{i}", f"who is number {i}?", GUESSED) for i in range(20)]
    router = routed("strong-unless-guessed", guesses, SHORT)
    table, said = kinds_table(router), training_headline(router)
    assert table is not None
    assert said.quality is not None
    assert table.rows[0][6] == f"{said.quality[0]:.2f} of 0.40, believed"
    forced = kinds_table(routed("strong", guesses, SHORT))
    assert forced is not None
    assert forced.rows[0][6].endswith("of 0.80, believed")


def test_a_kind_that_is_graded_often_enough_has_a_measured_quality() -> None:
    """All texts go to the large model, whose answers are right to 15 of 20; 19 grades are too few."""
    grades = {text: (1.0, float(i < 15)) for i, text in enumerate(TEXTS)}
    found, fewer = kinds_table(routed(), grades), kinds_table(routed(), dict(list(grades.items())[:19]))
    assert found is not None
    assert fewer is not None
    assert found.rows[1][6] == "0.75 of 0.75, measured on 20"
    assert fewer.rows[1][6] == "not known"


def test_kinds_that_are_mostly_unknown_are_named_after_training() -> None:
    said = kinds_note(routed())
    assert "sentences and texts (50% of the training prompts)" in said
    assert "0% of them stay local" in said
    assert "short answers" not in said
    assert said.endswith("`demur report`")
    assert "100% of them stay local" in kinds_note(routed("weak"))
    by_score = routed("score")  # unknown ones, too: which of them stay local is a matter of the threshold
    assert "0% of them stay local" in kinds_note(by_score, -1.0)
    assert "100% of them stay local" in kinds_note(by_score, 2.0)
    router = routed()
    before = replace(router, prompt_router=replace(router.prompt_router, calibration=None))
    assert "stay local" not in kinds_note(before)
    rare = PromptKind(FOREIGN, 1, 0, 0, (("jv", 1),))  # a mistaken language
    three = PromptKinds((PromptKind(SHORT, 299, 0, 0), PromptKind(LONG, 100, 0, 0), PromptKind(CODE, 50, 0, 0), rare))
    said = kinds_note(replace(before, prompt_router=replace(before.prompt_router, record=three.as_record())))
    assert said.startswith(
        "Do not trust it on short answers (66% of the training prompts), sentences and texts (22%) and code (11%)."
    )
    few = PromptKinds((PromptKind(SHORT, 19, 19, 0), PromptKind(LONG, 1, 0, 0)))
    assert kinds_note(replace(router, prompt_router=replace(router.prompt_router, record=few.as_record()))) == ""


def test_answers_that_were_cut_make_the_cost_too_low_where_they_cost_something() -> None:
    """30 % of the small model's answers were cut, too, but it is free."""
    (said,) = cut_notes(routed().prompt_router.record, NAMES)
    assert said.startswith("5% of large's answers were cut at 64 tokens ")
    assert "small" not in said
    assert "whole answers cost more" in said
    assert "`--max-tokens 256 --again`" in said
    router = routed()
    record = dict(router.prompt_router.record) | {"cut": {"weak": 0.3, "strong": 0.019}}
    assert cut_notes(record, NAMES) == ()


def test_of_new_prompts_it_is_said_what_they_alone_show() -> None:
    """One of four is German, and none of the training prompts; how long answers are is a guess."""
    new = [Prompt(str(i), QUESTION) for i in range(3)]
    new.append(Prompt("3", "Was ist die Hauptstadt von Frankreich und warum?"))
    kinds, cost = new_kinds_notes(routed(), new, priced=True)
    assert kinds == (
        "kinds of prompts: unlike in training: other languages (de 1) 25% (of the training prompts 0%); whether "
        "answers are short or texts is guessed by the nearest training prompt"
    )
    assert (
        "as long as those to the three nearest training prompts (the strong model's, means by kind: 10 to 90 tokens)"
        in cost
    )
    same = new_kinds_notes(routed(), new[:3], priced=False)
    assert len(same) == 1
    assert "pictures, tools and languages as in training" in same[0]


def test_of_prompts_that_were_mostly_sampled_no_length_is_guessed() -> None:
    sampled = [Prompt(text, text) for text in SHORTS[:2]]
    said = new_kinds_notes(routed(), [*sampled, Prompt("3", QUESTION)], priced=True)
    assert len(said) == 1
    assert "guessed" not in said[0]
    assert len(new_kinds_notes(routed(), [sampled[0], *[Prompt("3", QUESTION)] * 2], priced=True)) == 2


def test_eighty_columns_hold_the_table_without_cut_words(capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(
        (name, "12,345", "1,234 (10%)", "0 (0%)", "11,111 (90%)", "50%", "0.50 of 0.80, believed", "95%")
        for name in KINDS
    )
    printing.prompt_kinds(KindsTable("", rows))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80


def test_a_decision_by_score_names_the_kind_of_the_nearest_prompt_where_little_is_known_of_it() -> None:
    """Twenty of twenty-one texts show nothing, so that the one with a label says little of a prompt like it."""
    made = routed().prompt_router
    names = dict.fromkeys(SHORTS, SHORT) | {SHORTS[-1]: LONG} | dict.fromkeys(TEXTS, LONG)
    record = PromptKinds.count(names, list(map(preference, SHORTS)), LOST, english=True).as_record()
    router = replace(made, record=record)
    text, short = router.route(SHORTS[-1]), router.route(SHORTS[0])
    assert "little is known of its kind (sentences and texts)" in text.reason
    assert "little is known" not in short.reason
    assert (text.neighbours[0].untold_kind, short.neighbours[0].untold_kind) == (LONG, "")
    assert text.role == made.route(SHORTS[-1]).role
    assert "little is known" not in router.route(TEXTS[0]).reason, "the setting decides, and says why"
    assert "little is known" in "\n".join(Router(router).explain(SHORTS[-1]).lines)


def test_where_a_prompt_is_like_an_unlabelled_one_no_kind_of_a_labelled_one_is_named() -> None:
    """The score decides, but what is known of the prompt is that both models guessed on one like it."""
    guesses = [UnknownPrompt(f"g{i}", f"who is number {i}?", GUESSED) for i in range(20)]
    router = routed("strong-unless-guessed", guesses, SHORT).prompt_router
    names = dict.fromkeys(SHORTS, LONG) | {one.prompt: SHORT for one in guesses}
    kinds = PromptKinds.count(names, list(map(preference, SHORTS)), guesses, english=True)
    few = tuple(replace(one, labelled=1) if one.name == LONG else one for one in kinds.kinds)
    record = {**router.record, **replace(kinds, kinds=few).as_record()}
    found = replace(router, record=record).route(guesses[7].prompt)
    assert found.neighbours[0].untold_kind == LONG
    assert "both models guess" in found.reason
    assert "little is known" not in found.reason


def test_no_kind_is_named_where_the_record_is_of_other_prompts() -> None:
    router = routed().prompt_router
    kinds = PromptKinds((PromptKind(LONG, 3, 1, 0),), (0, 0, 0))
    for record in ({}, kinds.as_record()):
        assert "little is known" not in replace(router, record=record).route(SHORTS[0]).reason
