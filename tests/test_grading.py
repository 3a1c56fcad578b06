"""Quality of answers against gold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.prompts.grading import containment, exact, grade
from demur.records import Prompt

TEXT = Prompt("t", "Capital of France?", ("Paris",))
NUMBER = Prompt("n", "How much?", ("1234.5",))
YEAR = Prompt("y", "When did it sink?", ("1912",))
CHOICE = Prompt("c", "Which?", ("B",), ("a cat", "the dog", "a cow", "a hen"))


@pytest.mark.parametrize(
    ("prompt", "answer", "quality"),
    [
        (TEXT, "It is PARIS.", 1.0),
        (TEXT, "Parisian", 0.0),
        (TEXT, "", 0.0),
        (Prompt("z", "Currency?", ("złoty",)), "the złoty", 1.0),
        (NUMBER, "so it makes $1,234.50.", 1.0),
        (NUMBER, "1234.5 becomes 12", 0.0),
        (NUMBER, "none", 0.0),
        (Prompt("m", "?", ("-3",)), "it is −3", 1.0),
        (Prompt("m", "?", ("-3",)), "3", 0.0),
        (Prompt("g", "?", ("18",)), "3 + 15 = 18\n#### 18", 1.0),
        (CHOICE, "B", 1.0),
        (CHOICE, "The answer is (B).", 1.0),
        (CHOICE, "A or maybe the answer is C", 0.0),
        (CHOICE, "the dog", 1.0),
        (CHOICE, "the cow", 0.0),
        (CHOICE, "The answer is b", 1.0),
        (CHOICE, "the answer is a dog", 0.0),
        (CHOICE, "I think it is B", 1.0),
        (CHOICE, "I'd say it's b.", 1.0),
        (CHOICE, "b) the dog", 1.0),
        (CHOICE, "A cow is larger, so B", 1.0),
        (CHOICE, "The answer is A. No, the answer is B.", 1.0),
        (CHOICE, "I do not know", 0.0),
        (CHOICE, "", 0.0),
        (Prompt("c", "Which?", ("the dog",), CHOICE.choices), "B", 1.0),
        (Prompt("c", "Which?", ("1",), CHOICE.choices), "B", 1.0),
        (Prompt("c", "Which?", ("1",), ("2", "1")), "B", 1.0),  # an option's own text before a place
        (YEAR, "15 April 1912 at 2 am", 1.0),
        (YEAR, "1912-04-15", 1.0),
        (YEAR, "on April 15th, 1912, at 2:20", 1.0),
        (YEAR, "15.04.1912", 1.0),
        (YEAR, "15 April 1913 at 2 am", 0.0),
        (YEAR, "1912 - 12 = 1900", 0.0),
        (Prompt("h", "At what hour?", ("2",)), "15 April 1912 at 2 am", 1.0),
    ],
)
def test_grade(prompt: Prompt, answer: str, quality: float) -> None:
    assert grade(prompt, answer) == quality


LETTERED = "Which is red? A. apple B. brick C. cloud D. dune"


@pytest.mark.parametrize("gold", ["A", "B", "C"])
@pytest.mark.parametrize("answer", ["{}", "({})", "Answer: {}", "The answer is {}.", "{}. because", "it is {}"])
def test_each_letter_can_be_right_where_the_question_shows_the_options(gold: str, answer: str) -> None:
    for said in "ABC":
        assert grade(Prompt("l", LETTERED, (gold,)), answer.format(said)) == float(said == gold)


@pytest.mark.parametrize("gold", ["A", "An", "The", "The The", "A+", ">", "!=", "++", "-", "%", "<="])
def test_a_gold_of_articles_or_signs_can_be_right(gold: str) -> None:
    prompt = Prompt("s", "Which?", (gold,))
    assert grade(prompt, gold) == 1.0
    assert grade(prompt, f"It is {gold}.") == 1.0
    assert grade(prompt, f'"{gold}"') == 1.0
    for other in ("", "a pear", "The dog is an animal.", "C--", "A-", "well-known"):
        assert grade(prompt, other) == 0.0


DIFFERENT = [
    ("Vitamin A", "Vitamin D"),
    ("Vitamin A", "Vitamin"),
    ("Hepatitis A", "hepatitis B"),
    ("C++", "C"),
    ("C", "C++"),
    ("C#", "C"),
    ("O+", "O-"),
    ("AB+", "AB−"),
    ("A+", "A"),
    ("x > 3", "x < 3"),
    ("x >= 3", "x > 3"),
    ("x = 3", "x ≠ 3"),
    ("a*b", "a/b"),
    ("a + b", "a - b"),
    ("x^2", "x2"),
    ("10²", "102"),
    ("+5", "-5"),
    ("$5", "€5"),
    ("$5 million", "5 million euros"),
    ("-5 degrees", "5 degrees"),
    ("3.5 million", "35 million"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_may_be_the_answer_is_not_dropped(one: str, other: str) -> None:
    for gold, said in ((one, other), (other, one)):
        if (gold, said) != ("Vitamin", "Vitamin A"):  # the shorter one does stand in the longer
            assert grade(Prompt("d", "?", (gold,)), f"It is {said}.") == 0.0
        assert grade(Prompt("d", "?", (gold,)), f"It is {gold}.") == 1.0
        assert exact(Prompt("d", "?", (gold,)), said) == 0.0
        assert exact(Prompt("d", "?", (gold,)), gold) == 1.0


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("Vitamin A", "It is vitamin A, found in carrots"),
        ("The Lord of the Rings", "Lord of Rings"),
        ("Lord of Rings", "the Lord of the Rings."),
        ("a cat", "The cat."),
        ("Paris", "**Paris** - a city"),
        ("Titanic", "the *Titanic*"),
        ("Jean-Luc", "Jean Luc"),
        ("and/or", "and or"),
        ("1990-1995", "1990–1995"),
        ("COVID-19", "COVID 19"),
        ("$5 million", "5 million dollars"),
        ("1,234 km", "1234 km"),
        ("x≥3", "x >= 3"),
        ("5%", "about 5 percent"),
        ("３ apples", "3 apples"),
    ],
)
def test_what_says_the_same_is_right(gold: str, answer: str) -> None:
    assert grade(Prompt("s", "?", (gold,)), answer) == 1.0


@pytest.mark.parametrize("sign", ["-", "–", "—", "−", "‑", "－", "- ", "– ", "negative ", "minus ", "Minus "])
@pytest.mark.parametrize("number", ["5", "$5", "５", "5.00"])
def test_every_dash_before_a_number_is_a_minus(sign: str, number: str) -> None:
    assert grade(Prompt("m", "?", ("-5",)), f"It is {sign}{number}.") == 1.0
    assert grade(Prompt("m", "?", ("5",)), f"It is {sign}{number}.") == 0.0


@pytest.mark.parametrize(
    ("gold", "answer", "quality"),
    [
        ("-5", "(5)", 1.0),
        ("-5", "a loss of ($5)", 1.0),
        ("5", "The answer is (5).", 1.0),
        ("5", "(-5)", 0.0),
        ("-5", "$-5", 1.0),
        ("5", "8 - 3 = 5", 1.0),
        ("3", "8 - 3", 1.0),  # a dash behind a digit subtracts
        ("10", "between 5-10", 1.0),
        ("+5", "5", 1.0),
        ("$5", "5 dollars", 1.0),
        ("$5", "5 euros", 0.0),
        ("€5", "5 €", 1.0),
        ("£5", "$5", 0.0),
        ("3.5", "3½ hours", 1.0),
        ("2", "3½ hours", 0.0),
        ("102", "10²", 0.0),
        ("5", "€5", 1.0),  # a gold without a currency asks for none
        ("It takes 3 + 15 steps.\n#### 18", "so 18", 1.0),
        ("It takes 3 + 15 steps.\n#### 18", "so 15", 0.0),
        ("#### -1,200", "−1200", 1.0),
        ("Ann wins.\n#### Ann", "It is Ann", 1.0),
    ],
)
def test_numbers_as_people_write_them(gold: str, answer: str, quality: float) -> None:
    assert grade(Prompt("n", "?", (gold,)), answer) == quality


SAND = ("steel", "iron", "a mixture of sand and lime", "gold")
TEN = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("choices", "answer", "said"),
    [
        (SAND, "The answer is a mixture of sand and lime.", "C"),
        (SAND, "The best choice is a metal, so D", "D"),
        (SAND, "Mortar. The correct answer is a mixture (C).", "C"),
        (SAND, "The answer is A because steel is hard", "A"),
        (SAND, "The answer is B because iron", "B"),
        (SAND, "Answer: A mixture (C)", "C"),
        (SAND, "A. steel\nB. iron\nC. a mixture of sand and lime\nD. gold\nAnswer: B", "B"),
        (SAND, "A is hard.\nB", "B"),
        (SAND, "It is not A, it is B", "B"),
        (SAND, "Ｂ", "B"),
        (SAND, "（Ｂ）", "B"),
        (SAND, "答案是B。", "B"),
        (SAND, "答案：Ｃ", "C"),
        (SAND, "正确答案为 (D)", "D"),
        (SAND, "Bézier", ""),
        (TEN, "Answer: I think it is C", "C"),
        (TEN, "ANSWER: I don't know", ""),
        (TEN, "The answer is I.", "I"),
        (("+5", "-5"), "-5", "B"),
        (("x > 3", "x < 3"), "x < 3", "B"),
        (("Vitamin D", "Vitamin A"), "vitamin A", "B"),
    ],
)
def test_the_letter_that_an_answer_chooses(choices: tuple[str, ...], answer: str, said: str) -> None:
    for letter in "ABCDEFGHIJ"[: len(choices)]:
        assert grade(Prompt("c", "Which?", (letter,), choices), answer) == float(letter == said)


@given(st.text(alphabet="aA theTHE+-*/<>=%#$€,.!5 \n", min_size=1).filter(str.strip))
def test_every_gold_answers_itself(gold: str) -> None:
    prompt = Prompt("g", "?", (gold,))
    assert exact(prompt, gold) == 1.0
    assert containment(prompt, gold) == 1.0
    grade(prompt, gold)


@given(st.text())
def test_no_answer_ends_in_a_traceback(answer: str) -> None:
    for prompt in (TEXT, NUMBER, YEAR, CHOICE, Prompt("l", LETTERED, ("A",))):
        assert grade(prompt, answer) in (0.0, 1.0)
