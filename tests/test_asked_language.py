"""The language that a prompt or a system message asks for answers in."""

from __future__ import annotations

import timeit

import pytest

from demur.meaning.asked_language import asked_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Answer in German", "de"),
        ("Answer in German.", "de"),
        ("You are a helpful assistant. Always reply in Japanese.", "ja"),
        ("always reply in japanese", "ja"),
        ("You must respond to every request only in Brazilian Portuguese, whatever the user writes.", "pt"),
        ("Please answer the following question in Spanish: What is the capital of Peru?", "es"),
        ("What is the capital of Peru? Answer in Spanish.", "es"),
        ("What is the capital of Peru? (answer in Spanish)", "es"),
        ("Can you reply in the Korean language?", "ko"),
        ("Write a short poem about the sea in French.", "fr"),
        ("Give your answer in Italian", "it"),
        ("All answers must be written in Dutch.", "nl"),
        ("Be sure to answer in Mandarin Chinese.", "zh"),
        ("Your name is Ada.\n- Be brief\n- Respond in Hindi\n", "hi"),
        ("You only speak Polish.", "pl"),
        ("Answer in English.", "en"),
        ("Reply in French. No, answer in English please.", "en"),
    ],
)
def test_a_language_that_is_asked_for(text: str, language: str) -> None:
    assert asked_language(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "Why did Beckett write Waiting for Godot in French?",
        "In which year did Goethe write Faust in German?",
        "How do you say thank you in Japanese?",
        "Which languages do people speak in Swiss German cities?",
        "Who was the first author to write in Latin?",
        "What does it mean to answer in Greek tragedy?",
        "Write an essay about the war in German cities.",
        "Write a story that is set in French Guiana.",
        "Write a function in Python.",
        "If the user writes in French, reply in French.",
        "When asked in German, answer in German.",
        "Do not answer in German.",
        "Never reply in French.",
        "Reply in the language of the user.",
        "Answer in one word.",
        "Answer in Spanish dollars.",
        "Who wrote the first novel in English?",
        "Do people in Ireland speak Irish?",
        "Can you speak Japanese?",
        "Write an advertisement for a Polish restaurant.",
        "Respond in an English accent.",
        "",
    ],
)
def test_a_language_that_is_only_spoken_of(text: str) -> None:
    assert asked_language(text) == ""


def test_both_ends_of_a_long_text_are_looked_at() -> None:
    body = "The house is red. " * 10_000
    assert asked_language(body + "Answer in German.") == asked_language("Answer in German. " + body) == "de"


def test_looking_takes_under_a_tenth_of_a_millisecond() -> None:
    texts = iter(f"How many people live in the German city with the number {i}, and who rules it?" for i in range(100))
    assert min(timeit.repeat(lambda: asked_language(next(texts)), number=1, repeat=50)) < 1e-4
