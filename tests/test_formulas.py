"""Formulas in LaTeX and in plain signs are one; another formula is another answer."""

from __future__ import annotations

import pytest

from demur.meaning.rules.decide import ruling, same_meaning
from demur.meaning.rules.formulas import plain_math


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        ("$\\frac{3}{4}$", "3/4"),
        ("\\dfrac12", "1/2"),
        ("\\frac{x+1}{2}", "(x+1)/2"),
        ("\\frac{\\sqrt{2}}{2}", "(√2)/2"),
        ("\\(\\pi r^{2}\\)", "π r^2"),
        ("30^\\circ", "30°"),
        ("$$\\text{Paris}$$", "Paris"),
        ("\\left( a \\right)", "( a )"),
        ("25\\%", "25%"),
        ("$5 and $10", "$5 and $10"),  # money
        ("C:\\new", "C:\\new"),
    ],
)
def test_latex_is_written_in_plain_signs(latex: str, plain: str) -> None:
    assert plain_math(latex) == plain


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("$\\pi r^2$", "\\[\\pi r^{2}\\]"), ("$x^2 + 1$", "x^2+1"), ("\\sqrt2", "$\\sqrt{2}$"),
        ("$E = mc^2$", "E = mc²"),
        ("\\frac{1}{4}", "25%"), ("$3 \\times 10^8$ m/s", "3 x 10^8 m/s"), ("O(log n)", "$O(\\log n)$"),
        ("$x = 5$", "x = 5"), ("$45^{\\circ}$", "45°"), ("$x \\leq 3$", "x ≤ 3"),
    ],
)  # fmt: skip
def test_one_formula_in_two_forms(a: str, b: str) -> None:
    assert same_meaning(a, b) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("$\\pi r^2$", "$2\\pi r$"),
        ("$x^2$", "$x^3$"),
        ("O(log n)", "O(n log n)"),
        ("√2", "√3"),
        ("$x = \\pm 2$", "$x = 2$"),
    ],
)
def test_another_formula_is_another_answer(a: str, b: str) -> None:
    assert ruling(a, b) == ("formulas", False)


@pytest.mark.parametrize(
    ("a", "b"),
    [("AC/DC", "AC-DC"), ("C++", "C"), ("the area = 5", "5"), ("$x = 5$", "5"), ("x = ±2", "x = 2 or x = -2")],
)
def test_what_is_no_formula_is_left_to_the_model(a: str, b: str) -> None:
    assert same_meaning(a, b) is None
