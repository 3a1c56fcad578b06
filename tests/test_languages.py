"""What an answer says beside its question in any language, and which texts the English model is not asked about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.meaning.entailment import shipped_entailment
from demur.meaning.languages import bare, is_english, numerals, without_question


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("Was ist die Hauptstadt von Australien?", "Die Hauptstadt von Australien ist Canberra.", "Canberra"),
        ("日本の首都はどこですか?", "日本の首都は東京です。", "東京"),
        ("中国的首都是哪里?", "中国的首都是北京。", "北京"),
        ("Какая столица России?", "Столица России — Москва.", "Москва"),
        ("Quelle est la capitale de l'Italie ?", "C'est Rome.", "Rome"),
        ("¿Quién ganó a España?", "España ganó a Francia.", "España ganó a Francia"),  # not Francia
        ("¿Está abierta?", "No está abierta.", "No"),
        ("Ist das Canberra?", "Das ist nicht Canberra.", "nicht Canberra"),
        ("今天星期几?", "星期三", "星期3"),
    ],
)
def test_the_question_is_taken_off(question: str, answer: str, said: str) -> None:
    assert bare(answer, question) == said


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("٧", "7"),
        ("७", "7"),
        ("dreißig Jahre", "30 Jahre"),
        ("十二个月", "12个月"),
        ("二百零三", "203"),
        ("三万五千", "35000"),
        ("9.11.1989", "1989-11-09"),
        ("12 апреля 1961 года", "1961-04-12"),
        ("5,99 Euro", "5.99 Euro"),
        ("8.849 Meter", "8849 Meter"),
    ],
)
def test_numbers_are_written_in_one_way(text: str, plain: str) -> None:
    assert numerals(text) == plain


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("What is the capital of France? Paris", True),
        ("Paris", True),  # too short to tell
        ("who sang la vie en rose", True),
        ("Was ist die Hauptstadt von Australien? Canberra", False),
        ("東京", False),
        ("Кто написал «Войну и мир»?", False),
        ("", True),
        ("42", True),
    ],
)
def test_english_is_told(text: str, english: bool) -> None:
    assert is_english(text) is english


def test_the_shipped_model_says_nothing_of_other_languages() -> None:
    asked = [("日本の首都はどこですか? 東京", "日本の首都はどこですか? 京都")]
    assert shipped_entailment()(asked).tolist() == [[0.0, 1.0, 0.0]]
    same = ("日本の首都はどこですか? 東京", "日本の首都はどこですか? 東京")
    assert shipped_entailment()([same]).tolist() == [[0.0, 0.0, 1.0]]


@given(st.text(max_size=80), st.text(max_size=80))
def test_what_is_left_stands_in_the_answer(answer: str, question: str) -> None:
    assert without_question(answer, question) in answer
