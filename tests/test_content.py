"""Answers in other languages that say the same beside their question, and near misses that must not be merged."""

from __future__ import annotations

import time

import pytest

from demur.meaning.clusters import meaning_clusters
from demur.meaning.compare import entail
from demur.meaning.entailment import exact_match
from demur.meaning.rules.content import says_the_same, unify
from demur.meaning.rules.final_answer import read_final_answers


@pytest.mark.parametrize(
    ("question", "a", "b"),
    [
        ("¿Quién pintó el Guernica?", "Pablo Picasso", "El Guernica fue pintado por Pablo Picasso."),
        ("Wo liegt der Schwarzwald?", "in Baden-Württemberg", "Der Schwarzwald liegt in Baden-Württemberg."),
        ("W jakim mieście jest Wawel?", "w Krakowie", "Kraków"),  # in another case after a preposition
        ("Кто написал «Евгения Онегина»?", "Александр Сергеевич Пушкин", "А. С. Пушкин"),
        ("Quem escreveu Os Maias?", "Eça de Queirós", "Queirós"),
        ("Ist die Erde eine Scheibe?", "Nein.", "Nein, sie ist annähernd eine Kugel."),
        ("¿En qué año terminó la guerra?", "1939", "La guerra terminó en 1939."),
        ("¿Cuántos planetas hay en el sistema solar?", "ocho", "8 planetas"),  # hay is "or" in Vietnamese
        ("Wie viele Länder sind es?", "16", "Es sind sechzehn Länder."),
        ("造纸术是谁发明的?", "蔡伦", "造纸术是蔡伦发明的。"),
        ("会议几点开始?", "下午三点", "15点"),
        ("相対性理論を提唱したのは誰ですか?", "アインシュタイン", "アルベルト・アインシュタイン"),
        ("가게가 열려 있나요?", "네, 열려 있습니다.", "네, 가게가 열려 있어요."),
        ("Bir yılda kaç ay vardır?", "12 ay", "on iki ay"),
        ("एक साल में कितने महीने होते हैं?", "12 महीने", "बारह महीने"),
        ("מהי בירת ישראל?", "ירושלים", "בירת ישראל היא ירושלים."),
    ],
)
def test_the_same_beside_the_question(question: str, a: str, b: str) -> None:
    assert says_the_same(a, b, question)
    assert says_the_same(b, a, question)
    assert entail(question, a, b, entailment="exact").same


@pytest.mark.parametrize(
    ("question", "a", "b"),
    [
        ("日本の首都はどこですか?", "東京", "京都"),
        ("日本の首都はどこですか?", "京都", "東京都"),  # it stands in it, and says another thing
        ("会議は何時ですか?", "3時", "13時"),
        ("可以退货吗?", "可以退货。", "不可以退货。"),
        ("Ai là tác giả Truyện Kiều?", "Nguyễn Du", "Nguyễn Trãi"),  # "du" is an article elsewhere
        ("Ist der Laden offen?", "Der Laden ist offen.", "Der Laden ist nicht offen."),
        ("Wohin fährt der Zug?", "nach Köln", "aus Köln"),
        ("¿Quién ganó a España?", "Francia", "España ganó a Francia."),
        ("Wer ist größer, Ana oder Luis?", "Ana", "Luis ist größer als Ana."),
        ("Quelle est la distance ?", "3 kilomètres", "3 mètres"),
        ("Wie viele Tage dauert es?", "3 Tage", "3 Stunden"),
        ("Wer hat das Radium entdeckt?", "Albert Einstein", "Alfred Einstein"),
        ("Кто написал «Войну и мир»?", "Лев Толстой", "А. Н. Толстой"),
        ("Wo steht das Haus?", "in Austria", "Australia"),
        ("In welchem Staat liegt es?", "Virginia", "West Virginia"),  # only persons are named in part
        ("Welche Stadt im Land ist gemeint?", "Landau Süd", "Landshut Süd"),  # both begin like a word of the question
        ("Wer war Kaiser?", "Napoleon", "Napoleon III."),
        ("Où est-ce ?", "plus de 5 km", "5 km"),
        ("定員は?", "5人以上", "5人"),
        ("他来自哪里?", "日本", "日本人街"),
        ("Ist er da?", "Ja.", "Ja, aber nur montags."),
        ("Warum ist es kalt?", "Weil kalte Luft warme verdrängt.", "Weil warme Luft kalte verdrängt."),
        ("Wie spät ist es?", "", "3"),
        ("", "Paris", "Es ist Paris"),
    ],
)
def test_near_misses_stay_apart(question: str, a: str, b: str) -> None:
    assert not says_the_same(a, b, question)
    assert not says_the_same(b, a, question)


