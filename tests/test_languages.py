"""What an answer says beside its question in any language, and which texts the English model is not asked about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.meaning.entailment import shipped_entailment
from demur.meaning.rules import languages
from demur.meaning.rules.languages import bare, is_english, language_of, numerals, without_question


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
        ("Is water wet? Yes", True),  # Afrikaans to the detector, by 1.7 nats
        ("An old man dislikes nature.", True),
        ("Was ist die Hauptstadt von Australien? Canberra", False),
        ("東京", False),
        ("Кто написал «Войну и мир»?", False),
        ("", True),
        ("42", True),
        ("Can penguins fly? No", True),  # the detector takes it for Malay, by 7 nats
        ("Is water wet? Canberra", True),  # for Afrikaans, by 5
        ("Wer schrieb den Faust? Goethe", False),  # for German, by 24
    ],
)
def test_english_is_told(text: str, english: bool) -> None:
    assert is_english(text) is english


@pytest.mark.parametrize("name", ["entailment_hard", "entailment_second"])
def test_the_shipped_model_is_asked_about_every_pair_of_the_english_sets(name: str) -> None:
    lines = (Path(__file__).parents[1] / "benchmarks" / "data" / f"{name}.jsonl").read_text("utf-8").splitlines()
    sides = [f"{row['question']} {row[side]}" for row in map(json.loads, lines) for side in ("a", "b")]
    assert [side for side in sides if not is_english(side)] == []


def test_the_shipped_model_says_nothing_of_other_languages() -> None:
    asked = [("日本の首都はどこですか? 東京", "日本の首都はどこですか? 京都")]
    assert shipped_entailment()(asked).tolist() == [[0.0, 1.0, 0.0]]
    same = ("日本の首都はどこですか? 東京", "日本の首都はどこですか? 東京")
    assert shipped_entailment()([same]).tolist() == [[0.0, 0.0, 1.0]]


@given(st.text(max_size=80), st.text(max_size=80))
def test_what_is_left_stands_in_the_answer(answer: str, question: str) -> None:
    assert without_question(answer, question) in answer


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("été à l'école d", True),  # eleven letters are too few to tell
        ("été à l'école du", False),  # twelve are enough
        ("éèàçù", True),  # letters with accents are Latin as well
        ("abc где", True),  # as many Latin letters as others: still too short to tell
        ("abc гдеё", False),
        ("La vie en rose, chanson de Piaf, is", False),  # one word that other languages have too
        ("La vie en rose, chanson de Piaf, is by", True),
        ("Blue birds fly over green hills", True),  # none: the detector tells
    ],
)
def test_the_language_is_told_from_script_words_and_detector(text: str, english: bool) -> None:
    assert is_english(text) is english


def test_only_the_beginning_of_a_long_text_tells_its_language() -> None:
    french, english = ("la maison est près de la rivière " * 40)[:1000], " the house stands near the river" * 200
    assert is_english(french + english) is False
    assert is_english(english[:1000] + "где это " * 1000) is True


ASKED = "Was ist die Hauptstadt von Australien?"


@pytest.mark.parametrize(
    ("question", "answer", "left"),
    [
        (ASKED, "Die Hauptstadt von Australien ist Canberra.", "Canberra"),
        (ASKED, "Canberra ist die Hauptstadt von Australien", "Canberra"),  # from either end
        (ASKED, "Die Hauptstadt von Australien ist Rio Grande.", "Rio Grande"),
        (ASKED, "Die Hauptstadt von Australien", "Die Hauptstadt von Australien"),  # nothing would be left
        ("Ist Canberra oder Sydney die Hauptstadt?", "Canberra oder Sydney", "Canberra oder Sydney"),
        (ASKED, "Die Hauptstadt von Australien ist 1913 gegründet", "1913 gegründet"),
        ("Seit wann ist die Hauptstadt von Australien geplant?", "Die Hauptstadt von Australien: 1908", "1908"),
        ("Wer war Kanzler 1950?", "Kanzler 1950 Adenauer", "Adenauer"),  # two words are enough to be recognised
        ("Wer war Kanzler?", "Kanzler war Adenauer", "Kanzler war Adenauer"),  # one is not
        ("Anna ist wie alt?", "Anna ist 30", "30"),  # a copula that the question has too
        ("Wo?", "Rome.", "Rome."),
        ("한국의 수도는 어디입니까?", "한국의 수도는 서울입니다.", "서울"),
        ("대한민국 수도 어디?", "대한민국 수도 서울", "서울"),  # Korean has spaces
        ("日本の首都はどこですか?", "日本の首都東京", "日本の首都東京"),  # without a copula a word might be cut
        ("ABC社の社長は誰ですか?", "ABC社の社長は田中です。", "田中"),
        ("何ですか?", "です", "です"),  # an ending alone is all there is
        ("Was sind die drei Farben?", "die drei farben waren", "die drei farben waren"),  # question and copula alone
        ("What are the colours of the flag?", "the colours of the flag were", "the colours of the flag were"),
    ],
)
def test_what_is_left_beside_the_question(question: str, answer: str, left: str) -> None:
    assert without_question(answer, question) == left


@pytest.mark.parametrize(("rest", "most"), [("Rot ", 8), ("Grün ", 32)])
def test_an_explanation_is_no_name(rest: str, most: int) -> None:
    """At most eight words are left beside the question; of scripts that are not ASCII four times as many."""
    asked = "Die Farben der Flagge sind"
    for words, found in ((most, (rest * most).strip()), (most + 1, f"{asked} {rest * (most + 1)}".strip())):
        assert without_question(f"{asked} {rest * words}", "Was sind die Farben der Flagge?") == found


def test_a_long_answer_keeps_its_question() -> None:
    asked = "Die Hauptstadt von Australien ist "
    name = "C" + "a" * (999 - len(asked))
    assert without_question(asked + name, ASKED) == name
    assert without_question(f"{asked}{name}a", ASKED) == f"{asked}{name}a"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("二〇二四年", "2024年"),  # digit by digit
        ("十二", "12"),
        ("十二万", "120000"),
        ("五千", "5000"),
        ("สาม", "3"),  # words of a script without spaces
        ("สิบสองเดือน", "12 เดือน"),
        ("เก้าสิบเก้าปี", "99 ปี"),
        ("3.1.2024", "2024-01-03"),
        ("vingt et un ans", "21 ans"),
        ("Rot.", "Rot"),
    ],
)
def test_number_words_and_digits_of_other_scripts_are_read(text: str, plain: str) -> None:
    assert numerals(text) == plain


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France?", "en"),
        ("What is the", ""),  # nine letters are too few to tell
        ("Blue birds fly", "en"),  # twelve are enough
        ("Was ist die Hauptstadt von Australien?", "de"),
        ("中国的首都是哪里", "zh"),
    ],
)
def test_a_language_has_its_code(text: str, language: str) -> None:
    assert language_of(text) == language


# -- numbers of other languages, by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("deux", "2"),
        ("vingt et un ans", "21 ans"),  # three words, the most that a number has
        ("vinte e dois anos", "22 anos"),
        ("สองคน", "2 คน"),  # three letters, the fewest
        ("เก้าสิบเก้าบาท", "99 บาท"),
        ("Deux chats", "2 chats"),
        ("deux.", "2"),
        ("les deux", "les deux"),  # not the leading word
        ("1.234.567", "1234567"),
        ("1.23", "1.23"),
        ("3,5", "3.5"),
        ("3,55 km", "3.55 km"),
        ("3,555", "3,555"),
        ("12.05.1998", "1998-05-12"),
        ("3. mai 2001", "2001-05-03"),
        ("3 de mayo de 2001", "2001-05-03"),
        ("5 декабря 1999 года", "1999-12-05"),
        ("२४", "24"),
        ("三百五", "305"),  # written without its tens
        ("十二", "12"),
        ("二十万", "200000"),
        ("一万二千", "12000"),
        ("〇", "0"),
        ("一九九八", "1998"),
        ("Ende !", "Ende"),
    ],
)
def test_numbers_are_numerals(text: str, plain: str) -> None:
    assert numerals(text) == plain


@pytest.mark.parametrize(
    ("number", "rest", "found"),
    [
        (100, ["zwei"], "102"),
        (100, ["zwei", "Häuser"], "102 Häuser"),
        (20, ["zwei", "drei"], "22 drei"),  # its place is taken
        (22, ["zwei"], "22 zwei"),
        (100, ["Häuser"], "100 Häuser"),
        (5, [], "5"),
    ],
)
def test_number_words_fill_the_zeros_of_a_number(number: int, rest: list[str], found: str) -> None:
    assert languages._with_lower_places(number, rest) == found


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Die Stadt", [("die", 0, 3), ("stadt", 4, 9)]),
        ("l'eau, ja", [("l'eau", 0, 5), ("ja", 7, 9)]),
        ("東京 x", [("東", 0, 1), ("京", 1, 2), ("x", 3, 4)]),
        ("a — b", [("a", 0, 1), ("—", 2, 3), ("b", 4, 5)]),
        ("1.5", [("1.5", 0, 3)]),
    ],
)
def test_the_tokens_of_a_text_and_where_they_stand(text: str, tokens: list[tuple[str, int, int]]) -> None:
    assert languages._tokens(text) == tokens


def test_a_run_stands_in_tokens_as_a_whole() -> None:
    assert languages._occurs_in(["b", "c"], ["a", "b", "c"])
    assert languages._occurs_in(["a", "b", "c"], ["a", "b", "c"])
    assert not languages._occurs_in(["c", "b"], ["a", "b", "c"])
    assert not languages._occurs_in(["a", "b", "c", "d"], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("text", "names"), [("Rom", True), ("3", True), ("rom", False), ("東", True), ("", False), ("-", False)]
)
def test_what_begins_like_a_name_or_a_number(text: str, names: bool) -> None:
    assert languages._names_something(text) is names


@pytest.mark.parametrize(
    ("text", "plain"), [("東京です。", "東京"), ("です", "です"), ("Rom.", "Rom."), ("서울입니다", "서울")]
)
def test_a_polite_ending_is_taken_off(text: str, plain: str) -> None:
    assert languages._without_ending(text) == plain


@pytest.mark.parametrize(
    ("text", "ahead", "english"),
    [
        ("Blue birds fly over some hills", 4.0, True),  # the margin
        ("Blue birds fly over many hills", 4.5, False),
        ("Can birds fly over green hills", 12.0, True),  # the margin of questions
        ("Can birds fly over small hills", 12.5, False),
        ("Blue birds fly over all hills", -3.0, True),
    ],
)
def test_the_detector_must_be_sure_by_more_than_the_margin(
    text: str, ahead: float, english: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(languages, "_log_probabilities", lambda text: {"de": ahead - 50.0, "en": -50.0, "fr": -90.0})
    assert is_english.__wrapped__(text) is english


def test_the_language_of_the_first_1000_characters_counts() -> None:
    assert language_of("." * 986 + "Blue birds fly") == "en"  # its twelve letters end at the thousandth character
    assert language_of("." * 987 + "Blue birds fly over many hills") == ""
    assert language_of("." * 1000 + "Blue birds fly") == ""
    assert language_of("") == ""
