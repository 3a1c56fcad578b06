"""`demur reproduce`: what is missing is said, and the shared data give the printed anchors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demur.curves import cost_quality_curve
from demur.errors import InputError
from demur.methods import KNN
from demur.reproducing.outcomes import benchmark
from demur.reproducing.part import Part
from demur.reproducing.reproduction import PARTS, _made, reproduce
from demur.reproducing.systems import ROUTERS, SYSTEMS
from worlds import planted


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_finds_the_planted_direction(router: str) -> None:
    X, y, p = planted(1200)
    scores = ROUTERS[router](X[:900], y[:900], X[900:])
    found, best = (cost_quality_curve(s, 1 - p[900:], np.full(300, 0.9)).apgr for s in (scores, p[900:]))
    assert found - 0.5 > 0.4 * (best - 0.5)  # MF with its default decay finds the least


def test_one_neighbour_gives_scores_that_no_threshold_can_tune() -> None:
    X, y, _ = planted(200)
    assert set(KNN(1).fit(X, y).predict_proba(X)[:, 1]) <= {0.0, 1.0}


def test_rows_are_named_once() -> None:
    names = [(one.name, one.source) for one in SYSTEMS]
    assert len(set(names)) == len(names)


def test_missing_data_become_a_row_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(part: Part) -> None:
        benchmark(tmp_path, "gsm8k")

    assert "not computable" in _made("table-1", lacking).rows[0][0]
    with pytest.raises(InputError, match="no part is called"):
        reproduce(tmp_path, only=("table-9",))
    with pytest.raises(InputError, match="no such folder"):
        reproduce(tmp_path / "nothing")
    assert "table-1" in PARTS


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n", "weak", "strong", "oracle"),
    [
        ("mt_bench", 72, 8.28125, 9.21181, (8.18, 17.08, 0.967)),
        ("gsm8k", 1307, 0.637337, 0.857689, (11.02, 17.63, 1.133)),
        ("mmlu", 14037, 0.680915, 0.805870, (6.25, 10.00, 1.296)),
    ],
)
def test_ends_and_oracle_are_those_of_the_design(
    shared_rows: Callable[[str], object], name: str, n: int, weak: float, strong: float, oracle: tuple[float, ...]
) -> None:
    from conftest import SHARED

    shared_rows(f"outcomes/{name}_gpt4_mixtral")
    found = benchmark(SHARED, name)
    curve = cost_quality_curve(np.zeros(n), found.weak, found.strong)
    assert (round(curve.weak_quality, 6), round(curve.strong_quality, 6)) == pytest.approx((weak, strong), abs=5e-6)
    best = curve.oracle
    assert (100 * best.cpt(0.5), 100 * best.cpt(0.8)) == pytest.approx(oracle[:2], abs=0.005)
    assert best.apgr == pytest.approx(oracle[2], abs=0.001)  # the design cuts 1.2965 to 1.296
    assert (curve.cpt(0.5), curve.cpt(0.8), curve.apgr) == pytest.approx(
        (0.5, 0.8, 0.5)
    )  # one score for all: the chord
