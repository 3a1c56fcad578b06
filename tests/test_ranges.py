"""Ranges in every form, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.meaning.rules.decide import same_meaning
from demur.meaning.rules.values.ranges import parse_range


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
