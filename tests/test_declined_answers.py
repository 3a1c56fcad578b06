"""Refusals: one meaning of their own, and no answer is taken for one."""

from __future__ import annotations

import pytest

from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import exact_match
from demur.meaning.rules.decide import ruling
from demur.meaning.rules.declined_answers import declines, says_nothing


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I can’t assist with this request.",
        "Sorry, I cannot provide that information",
        "As an AI language model, I cannot answer personal questions.",
        "Unfortunately, as an AI, I am unable to browse the internet.",
        "I do not have access to real-time data.",
        "I don't know.",
        " I am not sure",
        "I won't.",
    ],
)
def test_refusals(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Paris",
        "Sorry Seems To Be the Hardest Word",
        "I Can't Explain",
        "I Don't Know How to Love Him",
        "I can't believe it's not butter",
        "I don't know, but I think it is Paris",
        "I'm sorry, I cannot give you legal advice; however, the notice period is four weeks.",
        "I cannot say it better: " + "word " * 80,
        "",
    ],
)
def test_answers_are_no_refusals(answer: str) -> None:
    assert not declines(answer)


def test_all_refusals_of_a_prompt_are_one_meaning_and_no_model_is_asked() -> None:
    answers = ["I'm sorry, but I can't help with that.", "Paris", "I don't know.", ""]
    found = meaning_clusters(["Where?"], [answers], entailment=exact_match)
    assert found.ids[0].tolist() == [0, 1, 0, 2]
    assert found.pairs == (0,)  # Paris and the refusals: decided by rule
    assert ruling("I don't know.", "Paris") == ("an answer that declines is its own meaning", False)
    assert ruling("I don't know.", "I cannot answer that.") == ("answers that decline", True)


def test_a_refusal_has_60_spaces_at_most() -> None:
    assert declines("I don't know." + " x" * 58) is True
    assert declines("I don't know." + " x" * 59) is False
    assert declines("Paris") is False


def test_an_empty_answer_and_a_refusal_say_nothing() -> None:
    assert [says_nothing(text) for text in ("", " \u200b", "I don't know.", "Paris")] == [True, True, True, False]


@pytest.mark.parametrize(
    "answer",
    [
        "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
        "Leider kann ich diese Frage nicht beantworten.",
        "Je suis désolé, mais je ne peux pas vous aider avec cela.",
        "Lo siento, no puedo ayudarte con eso.",
        "Mi dispiace, non posso aiutarti.",
        "Desculpe, não posso ajudar com isso.",
        "Het spijt me, ik kan u daarmee niet helpen.",
        "Przykro mi, nie mogę w tym pomóc.",
        "Извините, я не могу помочь с этим.",
        "Üzgünüm, bu konuda yardımcı olamam.",
        "申し訳ありませんが、そのご質問にはお答えできません。",
        "抱歉,我无法回答这个问题。",
        "죄송하지만 그 질문에는 답변할 수 없습니다.",
        "عذراً، لا أستطيع مساعدتك في ذلك.",
        "क्षमा करें, मैं इसमें मदद नहीं कर सकता।",
        "Я не знаю.",
        "わかりません。",
    ],
)
def test_refusals_in_other_languages(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Lo siento, no puedo asistir a la fiesta el sábado.",  # a letter that was asked for
        "Leider nein, erst am Montag.",
        "Ich weiß nicht, was soll es bedeuten",  # a poem
        "Je ne sais pas, peut-être Lyon.",
        "Извините, я не могу помочь с этим, но столица — Париж.",
        "すみません、その商品は東京にあります。",
    ],
)
def test_answers_in_other_languages_are_no_refusals(answer: str) -> None:
    assert not declines(answer)


def test_refusals_in_two_languages_are_one_meaning() -> None:
    answers = ["抱歉,我无法回答这个问题。", "I'm sorry, I can't help with that.", "北京"]
    found = meaning_clusters(["中国的首都是哪里?"], [answers], entailment=exact_match)
    assert found.ids[0].tolist() == [0, 0, 1]
