"""`demur overhead`: times by a clock of the test's own, growth of known power laws, a row for every architecture."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import demur
from demur.cli.commands.paper import overhead as overhead_command
from demur.cli.commands.paper import reproduce as reproduce_command
from demur.errors import InputError
from demur.meaning.rules.known_languages import ENCODER
from demur.methods import BY_NAME
from demur.paper.overhead.architectures import ARCHITECTURES, CASCADE, POOLS, gate_name, planted_world
from demur.paper.overhead.measure import BATCH, Cost, measure_fitted, measure_within, with_times
from demur.paper.overhead.quality import Apgr, Qualities, run_quality
from demur.paper.overhead.report import COLUMNS, Overheads, measure_or_estimate, overhead, sizes_up_to
from demur.paper.overhead.timing import array_bytes, call_seconds, least_expected, slope
from pairs import running_pair, write_questions


@dataclass
class Ticks:
    """A clock that a call moves on."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_call_is_not_counted_and_no_call_begins_after_the_limit() -> None:
    clock, durations = Ticks(), iter([9.0, 1.0, 2.0, 3.0, 4.0])

    def call(_: int) -> None:
        clock.now += next(durations)

    assert call_seconds(call, most=10, limit=5.5, clock=clock).tolist() == [1.0, 2.0, 3.0]


def test_no_more_calls_than_wanted() -> None:
    assert len(call_seconds(lambda _: None, most=4, limit=1.0, clock=Ticks())) == 4


def test_the_slope_of_a_power_law_is_its_exponent() -> None:
    sizes = (1_000, 12_000, 100_000)
    assert slope(sizes, [3e-7 * n**1.7 for n in sizes]) == pytest.approx(1.7)
    assert slope(sizes, [5.0, 5.0, 5.0]) == pytest.approx(0.0, abs=1e-9)
    assert slope(sizes, [5.0, None, None]) is None


def test_a_larger_size_is_expected_by_the_growth_of_the_two_below_in_proportion_at_most() -> None:
    assert least_expected((10, 20), [1.0, 4.0], 40) == pytest.approx(8.0)
    assert least_expected((10, 40), [1.0, 2.0], 160) == pytest.approx(4.0)
    assert least_expected((10,), [1.0], 40) is None


def test_arrays_are_counted_once_and_within_what_holds_them() -> None:
    method = BY_NAME["logistic"]().fit(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1.0]))
    expected = sum(value.nbytes for value in vars(method).values() if isinstance(value, np.ndarray))
    assert array_bytes(method) == expected
    row = np.zeros(10)
    assert array_bytes([row, row, (np.zeros(5),)]) == 8 * 15


def test_every_method_and_system_has_a_row() -> None:
    assert {*BY_NAME, *POOLS, CASCADE} <= {*ARCHITECTURES}
    assert [name for name in ARCHITECTURES if name.startswith("gate")] == [gate_name(extra) for extra in range(4)]


def ticking() -> Iterator[float]:
    """Each reading of the clock is further from the one before it."""
    now = 0.0
    for step in range(100_000):
        now += 1e-6 * step
        yield now


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_learns_decides_and_is_measured(name: str) -> None:
    fitted = ARCHITECTURES[name](planted_world(60, 8))()
    single, several = fitted.decide(slice(3, 4)), fitted.decide(slice(0, BATCH))
    assert (single.shape, several.shape) == ((1,), (BATCH,))
    assert single[0] == pytest.approx(several[3], abs=1e-5)
    readings = ticking()
    cost = measure_fitted(Cost(name, 60, 1.0), fitted, lambda: next(readings))
    assert cost.p50 is not None
    assert cost.p99 is not None
    assert 0 < cost.p50 <= cost.p99
    assert (cost.memory or 0) > 0
    assert (cost.artifact or 0) > 0


@pytest.mark.parametrize("name", [*BY_NAME, *POOLS, CASCADE])
def test_the_planted_preference_is_one_that_can_be_learned(name: str) -> None:
    """Where nothing can be learned, some methods stop early and look cheap."""
    world = planted_world(800, 8)
    scores = ARCHITECTURES[name](world)().decide(slice(None))
    direction = np.linalg.lstsq(world.X, world.y - world.y.mean(), rcond=None)[0]
    assert np.corrcoef(scores, world.queries @ direction)[0, 1] > 0.5


def test_p50_p99_and_throughput_of_known_times() -> None:
    cost = with_times(Cost("sw", 10), np.arange(101) / 100, np.array([1.0, 2.0, 4.0]))
    assert (cost.p50, cost.p99, cost.per_second) == pytest.approx((0.5, 0.99, BATCH / 2))


def test_a_fit_that_takes_too_long_is_ended_and_said() -> None:
    cost = measure_within("routerdc", 400, 16, 0.001)
    assert cost.why_not == "the fit takes longer than 0.001 s"
    assert cost.fit_seconds is None


def test_a_fit_that_smaller_sizes_tell_to_be_slow_is_not_begun() -> None:
    smaller = [Cost("kernel", 1_000, 1.0), Cost("kernel", 10_000, 100.0)]
    cost = measure_or_estimate("kernel", 100_000, 384, 60.0, smaller)
    assert cost.why_not == ("the fit is expected to take longer than 60 s; by its growth 1,000 s or more")


def test_sizes_end_with_the_one_that_is_asked_for() -> None:
    assert sizes_up_to(500) == (500,)
    assert sizes_up_to(12_000) == (1_000, 12_000)
    assert sizes_up_to(100_000) == (1_000, 12_000, 100_000)


