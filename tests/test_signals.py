"""AUROC by hand, and a planted signal that the card must name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.signals import auroc, card, signals


def test_auroc_by_hand() -> None:
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])) == 1.0
    assert auroc(np.array([1.0, 1.0]), np.array([0, 1])) == 0.5
    assert auroc(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0])) == 0.5


def test_the_card_recommends_the_planted_signal_and_says_when_there_is_none() -> None:
    random = np.random.default_rng(0)
    wrong = random.integers(0, 2, 300)
    values = {"noise": random.normal(size=300), "planted": wrong + random.normal(0, 0.5, 300)}
    assert card("m", "d", values, wrong).lines[-1].strip() == "use planted"
    assert "none of them" in card("m", "d", {"noise": values["noise"] * 0}, wrong).lines[-1]


def test_what_cannot_be_measured_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs both"):
        card("m", "d", {"a": np.zeros(3)}, np.zeros(3))
    (tmp_path / "s.jsonl").write_text('{"question": "q", "answers": ["a"], "models": {"m": {}}}\n')
    with pytest.raises(InputError, match="samples"):
        signals(tmp_path / "s.jsonl")
