"""The setting `unknown` is read in one place: decisions, thresholds, headlines and gateway agree on what it settles."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from demur.config import RouterConfig
from demur.evaluation.replay import replay
from demur.evaluation.report.headline import expected_use, training_headline
from demur.evaluation.thresholds.calibrate import calibrate
from demur.gate.explanation import second_stage
from demur.gate.quality.two_stages import Rehearsal
from demur.gate.router import Router
from demur.gate.shares import calibration_of_share
from demur.gateway.decision.batch_error import BatchError, is_clear
from demur.gateway.settings import read_settings
from demur.labels.beliefs.unknown import (
    CUT_OFF,
    FEW_EQUAL,
    FOREIGN,
    GUESSED,
    NO_QUESTION,
    NONE_EQUAL,
    ONE_EQUAL,
    UnknownPrompt,
    guessed_questions,
    reason_of,
    unknown_facts,
)
from demur.measure.threshold import Calibration
from demur.methods import BY_NAME
from demur.prompts.words import is_question
from demur.records import FloatArray, OnUnknown
from demur.routing.known.remembered_prompts import Remembered
from demur.routing.known.unknown_setting import UNLIKE, UnknownSetting
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from test_gate_router import STRONG, first, gate_of, near

SETTINGS = get_args(OnUnknown)
TEXTS = (NONE_EQUAL, ONE_EQUAL, FEW_EQUAL, CUT_OFF, FOREIGN, NO_QUESTION, UNLIKE)
KINDS = {"sum": 0, "who": 1, "Nam": 1, "ode": 2}  # of the prompts below: the axis of each
SETTLED = {  # where questions on which both models guess, short texts, and long ones go whatever their score
    "strong-unless-guessed": {"Nam": "strong", "ode": "strong"},
    "strong": {"who": "strong", "Nam": "strong", "ode": "strong"},
    "weak": {"who": "weak", "Nam": "weak", "ode": "weak"},
    "score": {},
}


class Kinds:
    """Sums, short answers and odes at right angles; those of a kind are turned a little by their number."""

    identity = "kinds"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        rows = np.zeros((len(texts), 4), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[KINDS[text[:3]]] = 1.0
            row[3] = 0.01 * int(re.sub(r"\D", "", text))
        return rows


TRAINING = [TrainingPrompt(f"sum {i}", 0.6 + 0.3 * (i % 2), None, None) for i in range(40)]
UNKNOWN = [UnknownPrompt(f"w{i}", f"who {i}?", GUESSED) for i in range(20)] + [
    UnknownPrompt(f"o{i}", f"ode {i}", NONE_EQUAL) for i in range(10)
]
ASKED = [f"{kind} {i}" for kind in ("sum", "who is", "Name", "ode") for i in range(8)]


def trained(on_unknown: OnUnknown = "strong-unless-guessed") -> PromptRouter:
    method = BY_NAME["kernel"]()
    given = {"unknown": UNKNOWN, "on_unknown": on_unknown}
    router = train_router(Kinds(), method, TRAINING, weak="small", strong="large", **given)  # type: ignore[arg-type]
    return replace(router, calibration=Calibration(float(router.training_scores.mean()), 0.5, 40, "half"))


@pytest.mark.parametrize("value", SETTINGS)
def test_what_each_value_settles(value: OnUnknown) -> None:
    setting = UnknownSetting(value)
    assert not setting.settles("")
    assert {setting.settles(reason) for reason in TEXTS} == {value != "score"}
    assert setting.settles(GUESSED) == (value in ("strong", "weak"))
    assert setting.role == ("weak" if value == "weak" else "strong")
    assert setting.settled_rows(["", GUESSED, FOREIGN]).tolist() == [
        False,
        value in ("strong", "weak"),
        value != "score",
    ]


def test_the_score_decides_on_questions_on_which_both_models_guess_and_texts_go_to_the_strong_model() -> None:
    """Nothing is gained where both guess, which was measured; of texts the samples show nothing."""
    router = trained()
    question = router.route("who is 5", threshold=2.0)
    assert (question.role, question.unknown, question.stage) == ("weak", True, "prompt")
    assert question.reason.startswith("score ")
    assert question.reason.endswith("; both models guessed on prompts like this one; the score decides")
    assert router.route("who is 5", threshold=-1.0).role == "strong"
    text = router.route("ode 5", threshold=2.0)
    assert (text.role, text.unknown, text.stage) == ("strong", True, "unknown")
    assert text.reason == (
        f"unknown: nearest to a prompt that could not be labelled ({NONE_EQUAL}); such prompts go to the strong model "
        "(unknown = strong-unless-guessed)"
    )
    name = router.route("Name 5", threshold=2.0)  # as near to those questions, but it asks for a text
    assert (name.role, name.untold, name.stage) == ("strong", NO_QUESTION, "unknown")
    assert "it asks no question, so it may have no right answer" in name.reason
    by_score = trained("score").route("ode 5", threshold=2.0)
    assert by_score.reason.endswith("; such prompts go by their score (unknown = score)")


def test_requests_that_agree_by_chance_go_to_the_strong_model_and_questions_like_them_by_their_score(
    tmp_path: Path,
) -> None:
    chance = [UnknownPrompt(f"o{i}", f"ode {i}", FEW_EQUAL) for i in range(10)]
    given = {"weak": "small", "strong": "large", "unknown": chance}
    train_router(Kinds(), BY_NAME["kernel"](), TRAINING, **given).save(tmp_path)  # type: ignore[arg-type]
    router = PromptRouter.load(tmp_path, encoder=Kinds())
    text = router.route("ode 5", threshold=2.0)
    assert (text.role, text.untold, text.stage) == ("strong", FEW_EQUAL, "unknown")
    assert FEW_EQUAL in text.reason
    question = router.route("ode 5?", threshold=2.0)
    assert (question.role, question.untold, question.stage) == ("weak", "", "prompt")
    assert router.learned.untold[len(TRAINING) :] == [FEW_EQUAL] * 10


@pytest.mark.parametrize("value", SETTINGS)
def test_share_threshold_replay_and_decisions_agree(tmp_path: Path, value: OnUnknown) -> None:
    router = trained(value)
    router.save(tmp_path / "router")
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in ASKED))
    given = {"router": str(tmp_path / "router"), "encoder": Kinds()}
    set_to = calibrate(tmp_path / "p.jsonl", strong_share=0.5, anyway=True, **given)  # type: ignore[arg-type]
    loaded = Router.load(tmp_path / "router", encoder=Kinds())
    assert loaded.prompt_router.on_unknown == value
    looked = loaded.prompt_router.look_held_out(ASKED)
    settled = [made.role if made.stage == "unknown" else None for made in map(loaded.route, ASKED)]
    assert settled == [SETTLED[value].get(text[:3]) for text in ASKED]
    assert loaded.prompt_router.unknown_setting.settled_rows(looked.untold).tolist() == [
        one is not None for one in settled
    ]
    by_score = np.where(looked.scores >= loaded.threshold, "strong", "weak")
    strong = np.mean([(fixed or own) == "strong" for fixed, own in zip(settled, by_score, strict=True)])
    assert expected_use(loaded, looked).strong.mean() == strong
    assert set_to.strong_share == pytest.approx(strong)
    assert set_to.unknown == pytest.approx(len(SETTLED[value]) / 4)
    again = replay(tmp_path / "p.jsonl", **given)  # type: ignore[arg-type]
    assert (again.strong_share, again.headline.strong_share) == pytest.approx((strong, strong))
    assert again.unknown_share == pytest.approx(len(SETTLED[value]) / 4)  # what the note says
    assert again.unlabelled_share == pytest.approx(3 / 4)  # two of three kinds go by their score with some settings
    guesses = "where both models guess, as on 33% of these, the score decides" in "".join(again.details)
    assert guesses == (value == "strong-unless-guessed")
    assert again.headline.by_setting == pytest.approx(len(SETTLED[value]) / 4)
    notes = dict(again.headline.notes)
    assert ("unknown" in notes) == bool(SETTLED[value])
    assert ("small" if value == "weak" else "large") in notes.get("unknown", "small and large")


@pytest.mark.parametrize("value", SETTINGS)
def test_a_share_of_the_training_prompts_counts_guesses_by_their_scores(value: OnUnknown) -> None:
    """40 labelled prompts, 20 guesses and 10 texts; guesses are scored by fits that did not see them."""
    router = Router(trained(value))
    found, settled = calibration_of_share(router, 0.5), SETTLED[value]
    fixed = 20 * ("who" in settled) + 10 * ("ode" in settled)
    assert found.n == 70
    assert found.unknown == pytest.approx(fixed / 70)
    learned = router.prompt_router.learned
    assert learned.untold == [""] * 40 + [GUESSED] * 20 + [NONE_EQUAL] * 10
    assert router.prompt_router.unknown
    assert learned.scores[40:60].tolist() == [router.prompt_router.unknown.held_out[f"who {i}?"] for i in range(20)]
    assert len(router.training_finals) == 70 - fixed
    goes = expected_use(router, learned, found.threshold).strong.mean()
    assert found.strong_share == pytest.approx(goes)
    assert training_headline(router).by_setting == pytest.approx(fixed / 70)


def test_guesses_beside_drafts_count_as_often_as_labelled_prompts() -> None:
    """Each is expected to meet five drafts, ten labelled prompts of .1 to 1 and five guesses of .2."""
    past = Rehearsal(np.repeat(np.arange(1, 11) / 10, 3), np.zeros((1, 30)))
    guesses = tuple(UnknownPrompt(str(i), f"p{i}?", GUESSED) for i in range(5))
    known = Remembered(guesses, np.ones((5, 1)), np.full(5, 0.2))
    router = Router(first(unknown=known, on_unknown="score"), gate_of(0.0), active=True, rehearsal=past)
    labelled = np.repeat(np.arange(1, 11) / 10, 5).tolist()
    assert router.training_finals.tolist() == pytest.approx(sorted([*labelled, *[0.2] * 25]))
    assert calibration_of_share(router, 0.4).strong_share == pytest.approx(0.4)  # .5 to 1.0, of 15 prompts
    to_strong = replace(router, prompt_router=replace(router.prompt_router, on_unknown="strong"))
    assert to_strong.training_finals.tolist() == labelled


def test_a_reason_is_certain_where_no_unknown_prompt_of_another_reason_is_as_near() -> None:
    """The reason may decide where it goes, so a batch's error must not exchange it."""
    guess, text = np.array([1.0, 0.0]), np.array([0.8, 0.6])
    prompts = (UnknownPrompt("1", "a", GUESSED), UnknownPrompt("2", "b", NONE_EQUAL))
    known = Remembered(prompts, np.array([guess, text]))
    asked = np.array([[0.96, 0.28], [1.0, 0.0]])  # 0.960 and 0.936; 1.0 and 0.8
    reasons, margins = known.look(asked, np.array([0.1, 0.1]), 0.0)
    assert reasons == [GUESSED, GUESSED]
    assert margins.tolist() == pytest.approx([0.024, 0.2])
    alone = Remembered(prompts[:1], guess[None])
    assert alone.look(asked, np.array([0.1, 0.1]), 0.0)[1].tolist() == pytest.approx([0.86, 0.9])
    assert known.look(asked, np.array([0.99, 2.0]), 0.0)[1].tolist() == pytest.approx([0.03, 1.0])  # not unknown


