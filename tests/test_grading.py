"""Quality of answers against gold."""

from __future__ import annotations

import pytest

from demur.prompts.grading import grade
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