def test_answers_are_unified_with_the_first_that_says_the_same() -> None:
    answers = ["Rom", "Die Hauptstadt Italiens ist Mailand.", "Italiens Hauptstadt ist Rom.", "Mailand"]
    assert unify(answers, "Was ist die Hauptstadt von Italien?") == [0, 1, 0, 1]


def test_clusters_of_another_language_need_no_model() -> None:
    question, answers = (
        "¿Quién pintó el Guernica?",
        ["Picasso", "Salvador Dalí", "Fue pintado por Pablo Picasso", "Dalí"],
    )
    found = meaning_clusters([question], [answers], entailment=exact_match)
    assert found.ids[0].tolist() == [0, 1, 0, 1]


def test_english_answers_are_left_to_the_model() -> None:
    assert read_final_answers(["Pablo Picasso", "It was painted by Pablo Picasso"], "Who painted Guernica?") == [
        "Pablo Picasso",
        "It was painted by Pablo Picasso",
    ]


def test_what_no_rule_decides_in_another_language_is_unknown() -> None:
    question, a, b = "Warum ist der Himmel blau?", "Die Luft streut blaues Licht.", "Blaues Licht wird gestreut."
    found = entail(question, a, b)
    assert found.unknown
    assert not found.same
    assert "unknown" in found.lines[0]
    assert not entail(question, a, a).unknown


def test_hundreds_of_long_answers_take_no_time() -> None:
    answers = [f"Antwort {i} " + "ein langer Satz " * 400 for i in range(200)]
    start = time.perf_counter()
    assert unify(answers, "Was ist das?") == list(range(200))
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("question", "a", "b"),
    [
        ("Nenne die drei Grundfarben.", "Rot, Blau und Gelb", "Gelb, Rot und Blau"),
        ("Quelles sont les couleurs du drapeau ?", "bleu, blanc et rouge", "rouge, bleu et blanc"),
        ("¿Cuáles son los países bálticos?", "Estonia, Letonia y Lituania", "Lituania, Estonia y Letonia"),
        ("Какие страны граничат с Польшей на западе и юге?", "Германия и Чехия", "Чехия и Германия"),
        ("中国的直辖市有哪些?", "北京、上海、天津和重庆", "上海、北京、重庆和天津"),
        ("日本の主な島を四つ挙げてください。", "本州、北海道、九州、四国", "北海道、本州、四国、九州"),
        ("Nenne drei Obstsorten.", "- Apfel\n- Birne\n- Kirsche", "1. Birne\n2. Kirsche\n3. Apfel"),
    ],
)
def test_lists_in_another_order(question: str, a: str, b: str) -> None:
    assert says_the_same(a, b, question)


@pytest.mark.parametrize(
    ("question", "a", "b"),
    [
        ("Nenne die drei größten Städte der Reihenfolge nach.", "Berlin, Hamburg, Köln", "Hamburg, Berlin, Köln"),
        ("Quelles sont les couleurs du drapeau ?", "bleu, blanc et rouge", "bleu, blanc et vert"),
        ("Wer hat gewonnen?", "Anna, Bert", "Bert, Anna"),  # first and second
        ("请按顺序列出前三名。", "张三、李四、王五", "李四、张三、王五"),
    ],
)
def test_lists_that_are_not_the_same(question: str, a: str, b: str) -> None:
    assert not says_the_same(a, b, question)
