"""Titles before a name say nothing; a middle name that differs says that it is another person."""

from __future__ import annotations

import pytest

from demur.meaning.rules.decide import same_meaning
from demur.meaning.rules.values.names import differ_by_middle_name, name_of, with_numeral


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Sir Alexander Fleming", "Alexander Fleming"), ("Prime Minister Margaret Thatcher", "Margaret Thatcher"),
        ("Pope John Paul II", "John Paul II"), ("President George Washington", "Gen. George Washington"),
        ("the Rev. Dr. Martin Luther King", "Martin Luther King"), ("Queen Elizabeth II", "Elizabeth II."),
        ("Louis the Fourteenth", "Louis XIV"), 
    ],
)  # fmt: skip
def test_a_title_before_a_full_name_says_nothing(a: str, b: str) -> None:
    assert same_meaning(a, b) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Captain America", "America"), ("Dr. Dre", "Dre"), ("Queen of hearts", "of hearts"), ("King George", "George"),
        ("General Motors", "Motors"), ("Elizabeth I", "Queen Elizabeth II"), ("Prince Charles", "Prince Philip"),
    ],
)  # fmt: skip
def test_a_title_that_is_part_of_the_name_stays(a: str, b: str) -> None:
    assert same_meaning(a, b) is not True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Johann Sebastian Bach", "Johann Christian Bach"), ("George W. Bush", "George H. W. Bush"),
        ("John Fitzgerald Kennedy", "John Robert Kennedy"),
    ],
)  # fmt: skip
def test_another_middle_name_is_another_person(a: str, b: str) -> None:
    assert same_meaning(a, b) is False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("John F. Kennedy", "John Fitzgerald Kennedy"),
        ("José Luis Rodríguez Zapatero", "José Rodríguez Zapatero"),
        ("John R. R. Tolkien", "John R. Tolkien"),
        ("Wolfgang Amadeus Mozart", "Wolfgang Amadeaus Mozart"),  # misspelled
        ("Johann Bach", "Johann Sebastian Bach"),
        ("Johann Sebastian Bach", "Anna Magdalena Bach"),  # no middle name tells these apart
        ("The first of them", "The last of them"),
    ],
)
def test_what_may_be_one_person_is_left_to_the_model(a: str, b: str) -> None:
    assert same_meaning(a, b) is None


@pytest.mark.parametrize(
    ("middle", "other", "differ"),
    [
        ("Abcde", "Abcxy", False),  # three of five letters: .6, perhaps another spelling
        ("Abcde", "Abxyz", True),  # two: .4
        ("Abc", "Abcdefghij", False),  # one begins the other
        ("W.", "H.", True),
        ("W.", "Walker", False),
        ("H.", "Walker", True),
    ],
)
def test_a_middle_name_that_may_be_the_other_tells_nothing(middle: str, other: str, differ: bool) -> None:
    assert differ_by_middle_name(("A", middle, "Z"), ("A", other, "Z")) is differ
    assert differ_by_middle_name(("A", other, "Z"), ("A", middle, "Z")) is differ


def test_both_names_begin_and_end_alike_and_each_has_a_middle_name_of_its_own() -> None:
    assert not differ_by_middle_name((), ("A", "B", "C"))
    assert not differ_by_middle_name(("A", "Quinn", "C"), ())
    assert not differ_by_middle_name(("A", "Quinn", "C"), ("B", "Oscar", "C"))
    assert not differ_by_middle_name(("A", "Quinn", "C"), ("A", "Oscar", "D"))
    assert not differ_by_middle_name(("A", "Quinn", "Oscar", "C"), ("A", "Oscar", "C"))  # one has them both
    assert differ_by_middle_name(("A", "Quinn", "Oscar", "C"), ("A", "Oscar", "Umberto", "C"))
    assert not differ_by_middle_name(("G", "H.", "W.", "B"), ("G", "H.", "B"))  # the initials that both have are equal


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Johann Sebastian Bach", ("Johann", "Sebastian", "Bach")),
        (" Sir Johann Sebastian Bach. ", ("Johann", "Sebastian", "Bach")),
        ("A B C D E", ("A", "B", "C", "D", "E")),
        ("A B C D E F", ()),
        ("Johann Bach", ()),
        ("The end of it", ()),
        ("Johann 2 Bach", ()),
    ],
)
def test_the_words_of_a_name_of_three_to_five(answer: str, words: tuple[str, ...]) -> None:
    assert name_of(answer) == words


@pytest.mark.parametrize(
    ("key", "numeral"),
    [
        *(("louis the first", "louis i"), ("louis the eighteenth", "louis xviii"), ("louis the ninth", "louis ix")),
        *(("louis the great", "louis the great"), ("louis the fourteenth of france", "louis the fourteenth of france")),
    ],
)
def test_an_ordinal_is_a_numeral(key: str, numeral: str) -> None:
    assert with_numeral(key) == numeral
