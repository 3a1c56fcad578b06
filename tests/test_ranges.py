"""Ranges in every form, and what only looks like one."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.meaning.rules.decide import ruling, same_meaning
from demur.meaning.rules.values.quantities import Quantity, parse_quantity, same_quantity, words_after_number
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


@pytest.mark.parametrize(
    ("key", "rest"),
    [
        ("2 million euros", "million euros"),
        ("twelve red apples", "red apples"),
        ("5", ""),
        ("apples", ""),
        ("-3 km", "km"),
    ],
)
def test_the_words_after_a_number(key: str, rest: str) -> None:
    assert words_after_number(key) == rest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("nineteen hundred", 1900), ("nineteen hundred thousand", 1_900_000), ("twenty hundred", 2000)),
        *(("twenty hundred thousand", None), ("one hundred and five", 105), ("two dozen", 24), ("a dozen", 12)),
        *(("twenty-one thousand and one", 21_001), ("twenty twelve", None), ("one hundred or two", None)),
    ],
)
def test_number_words_by_hand(key: str, value: int | None) -> None:
    found = parse_quantity(key)
    assert (found and found.value) == value


@pytest.mark.parametrize(
    ("value", "other", "same"),
    [
        (1, "1.5", None),  # half of the last digit
        (1, "1.51", False),
        (10, "200/19", None),  # 5 % of the larger one
        (10, "10.53", False),
    ],
)
def test_a_conversion_may_be_off_by_half_of_the_last_digit_or_5_percent(
    value: int, other: str, same: bool | None
) -> None:
    one = Quantity(Fraction(value), "length", 0, "m")
    assert same_quantity(one, Quantity(Fraction(other), "length", 0, "yd")) is same
    assert same_quantity(one, Quantity(Fraction(other), "length", 0, "m")) is False


@pytest.mark.parametrize(
    ("a", "b", "rule"),
    [
        ("7 to 9 hours", "8 hours", ("ranges", False)),
        ("7-9 hours", "7 to 9 hours", ("identical after normalisation", True)),
        ("7 to 9 hours", "7 to 8 hours", ("ranges", False)),
        ("7 to 9 hours", "Paris", None),
        ("3rd", "third", ("ordinals", True)),
        ("3rd", "4th", ("ordinals", False)),
        ("yes", "no", ("yes and no", False)),
        ("A", "B", ("letters that differ", False)),
    ],
)
def test_which_rule_decides(a: str, b: str, rule: tuple[str, bool] | None) -> None:
    found = ruling(a, b)
    assert found == rule or (rule is not None and rule[1] is True and found is not None and found[1])
    assert ruling(b, a) == found
