r"""Formulas in LaTeX as plain text, and which answers are formulas: `\frac{1}{2}` is 1/2, `$x^{2}$` is x^2.

Two formulas are compared as they are written, without spaces; that x(x+1) is x^2+x is not seen. Pure functions.
"""

from __future__ import annotations

import re

LONGEST = 1_000  # characters of a formula
_DELIMITED = (
    *(re.compile(r"\$\$(.+?)\$\$", re.DOTALL), re.compile(r"\\\[(.+?)\\\]", re.DOTALL)),
    re.compile(r"\\\((.+?)\\\)", re.DOTALL),
    re.compile(r"\$(?=[^$\d\s]|\d[^$]*[\\^_={])([^$]+?)(?<!\s)\$"),  # not "$5 and $10"
)
_ARGUMENT = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
_FRACTION = re.compile(rf"\\[dtc]?frac(?:{_ARGUMENT}{_ARGUMENT}|\s*(\d)\s*(\d))")
_ROOT = re.compile(rf"\\sqrt(?:{_ARGUMENT}|\s*(\w))")
_TEXT = re.compile(rf"\\(?:text|textbf|textit|mathrm|mathbf|mathit|operatorname)\s*{_ARGUMENT}")
_ONE_SIGN = re.compile(r"([\^_])\{(-?\w+|°)\}")
_SIZES = re.compile(r"\\(?:left|right|big|Big|displaystyle|quad|qquad)(?![a-zA-Z])|\\[,;:! ]")
_COMMANDS = {
    **{"cdot": "·", "times": "×", "div": "÷", "pm": "±", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠"},
    **{"neq": "≠", "approx": "≈", "infty": "∞", "to": "→", "rightarrow": "→", "sum": "∑", "int": "∫", "circ": "°"},
    **{"degree": "°", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ"},
    **{"lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω"},
    **{"Delta": "Δ", "Sigma": "Σ", "Omega": "Ω", "ldots": "...", "dots": "...", "in": "∈", "cup": "∪", "cap": "∩"},
    **{name: name for name in ("sin", "cos", "tan", "log", "ln", "exp", "lim", "max", "min", "det", "gcd", "mod")},
}
_COMMAND = re.compile(rf"\\({'|'.join(sorted(_COMMANDS, key=len, reverse=True))})(?![a-zA-Z])")
_ESCAPED = re.compile(r"\\([%$#&_{}])")
_SIGN = re.compile(r"[=^√π≤≥≠≈×·±÷∞∑∫∈]|\b(?:sin|cos|tan|log|ln|exp|o)\s?\(")
_LETTER = re.compile(r"[^\W\d_]|√")  # 3 × 4 = 12 is a sum, not a formula
_WORD = re.compile(r"[^\W\d_]{3,}|\bor\b")
_FUNCTIONS = frozenset(("sin", "cos", "tan", "log", "exp", "lim", "max", "min", "det", "gcd", "mod"))


def plain_formula(text: str) -> str:
    """The formula that is all of a text, in plain signs, without the marks of mathematics around it."""
    plain = text.strip().rstrip(".")
    found = any(form.fullmatch(plain) for form in _DELIMITED)
    return plain_math(plain).strip() if found else text


def plain_math(text: str) -> str:
    """A text with what LaTeX it holds as plain signs."""
    if "\\" not in text and text.count("$") < 2:
        return text
    for form in _DELIMITED:
        text = form.sub(r"\1", text)
    if "\\" not in text:
        return _ONE_SIGN.sub(r"\1\2", text)
    text = _TEXT.sub(r"\1", _SIZES.sub("", text))
    for pattern, plain in ((_FRACTION, _write_fraction), (_ROOT, _write_root)):
        for _ in range(3):  # one in another
            text = pattern.sub(plain, text)
    text = _ESCAPED.sub(r"\1", _COMMAND.sub(lambda found: _COMMANDS[found.group(1)], text))
    return re.sub(r"\^\s*°", "°", _ONE_SIGN.sub(r"\1\2", text))


def formula_of(key: str) -> str | None:
    """A normalised answer as a formula, without spaces; None where it has no sign of one, or words."""
    if len(key) > LONGEST or not _SIGN.search(key) or not _LETTER.search(key):
        return None
    return None if set(_WORD.findall(key)) - _FUNCTIONS else "".join(_ONE_SIGN.sub(r"\1\2", key).split())


def _write_fraction(found: re.Match[str]) -> str:
    above, below = (found.group(1), found.group(2)) if found.group(1) is not None else found.group(3, 4)
    return f"{_as_term(above)}/{_as_term(below)}"


def _write_root(found: re.Match[str]) -> str:
    return f"√{_as_term(found.group(1) or found.group(2) or '')}"


def _as_term(part: str) -> str:
    """In brackets where it is more than a sign, a word or a number."""
    plain = part.strip()
    return plain if re.fullmatch(r"\\?\w+", plain) else f"({plain})"