def test_only_what_the_setting_settles_is_clear_whatever_its_score() -> None:
    router = Router(trained())
    threshold = router.threshold

    class Asked:
        gate, able = False, None

        def __init__(self) -> None:
            self.threshold: float | None = threshold

    looked = replace(router.prompt_router.look_at(["who is 3", "ode 3"]), scores=np.full(2, threshold))
    error = BatchError(score=0.01, similarity=1e-6)
    assert [is_clear(router, looked, row, error, Asked()) for row in (0, 1)] == [False, True]


def test_the_gate_is_not_asked_about_what_the_setting_settles() -> None:
    gate = gate_of(0.0, 0.0)
    settled = replace(STRONG, stage="unknown")
    assert second_stage(gate, settled, "") == "not asked, the setting `unknown` decides"
    assert second_stage(gate, STRONG, "") == "not asked, the score is further than 0.250 from the threshold"
    assert second_stage(None, near(), "no gate was trained") == "none (no gate was trained)"


def test_a_router_saved_with_another_setting_keeps_it(tmp_path: Path) -> None:
    for value in SETTINGS:
        trained(value).save(tmp_path / value)
        assert PromptRouter.load(tmp_path / value, encoder=Kinds()).on_unknown == value
    description = json.loads((tmp_path / "score" / "router.json").read_text())
    del description["unknown"]  # as before there was a setting
    (tmp_path / "score" / "router.json").write_text(json.dumps(description))
    assert PromptRouter.load(tmp_path / "score", encoder=Kinds()).on_unknown == "strong"


