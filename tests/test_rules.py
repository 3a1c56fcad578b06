"""Rules decide only what is certain: they join other ways to write the same, and never join different meanings."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.rules import meaning_key, parsed, ruling, same_meaning

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def in_words(n: int) -> str:
    """English words of a number below a million."""
    if n < 20:
        return WORDS[n]
    if n < 100:
        return TENS[n // 10 - 2] + (f"-{WORDS[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{WORDS[n // 100]} hundred" + (f" and {in_words(n % 100)}" if n % 100 else "")
    return f"{in_words(n // 1000)} thousand" + (f" {in_words(n % 1000)}" if n % 1000 else "")


numbers = st.integers(0, 999_999)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
answers = st.one_of(
    texts,
    numbers.map(str),
    numbers.map(lambda n: f"{n:,}"),
    numbers.map(in_words),
    st.tuples(
        numbers, st.sampled_from(["km", "m", "years", "months", "hours", "%", "apples", "million", "dozen", "°C", "°F"])
    ).map(lambda pair: f"{pair[0]} {pair[1]}"),
    st.dates().map(lambda day: f"{day:%B} {day.day}, {day.year}"),
    st.times().map(lambda time: f"{time:%H:%M}"),
    st.times().map(lambda time: f"{time.hour % 12 + 1} pm"),
)


@given(numbers, numbers)
def test_number_words_are_the_number_and_no_other(n: int, m: int) -> None:
    assert same_meaning(in_words(n), str(m)) is (n == m)
    assert same_meaning(f"{n:,}", in_words(m)) is (n == m)
    assert same_meaning(f"{n} boats", f"{in_words(m)} boats") is (n == m)


@given(st.dates(datetime.date(1000, 1, 1)), st.dates(datetime.date(1000, 1, 1)))
def test_a_date_is_itself_in_every_form_and_no_other_day(one: datetime.date, other: datetime.date) -> None:
    forms = [f"{one:%B} {one.day}, {one.year}", f"{one.day} {one:%B} {one.year}", f"{one:%Y-%m-%d}"]
    assert all(same_meaning(forms[0], form) for form in forms)
    assert all(same_meaning(form, f"{other.day} {other:%b} {other.year}") is (one == other) for form in forms)


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_units_of_one_dimension_are_converted(n: int, m: int) -> None:
    for small, large, factor in (("m", "km", 1000), ("minutes", "hours", 60), ("cents", "dollars", 100)):
        assert same_meaning(f"{n} {large}", f"{m * factor} {small}") in ({True} if n == m else {False, None})


@given(st.integers(-200, 2000), st.integers(-200, 2000))
def test_degrees_are_converted(celsius: int, other: int) -> None:
    fahrenheit = f"{other * 9 / 5 + 32:g} °F"
    assert same_meaning(f"{celsius} degrees Celsius", fahrenheit) in ({True} if celsius == other else {False, None})


@given(st.times(), st.times())
def test_a_time_of_day_is_itself_on_either_clock(one: datetime.time, other: datetime.time) -> None:
    half = f"{one:%I:%M %p}".lstrip("0")
    if other.hour > 12:
        assert same_meaning(half, f"{other:%H:%M}") is ((one.hour, one.minute) == (other.hour, other.minute))


@given(answers, answers)
def test_the_key_says_what_the_rule_says(a: str, b: str) -> None:
    """Clustering merges by the key: it must never merge what the rule does not call the same."""
    assert (meaning_key(a) == meaning_key(b)) is (same_meaning(a, b) is True)


@given(answers, answers)
def test_rules_are_symmetric_and_reflexive(a: str, b: str) -> None:
    assert same_meaning(a, b) is same_meaning(b, a)
    assert same_meaning(a, a) is True


@given(answers, answers, answers)
def test_what_is_the_same_as_the_same_is_the_same(a: str, b: str, c: str) -> None:
    if same_meaning(a, b) and same_meaning(b, c):
        assert same_meaning(a, c)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("5", "-5"), ("1.5", "15"), ("C", "C++"), ("C", "C#"), ("A flat", "flat"), ("a few", "few"),
        ("A minor", "minor"), ("007", "7"), ("02134", "2134"), ("1/2", "1"), ("1-2", "1"), ("10:30", "10"),
        ("2^10", "2"), ("5!", "5"),
        ("5 million", "5 billion"), ("5 kg", "5 lb"), ("100 pounds", "£100"), ("20%", "20"), ("May 1990", "May 1991"),
        ("3rd", "3"), ("10 °C", "10 °F"), ("not guilty", "guilty"), ("😀", "😢"), ("1.000", "1000"), ("1.000", "1"),
        ("first", "1"), ("twenty ten", "30"), ("one or two", "one"), ("5 to 6", "5"), ("4 July 1776", "4 July"),
        ("4/7/1776", "4 July 1776"), ("13/13/1776", "13"), ("3:00", "3 pm"), ("12 am", "12 pm"), ("10:30", "10:30 pm"),
        ("a dozen", "a dozen roses"), ("dozens", "12"), ("30 seconds", "30 °C"), ("100 degrees", "100 degrees Celsius"),
        ("Ja", "Jā"), ("¬p", "p"), ("x < y", "x > y"),
    ],
)  # fmt: skip
def test_different_meanings_are_not_merged(a: str, b: str) -> None:
    assert same_meaning(a, b) is not True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Paris", "paris."), ("The answer is: Paris", "Paris"), ("2.5 million", "2,500,000"), ("$5", "five dollars"),
        ("1.5 km", "1500 m"), ("1 year", "twelve months"), ("3rd", "third"), ("July 4, 1776", "the 4th of July 1776"),
        ("'Hamlet'?", "'hamlet'"), ("20%", "20 percent"), ("−5", "-5"), ("a dozen", "12"),
        ("two dozen eggs", "24 eggs"),
        ("3 pm", "15:00"),
        ("12:30 p.m.", "12:30 PM"),
        ("25/12/1990", "25 December 1990"), ("12/25/1990", "Dec 25, 1990"), ("212 °F", "100 degrees Celsius"),
        ("-40 Fahrenheit", "-40 °C"), ("twenty-one", "21"),
    ],
)  # fmt: skip
def test_other_ways_to_write_the_same_are_merged(a: str, b: str) -> None:
    assert same_meaning(a, b) is True


@pytest.mark.parametrize(("a", "b"), [("3.14", "3.1416"), ("2.5 million", "2.54 million"), ("42 km", "42.195 km")])
def test_what_may_be_a_rounding_is_left_to_the_model(a: str, b: str) -> None:
    assert same_meaning(a, b) is None


def test_the_rule_is_named() -> None:
    assert ruling("2 hours", "120 min") == ("numbers and units", True)
    assert ruling("2 May 1999", "3 May 1999") == ("dates", False)
    assert ruling("first", "2nd") == ("ordinals", False)
    assert ruling("Bob", "Robert") is None


@pytest.mark.parametrize("text", ["", "!!!", "🎵🎵", "... --- ...", "٣", "x" * 100_000, "9" * 400, "1e999", "½"])
def test_anything_can_be_asked(text: str) -> None:
    assert same_meaning(text, text) is True
    assert same_meaning(text, "Paris") is not True
    parsed(text)
