"""Quality of answers against gold."""

from __future__ import annotations

import pytest

from demur.grading import grade
from demur.records import Prompt

TEXT = Prompt("t", "Capital of France?", ("Paris",))
NUMBER = Prompt("n", "How much?", ("1234.5",))
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
    ],
)
def test_grade(prompt: Prompt, answer: str, quality: float) -> None:
    assert grade(prompt, answer) == quality