def test_unless_said_otherwise_questions_on_which_both_models_guess_go_by_their_score() -> None:
    """On 240 questions that nothing was chosen on their scores were .127 [.034, .211] of APGR better than the strong
    model alone; of texts and requests samples show nothing."""
    assert RouterConfig().unknown == first().on_unknown == "strong-unless-guessed"


def test_the_gateways_setting_has_the_same_values(tmp_path: Path) -> None:
    assert read_settings(None).unknown == ""
    for value in SETTINGS:
        (tmp_path / "gateway.toml").write_text(f'unknown = "{value}"\n')
        assert read_settings(tmp_path / "gateway.toml").unknown == value


def test_the_labels_say_where_prompts_of_each_reason_go() -> None:
    guess, text = UnknownPrompt("1", "Who won?", GUESSED), UnknownPrompt("2", "b", NONE_EQUAL)
    name = UnknownPrompt("3", "Name a cat.", GUESSED)
    every = [guess, guess, name, text]
    assert guessed_questions(every) == 2
    assert [line for _, line in unknown_facts(every)[1:]] == [
        "2 are questions on which both models guess: such prompts go by their score",
        "the other 2: such prompts go to the large model",
    ]


@pytest.mark.parametrize(
    ("setting", "go"),
    [("strong", "to the large model"), ("weak", "to the small model"), ("score", "by their score")],
)
def test_a_setting_that_knows_no_questions_sends_all_of_them_to_one_place(setting: OnUnknown, go: str) -> None:
    every = [UnknownPrompt("1", "Who won?", GUESSED), UnknownPrompt("2", "b", NONE_EQUAL)]
    assert unknown_facts(every, setting)[1:] == [("when served", f"such prompts go {go}")]


