"""Ranges in every form, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.meaning.rules.decide import same_meaning
from demur.meaning.rules.values.quantities import parse_quantity
from demur.meaning.rules.values.ranges import Range, differs_from, parse_range, same_range


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(["hours", "km", "%", "people"]))
def test_a_range_is_itself_in_every_form_and_no_other(low: int, more: int, unit: str) -> None:
    high = low + more
    forms = [f"{low}-{high} {unit}", f"{low} – {high} {unit}", f"between {low} and {high} {unit}",
             f"from {low} to {high} {unit}", f"{low} to {high} {unit}", f"{low} {unit} to {high} {unit}"]  # fmt: skip
    assert {same_meaning(forms[0], form) for form in forms[1:]} == {True}
    assert same_meaning(forms[0], f"{low}-{high + 1} {unit}") is False
    assert same_meaning(forms[2], f"{low} {unit}") is False
    assert same_meaning(forms[2], f"{high} {unit}") is False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("seven to nine hours", "7-9 hours"), ("$10-20", "$10 to $20"), ("2 to 4 °C", "2–4 °C"),
        ("1.5-2 million", "1.5 million to 2 million"), ("1914-1918", "from 1914 to 1918"),
        ("60-90 minutes", "1 to 1.5 hours"),
    ],
)  # fmt: skip
def test_another_form_is_the_same_range(a: str, b: str) -> None:
    assert same_meaning(a, b) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("7-9 hours", "7-9 minutes"), ("2 to 4 °C", "-2 to 4 °C"), ("$10-20", "€10-20"), ("7-9 hours", "7 hours"),
        ("two to three hundred", "2 to 300"), ("1914-1918", "1914-1919"),
    ],
)  # fmt: skip
def test_another_range_is_not_merged(a: str, b: str) -> None:
    assert same_meaning(a, b) is not True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3-5", "-2"),  # a difference
        ("3-5", "3"),  # a score
        ("7-9 hours", "8 km"),
        ("$10-20", "$10-20.4"),  # perhaps rounded
    ],
)
def test_what_may_be_something_else_is_left_to_the_model(a: str, b: str) -> None:
    assert same_meaning(a, b) is None


@pytest.mark.parametrize(
    "text", ["5-3", "9 to 7 hours", "2-2", "from Paris to Rome", "between you and me", "2 to 3 of 4 to 5", "x" * 99]
)
def test_what_is_no_range(text: str) -> None:
    assert parse_range(text) is None


def test_a_range_has_its_ends_and_is_certain_in_words_or_with_a_unit() -> None:
    plain, spelled, hours = parse_range("3-5"), parse_range("3 to 5"), parse_range("3-5 hours")
    assert plain is not None
    assert spelled is not None
    assert hours is not None
    assert [found.certain for found in (plain, spelled, hours)] == [False, True, True]
    assert [plain.low.value, plain.high.value] == [3, 5]
    assert hours.low.dimension == hours.high.dimension != ""
    assert plain.meaning == spelled.meaning != hours.meaning


@pytest.mark.parametrize("digits", [38, 39])
def test_a_range_has_80_characters_at_most(digits: int) -> None:
    text = f"{'1' * 38} to {'2' * digits}"
    assert (parse_range(text) is not None) == (len(text) <= 80)


@pytest.mark.parametrize(
    "text", ["7 hours to 9 km", "between 3 and 3", "between 5 and 3", "3 - 5 = 2", "two to three hundred", "a to 9"]
)
def test_ends_of_two_kinds_or_out_of_order_are_no_range(text: str) -> None:
    assert parse_range(text) is None


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("7-9 thousand", 7000, 9000),
        ("two hundred to three hundred", 200, 300),
        ("2 hundred to 300", 200, 300),
        ("between one and two", 1, 2),
        ("from 1914 until 1918", 1914, 1918),
    ],
)
def test_the_ends_of_a_range(text: str, low: int, high: int) -> None:
    found = parse_range(text)
    assert found is not None
    assert [found.low.value, found.high.value] == [low, high]


def test_ranges_and_single_values_are_compared_where_that_is_certain() -> None:
    def read(text: str) -> Range:
        found = parse_range(text)
        assert found is not None
        return found

    hours = read("3 to 5 hours")
    eight, three = parse_quantity("8 hours"), parse_quantity("3")
    assert eight is not None
    assert three is not None
    assert same_range(hours, read("3-5 hours")) is True
    assert same_range(hours, read("3 to 6 hours")) is False
    assert differs_from(hours, eight) is False
    assert differs_from(hours, three) is None
    assert differs_from(read("3-5"), three) is None
    assert differs_from(read("3 to 5"), three) is False
