"""Identity of samples: what changes an answer changes its key."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import demur
from demur.models.requests.request import BASE_SEED_SPACING, base_seed
from demur.records import SamplingSettings, content_hash, count_of, dollars, encodable, fact_lines, on_one_line

OTHER: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "max_tokens": 3,
    "stop": ("\n",),
    "seed": 7,
    "template": "Q: {prompt}",
    "system": "Be brief.",
    "chat": False,
    "reasoning_effort": "low",
}


@pytest.mark.parametrize("name", [f.name for f in fields(SamplingSettings) if f.name != "n"])
def test_every_setting_but_n_is_part_of_a_samples_identity(name: str) -> None:
    changed = replace(SamplingSettings(), **{name: OTHER[name]})
    assert changed.key != SamplingSettings().key


def test_more_samples_of_the_same_kind_share_their_key() -> None:
    assert SamplingSettings(n=3).key == SamplingSettings(n=50).key


def test_hash_does_not_depend_on_key_order() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})


def test_seeds_of_two_prompts_never_meet() -> None:
    settings = SamplingSettings(n=1000)
    bases = {base_seed(f"prompt {i}", settings) for i in range(200)}
    ordered = sorted(bases)
    assert all(b - a >= BASE_SEED_SPACING > settings.most for a, b in pairwise(ordered))
    assert max(ordered) + settings.most < 2**31


def test_a_text_that_utf_8_cannot_encode_is_made_one_that_it_can() -> None:
    assert encodable("half \ud83d of an emoji") == "half ? of an emoji"
    assert encodable("größer 😀") == "größer 😀"


def test_a_text_is_cut_to_one_line() -> None:
    assert on_one_line("two\n lines", 9) == "two lines"
    assert on_one_line("two\n lines", 8) == "two lin…"


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("prompt",), "0 prompts"),
        (1, ("prompt",), "1 prompt"),
        (2000, ("prompt",), "2,000 prompts"),
        (1, ("batch", "batches"), "1 batch"),
        (2, ("batch", "batches"), "2 batches"),
        (1, ("prompt has", "prompts have"), "1 prompt has"),
    ],
)
def test_a_number_agrees_with_what_it_counts(number: int, words: tuple[str, ...], said: str) -> None:
    assert count_of(number, *words) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        *((0, "$0"), (0.00123456, "$0.00123"), (0.00003, "$0.00003"), (0.0704, "$0.0704"), (0.104, "$0.104")),
        *(
            (0.25, "$0.25"),
            (0.9996, "$1.00"),
            (1.5, "$1.50"),
            (2.499, "$2.50"),
            (1234.5, "$1,234.50"),
            (-0.02, "-$0.02"),
        ),
    ],
)
def test_an_amount_has_three_digits_or_its_cents(usd: float, said: str) -> None:
    assert dollars(usd) == said


def test_amounts_have_one_form_everywhere() -> None:
    """An amount that a module formats by itself, such as ${usd:.4f}, is a second form."""
    own = re.compile(r"\$\{[^{}]*\}")
    modules = [path for path in Path(demur.__file__).parent.rglob("*.py") if path.name != "records.py"]
    assert not [(path.name, found) for path in modules for found in own.findall(path.read_text())]


def test_facts_are_aligned_and_an_empty_name_goes_on_with_the_one_before() -> None:
    assert fact_lines([("price", "$1"), ("kept", "yes"), ("", "and no")]) == [
        "  price  $1",
        "  kept   yes",
        "         and no",
    ]
    assert fact_lines([]) == []
