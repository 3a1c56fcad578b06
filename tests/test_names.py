"""Titles before a name say nothing; a middle name that differs says that it is another person."""

from __future__ import annotations

import pytest

from demur.meaning.rules.decide import same_meaning


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
