"""How good an answer is, against gold answers: exact, containing, numeric, multiple choice. All are Graders.

Normalisation follows SQuAD's: case, punctuation, articles and white space do not count. It judges answers against gold;
whether two answers mean the same is decided elsewhere (rules, entailment).
"""

from __future__ import annotations

import re
import string
import unicodedata

from demur.records import Prompt

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "–—’‘“”…", " "))
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?|[-−]?\.\d+")
_LETTER = re.compile(r"\b([A-Z])\b")


def normalise_answer(text: str) -> str:
    """Lower case, no accents, no punctuation, no articles, single spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(_ARTICLE.sub(" ", plain.translate(_PUNCTUATION)).split())


def exact(prompt: Prompt, answer: str) -> float:
    """1 when the answer equals a gold answer after normalisation, else 0."""
    return float(normalise_answer(answer) in {normalise_answer(gold) for gold in prompt.answers})


def containment(prompt: Prompt, answer: str) -> float:
    """1 when a gold answer stands in the answer as whole words, after normalisation, else 0."""
    said = f" {normalise_answer(answer)} "
    golds = (normalise_answer(gold) for gold in prompt.answers)
    return float(any(gold and f" {gold} " in said for gold in golds))


def last_number(text: str) -> float | None:
    """The number that an answer ends on (``#### 18``, ``$1,234.50``); None without one."""
    marked = text.rpartition("####")[2] if "####" in text else text
    found = _NUMBER.findall(marked)
    return float(found[-1].replace(",", "").replace("−", "-")) if found else None


def numeric(prompt: Prompt, answer: str) -> float:
    """1 when the last number of the answer equals a gold number (to 1e-4 relative), else 0."""
    said = last_number(answer)
    if said is None:
        return 0.0
    golds = (last_number(gold) for gold in prompt.answers)
    return float(any(gold is not None and abs(said - gold) <= 1e-4 * max(1.0, abs(gold)) for gold in golds))


def multiple_choice(prompt: Prompt, answer: str) -> float:
    """1 when the answer names the gold letter, or else says the gold option's text; 0 otherwise."""
    gold = prompt.answers[0].strip().upper()
    letters = _LETTER.findall(answer.strip())
    if letters:
        named = re.search(r"answer\s*(?:is|:)?\s*\(?([A-Z])\b", answer)
        return float((named.group(1) if named else letters[0]) == gold)
    option = prompt.choices[ord(gold) - ord("A")]
    return float(normalise_answer(option) == normalise_answer(answer))


def grade(prompt: Prompt, answer: str) -> float:
    """Quality in {0, 1} by the kind of gold: multiple choice, a number, or text (containment)."""
    if prompt.choices:
        return multiple_choice(prompt, answer)
    if prompt.answers and all(_NUMBER.fullmatch(gold.strip().lstrip("$")) for gold in prompt.answers):
        return numeric(prompt, answer)
    return containment(prompt, answer)