FOUND = Overheads(
    384,
    (
        Cost("sw", 1_000, 0.01, 1e-4, 2e-4, 1e4, 10**6, 10**6),
        Cost("kernel", 1_000, 1.0, 1e-4, 2e-4, 1e4, 10**6, 10**6),
        Cost(gate_name(2), 1_000, 1.0, 1e-4, 2e-4, 1e4, 100, None),
        Cost("sw", 10_000, 0.1, 1e-3, 2e-3, 1e3, 10**7, 10**7),
        Cost("kernel", 10_000, why_not="the fit takes longer than 60 s"),
        Cost(gate_name(2), 10_000, 1.0, 1e-4, 2e-4, 1e4, 100, None),
    ),
    (),
    Qualities("a run", {"sw": Apgr(0.6, 0.55, 0.65)}, 0.002, {gate_name(2): "at most 1 extra of the run's samples"}),
    1.0,
)


def test_growth_stands_in_the_table_and_what_was_not_measured_is_said() -> None:
    assert FOUND.growth["sw"] == pytest.approx((1.0, 1.0, 1.0))
    assert FOUND.growth["kernel"] == (None, None, None)
    text = "\n".join(FOUND.lines)
    assert "kernel: not measured: the fit takes longer than 60 s" in text
    assert ".600 [.550, .650]" in text
    assert "at most 1 extra of the run's samples" in text  # in place of a figure


def test_a_decision_costs_its_time_and_that_of_its_embedding_and_the_gate_its_samples() -> None:
    found = replace(FOUND, encoders=(Cost("e", 0, p50=4e-3), Cost("f", 0, p50=9.0)), usd_per_hour=3.6)
    assert found.usd_per_1k(Cost("sw", 1, p50=1e-3)) == pytest.approx(5e-3)  # 1,000 x 5 ms = 5 s, at $.001 per second
    assert found.usd_per_1k(Cost(gate_name(0), 1, p50=1e-3)) == pytest.approx(1e-3)
    assert found.usd_per_1k(Cost(gate_name(2), 1, p50=1e-3)) == pytest.approx(4.001)  # 2 samples x 1,000 x $0.002
    assert "$0.005" in found.parts[1].content.rows[0]


def test_an_unknown_price_of_extra_samples_is_no_zero() -> None:
    assert FOUND.quality is not None
    for unknown in (replace(FOUND, quality=None), replace(FOUND, quality=replace(FOUND.quality, usd_of_a_sample=None))):
        (row,) = [row for row in unknown.parts[1].content.rows if row[0] == gate_name(2)]
        assert row[len(COLUMNS)] == "unknown"


def test_a_picture_is_drawn_with_and_without_quality() -> None:
    pytest.importorskip("matplotlib")
    assert FOUND.draw().axes[0].get_ylabel().startswith("APGR")
    (axes,) = replace(FOUND, quality=None).draw().axes
    assert axes.get_ylabel() == "fit (s) at N = 10,000"
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["sw", "kernel, N = 1,000", gate_name(2)]  # where the largest was not measured


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 5}, "--n 5: give at least 20"),
        ({"seconds": 0.0}, "--seconds 0: give the most"),
        ({"dimension": 0}, "--dimension 0"),
        ({"usd_per_hour": float("nan")}, "--usd-per-hour nan"),
        ({"run": "a", "source": "b"}, "give one"),
        ({"source": "no/such/folder"}, "no such folder"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_measured(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        overhead(**given)  # type: ignore[arg-type]


def test_on_a_run_every_router_and_the_cascade_has_an_apgr(tmp_path: Path) -> None:
    """Letters tell sums from colours, and so does the weak answer: all are far above random, .5."""
    run = str(tmp_path / "run")
    with running_pair() as pair:
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=4)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, encoder="letters", methods=["logistic"])
    found = run_quality(run)
    assert {*found.apgr} == {*BY_NAME, *POOLS, CASCADE, *map(gate_name, range(4))}
    assert min(one.value for one in found.apgr.values()) > 0.6
    assert found.usd_of_a_sample == 0.0  # loopback endpoints cost nothing
    demur.train(run=run, encoder="letters", methods=["logistic", CASCADE])  # its gate is the cascade's
    again = run_quality(run)
    assert {*again.apgr} == {*found.apgr}
    assert again.apgr[CASCADE] == found.apgr[CASCADE]
    demur.train(run=run, encoder="letters", methods=["logistic"], gate="off")
    assert run_quality(run).apgr[gate_name(1)] == found.apgr[gate_name(1)]


def test_what_cannot_be_measured_on_a_run_is_said(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    with running_pair() as pair:
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=2)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, encoder="letters", methods=["logistic"])
    found = run_quality(run)
    assert found.lacking == dict.fromkeys((gate_name(2), gate_name(3)), "at most 1 extra of the run's samples")
    assert {*found.apgr} == {*ARCHITECTURES} - {*found.lacking}


def test_encoders_are_timed_alone_and_the_usual_one_is_the_products_own() -> None:
    found = replace(FOUND, encoders=(Cost("e", 0, p50=4e-3, p99=5e-3, per_second=300.0),))
    assert found.parts[-1].content.columns == ("encoder", *COLUMNS[2:5])
    assert found.parts[-1].content.rows == (("e", "4", "5", "300"),)
    for command in (overhead_command, reproduce_command):
        assert inspect.signature(command).parameters["encoder"].default == ENCODER