def test_where_all_are_of_one_kind_one_line_says_where_they_go() -> None:
    guess, text = UnknownPrompt("1", "Who won?", GUESSED), UnknownPrompt("2", "b", NONE_EQUAL)
    assert unknown_facts([guess])[1:] == [
        ("when served", "they are questions on which both models guess: such prompts go by their score")
    ]
    assert unknown_facts([text])[1:] == [("when served", "such prompts go to the large model")]


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        ("Who wrote Emma?", True),
        ("who sang the theme of the film", True),
        ("In which year did it end", True),
        ("Tom had 5 apples and bought 3. How many has he?", True),
        ("日本の首都はどこですか？", True),
        ("What is a monad? Explain.", True),
        ("What is a monad? Answer in two or three sentences.", True),
        ("What is 17 * 23? Think step by step.", True),
        ("Johnny wrote an essay with 150 words. How many pages is it?", True),
        ("How many pages has an essay of 500 words?", True),
        ("What does 'in detail' mean?", True),
        ("What is a monad? Explain at length.", False),
        ("How does a jet engine work? Describe it in great detail.", False),
        ("Why did Rome fall? Write a short essay.", False),
        ("Why did Rome fall? Answer in about 500 words.", False),
        ("Why did Rome fall, in three paragraphs?", False),
        ("Write a slogan for a shop. One line only.", False),
        ("Give a title for a story about a man who is afraid of the sea.", False),
        ("", False),
    ],
)
def test_only_a_question_has_an_answer_to_guess_at(prompt: str, asks: bool) -> None:
    assert is_question(prompt) == asks
    assert reason_of(GUESSED, prompt) == (GUESSED if asks else NO_QUESTION)
    assert reason_of(NONE_EQUAL, prompt) == NONE_EQUAL
    assert reason_of("", prompt) == ""
