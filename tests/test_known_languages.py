"""Languages of training prompts: which encoder they ask for, and which prompts are unlike them."""

from __future__ import annotations

import timeit
from dataclasses import replace
from pathlib import Path

import pytest

from demur.meaning.rules.known_languages import KnownLanguages
from demur.meaning.rules.languages import language_of
from demur.methods import BY_NAME
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.known.unknown_setting import ANOTHER_LANGUAGE
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router

ENGLISH = [f"What is the capital of country number {i}?" for i in range(100)]
GERMAN = [f"Was ist die Hauptstadt von Land Nummer {i}?" for i in range(100)]
JAPANESE = "日本の首都はどこですか?"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of Japan?", "en"),
        ("Wie heißt die Hauptstadt von Japan?", "de"),
        (JAPANESE, "ja"),
        ("一年有几个月?", "zh"),  # the detector calls it Wu
        ("ما هي عاصمة مصر؟", "ar"),
        ("Какая столица России?", "ru"),
        ("Paris", ""),
        ("42", ""),
        ("東京", "zh"),
    ],
)
def test_the_language_of_a_text(text: str, language: str) -> None:
    assert language_of(text) == language


def test_mostly_english_prompts_keep_the_english_encoder() -> None:
    assert KnownLanguages.of(ENGLISH[:80] + GERMAN[:20]).encoder == "bge-small-6"
    assert KnownLanguages.of(ENGLISH[:79] + GERMAN[:21]).encoder == "multilingual-e5-small"
    assert KnownLanguages.of(GERMAN).encoder == "multilingual-e5-small"  # no share of English at all
    assert KnownLanguages.of(["42", "Paris"]).encoder == "bge-small-6"  # nothing is told of them


def test_the_choice_is_said() -> None:
    found = KnownLanguages.of(ENGLISH[:1] + GERMAN[:3])
    assert found.sentence == "encoder multilingual-e5-small: prompts are de 75%, en 25%"


def test_a_language_of_one_in_a_hundred_is_known() -> None:
    known = KnownLanguages.of(ENGLISH[:99] + GERMAN[:1])
    assert known.are_known([GERMAN[5], JAPANESE, "42"]).tolist() == [True, False, True]
    rarer = KnownLanguages.of(ENGLISH + GERMAN[:1])  # one in 101
    assert rarer.are_known([GERMAN[5]]).tolist() == [False]


@pytest.fixture(scope="module")
def router() -> PromptRouter:
    rows = [TrainingPrompt(text, 0.4 + 0.2 * (i % 2), None, None) for i, text in enumerate(ENGLISH)]
    return train_router(LetterEncoder(), BY_NAME["kernel"](), rows, weak="small", strong="large")


def test_a_router_of_english_prompts_says_that_japanese_is_unlike_them(router: PromptRouter, tmp_path: Path) -> None:
    assert router.record["languages"] == {"en": 1.0}
    assert router.route(ENGLISH[0]).familiar
    router.save(tmp_path)
    for one in (router, PromptRouter.load(tmp_path)):
        # letters alone are no reason: the encoder of this test sees none in Japanese, and so the same vector
        decision = one.route(
            "日本の首都は capital of country number 7 どこですか どこですか どこですか どこですか どこですか?"
        )
        assert not decision.familiar
        assert "unlike any training prompt, in meaning, length or language" in decision.reason


def test_routers_saved_before_languages_were_recorded_do_not_compare_them() -> None:
    assert KnownLanguages.from_record({}) is None


def test_telling_a_prompts_language_takes_under_a_millisecond() -> None:
    language_of("Ein Satz, damit der Erkenner geladen ist.")
    texts = iter(f"Wie viele Einwohner hat die Stadt mit der Nummer {i}?" for i in range(100))
    assert min(timeit.repeat(lambda: language_of(next(texts)), number=1, repeat=50)) < 1e-3


def test_the_four_most_frequent_languages_are_named() -> None:
    shares = {"en": 0.5, "de": 0.2, "fr": 0.15, "es": 0.1, "it": 0.05}
    assert KnownLanguages(shares).sentence.endswith("en 50%, de 20%, fr 15%, es 10%")


@pytest.mark.parametrize("asked", ["Answer in German.", "Please reply in German: "])
def test_a_prompt_that_asks_for_answers_in_another_language_is_in_one_that_was_not_learned(
    router: PromptRouter, asked: str
) -> None:
    """The labels are of answers in English: they tell nothing of the small model's German."""
    prompt = f"{asked} {ENGLISH[7]}" if asked.endswith(": ") else f"{ENGLISH[7]} {asked}"
    router = replace(router, record={**router.record, "unlike": "language"})
    decision = router.route(prompt)
    assert (decision.untold, decision.role, decision.stage) == (ANOTHER_LANGUAGE, "strong", "unknown")
    assert not router.route(prompt.replace("German", "English")).unknown


def test_answers_in_a_language_that_training_prompts_ask_for_are_known(tmp_path: Path) -> None:
    texts = [f"{text} Answer in German." if i % 10 == 0 else text for i, text in enumerate(ENGLISH)]
    rows = [TrainingPrompt(text, 0.4 + 0.2 * (i % 2), None, None) for i, text in enumerate(texts)]
    train_router(LetterEncoder(), BY_NAME["kernel"](), rows, weak="small", strong="large").save(tmp_path)
    known = KnownLanguages.from_record(PromptRouter.load(tmp_path).record)
    assert known
    assert known.are_known([f"Where? Answer in {name}." for name in ("German", "French")]).tolist() == [True, False]
