"""Lists in another order are one answer where the question asks for several things in none; near misses are not."""

from __future__ import annotations

import pytest

from demur.meaning.rules.decide import same_meaning
from demur.meaning.rules.final_answer import read_final_answer
from demur.meaning.rules.lists import without_order


def same(question: str, a: str, b: str) -> bool | None:
    return same_meaning(read_final_answer(a, question), read_final_answer(b, question))


@pytest.mark.parametrize(
    ("question", "a", "b"),
    [
        ("What are the primary colours?", "red, yellow and blue", "Blue, red, yellow"),
        ("What are the primary colours?", "The primary colours are red, yellow and blue.", "blue, yellow, red"),
        ("Name three countries that border France.", "Spain, Italy, Germany", "Germany; Spain; Italy"),
        ("List the members of the Beatles.", "John, Paul, George, and Ringo", "- Ringo\n- George\n- Paul\n- John"),
        ("Which planets have rings?", "1. Saturn\n2. Jupiter\n3. Uranus", "Uranus, Saturn and Jupiter"),
        ("What are the roots of x^2 = 9?", "3, -3", "-3 and 3"),
        ("Which two countries fought the war?", "the USA and Spain", "Spain, USA"),
        ("Who were the founders of Google?", "Larry Page and Sergey Brin", "Sergey Brin & Larry Page"),
        ("Name the Baltic states.", "Here are they:\n* Latvia\n* Estonia\n* Lithuania", "Estonia, Latvia, Lithuania"),
    ],
)
def test_a_list_in_another_order_is_the_same_answer(question: str, a: str, b: str) -> None:
    assert same(question, a, b) is True


@pytest.mark.parametrize(
    ("question", "a", "b"),
    [
        ("What are the primary colours?", "red, yellow, blue", "red, yellow, green"),
        ("What are the primary colours?", "red, yellow, blue", "red, yellow"),
        ("List the planets in order of size.", "Jupiter, Saturn, Uranus", "Saturn, Jupiter, Uranus"),
        ("Rank the three largest cities of Japan.", "Tokyo, Yokohama, Osaka", "Osaka, Tokyo, Yokohama"),
        ("What are the steps of the recipe?", "mix, bake, cool", "bake, mix, cool"),
        ("Who were the winner and the runner-up?", "Federer, Nadal", "Nadal, Federer"),
        ("What were the scores?", "3, 2", "2, 3"),
        ("What are the coordinates of the point?", "(1, 2)", "(2, 1)"),
        ("What are the sides called?", "(a, b)", "(b, a)"),
        ("What are the populations of the towns?", "500, 700", "700, 500"),
        ("Where was the film shot?", "Paris, Texas", "Texas, Paris"),
        ("Who wrote it?", "Gilbert and Sullivan", "Sullivan and Gilbert"),
        ("What are the first two letters?", "a, b", "b, a"),
        ("What famous ancient city is on the Tiber?", "Paris, Texas", "Texas, Paris"),
        ("In what city was he born?", "Kansas City, Kansas", "Kansas, Kansas City"),
        ("Which of Shakespeare's plays is it?", "Romeo and Juliet", "Juliet and Romeo"),
    ],
)
def test_a_near_miss_is_not_taken_for_the_same_list(question: str, a: str, b: str) -> None:
    assert same(question, a, b) is not True


@pytest.mark.parametrize(
    "answer",
    [
        "Red, yellow and blue. They cannot be mixed from others.",
        "There are three of them, which painters have known for many centuries, and no other",
        "red",
        "",
    ],
)
def test_what_says_more_than_a_list_stays_as_it_is(answer: str) -> None:
    assert without_order(answer, "What are the primary colours?") == answer


COLOURS = "What are the primary colours?"


@pytest.mark.parametrize(
    ("answer", "question", "ordered"),
    [
        ("b, a, b", COLOURS, "a, b"),  # a set
        ("b, A", COLOURS, "A, b"),
        ("one two three four five six, a", COLOURS, "a, one two three four five six"),
        ("one two three four five six seven, a", COLOURS, None),  # more than an item's words
        (
            "The colours of the old model which painters all over like are b, a",
            COLOURS,
            "a, b",
        ),  # twelve words
        ("The colours of the old model which painters all over here like are b, a", COLOURS, None),
        ("- b\n- a", COLOURS, "a, b"),
        ("Here:\n- b\n- a", COLOURS, "a, b"),
        ("Here:\n- b", COLOURS, None),
        ("- b\n- a\nand so on", COLOURS, None),
        ("1) b\n2. a", COLOURS, "a, b"),
        ("b, 3", COLOURS, None),  # a number that the question does not ask for
        ("b, 3", "What are the values?", "3, b"),
        ("a", COLOURS, None),
        ("'b', *the a*.", COLOURS, "a, b"),
        ("b; a", "What are they, from top to bottom?", None),
        ("b, a", "What is it?", None),
        ("b, a [two]", COLOURS, None),
        ("1. b\n2. a (two)", COLOURS, None),
    ],
)
def test_the_items_of_a_list_in_order(answer: str, question: str, ordered: str | None) -> None:
    assert without_order(answer, question) == (answer if ordered is None else ordered)
