"""Formulas in LaTeX and in plain signs are one; another formula is another answer."""

from __future__ import annotations

import pytest

from demur.meaning.rules.decide import ruling, same_meaning
from demur.meaning.rules.formulas import formula_of, plain_formula, plain_math


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
        ("$E = mc^2$", "E = mc²"), ("x^{2} + 1", "x^2+1"),
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


@pytest.mark.parametrize(
    ("key", "formula"),
    [
        ("x + 1 = 2", "x+1=2"),
        ("3 × 4 = 12", None),  # a sum
        ("√ 2", "√2"),
        ("o(log n)", "o(logn)"),
        ("sin(x) = 1", "sin(x)=1"),
        ("x = 1 or 2", None),
        ("area = x", None),
        ("ab = x", "ab=x"),
        ("x y", None),
        ("x=" + "1" * 998, "x=" + "1" * 998),  # 1,000 characters
        ("x=" + "1" * 999, None),
    ],
)
def test_a_key_is_a_formula_where_it_has_a_sign_a_letter_and_no_word(key: str, formula: str | None) -> None:
    assert formula_of(key) == formula


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("$x^{2}$.", "x^2"),
        ("  \\[ \\frac{a}{b} \\]", "a/b"),
        ("x is $x^{2}$", "x is $x^{2}$"),  # not all of it
        ("$$y$$", "y"),
        ("5", "5"),
    ],
)
def test_the_formula_that_is_all_of_a_text(text: str, plain: str) -> None:
    assert plain_formula(text) == plain


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        ("\\frac{\\frac{\\frac{1}{2}}{3}}{4}", "((1/2)/3)/4"),  # one in another, three deep
        ("\\sqrt{x+1}", "√(x+1)"),
        ("\\sqrt{\\pi}", "√π"),
        ("x_{12}^{-1}\\cdot y", "x_12^-1· y"),
        ("\\textbf{A}\\quad\\{1\\}", "A{1}"),
        ("\\leq\\le\\Delta", "≤≤Δ"),
        ("\\lexicon", "\\lexicon"),
    ],
)
def test_latex_by_hand(latex: str, plain: str) -> None:
    assert plain_math(latex) == plain
