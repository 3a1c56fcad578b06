"""A device beside a cloud, simulated: queues by hand and against queueing theory, and the command on a planted run."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import demur
from demur.errors import InputError
from demur.evaluation.device.edge_cloud import (
    Cloud,
    Edge,
    Requests,
    cloud_seconds,
    device_seconds,
    poisson,
    simulate_serving,
)
from demur.evaluation.device.front_figure import APART, front_figure, readable_labels
from demur.evaluation.device.simulate_run import (
    OperatingPoint,
    Simulation,
    distinct,
    read_arrivals,
    read_fields,
    simulate,
)
from demur.evaluation.report.headline import training_headline
from demur.gate.router import Router
from demur.models.encoders.encoder import LetterEncoder
from demur.paper.overhead.report import overhead
from demur.routing.artifact import GATE_FILE
from demur.routing.known.length_ratios import length_ratio_at
from pairs import Answerer, running_pair, write_questions


def requests(
    arrivals: list[float], seconds: list[float], *, cloud: float = 1.0, strong: list[bool] | None = None
) -> Requests:
    n = len(arrivals)
    in_cloud = np.array(strong or [False] * n)
    return Requests(np.array(arrivals), np.ones(n, dtype=bool), in_cloud, np.array(seconds), np.full(n, cloud))


def test_one_slot_serves_in_order_as_computed_by_hand() -> None:
    found = simulate_serving(requests([0, 1, 2, 10], [3, 3, 1, 1]), slots=1)
    # Begins at 0, 3, 6, 10 and ends at 3, 6, 7, 11.
    assert found.waited.tolist() == [0, 2, 4, 0]
    assert found.latency.tolist() == [3, 5, 5, 1]
    assert found.busy == pytest.approx(8 / 11)
    assert found.queue == pytest.approx(6 / 11)


def test_a_second_slot_takes_who_would_have_waited() -> None:
    assert simulate_serving(requests([0, 1, 2], [3, 3, 1]), slots=2).waited.tolist() == [0, 0, 1]


def test_a_draft_that_is_escalated_takes_the_device_and_then_the_cloud() -> None:
    found = simulate_serving(requests([0, 0], [2, 2], cloud=5.0, strong=[True, False]), slots=1)
    assert found.latency.tolist() == [7, 4]


def test_who_would_wait_too_long_goes_to_the_cloud_and_takes_no_slot() -> None:
    found = simulate_serving(requests([0, 0.5, 5], [4, 4, 4], cloud=1.5), slots=1, longest_wait=2.0)
    assert found.diverted.tolist() == [False, True, False]
    assert found.latency.tolist() == [4, 1.5, 4]


def test_who_finds_a_full_device_goes_to_the_cloud() -> None:
    """Two at the device are all that may be there: the third finds both, the fourth one of them gone."""
    found = simulate_serving(requests([0, 0.5, 1, 4.5], [4, 4, 4, 4], cloud=1.5), slots=1, longest_queue=2)
    assert found.diverted.tolist() == [False, False, True, False]
    assert found.latency.tolist() == [4, 7.5, 1.5, 7.5]


def test_the_mean_wait_is_that_of_the_pollaczek_khinchine_formula() -> None:
    arrivals = poisson(0.5, 100_000)
    seconds = np.random.default_rng(1).exponential(1.0, 100_000)
    n = len(arrivals)
    found = simulate_serving(
        Requests(arrivals, np.ones(n, dtype=bool), np.zeros(n, dtype=bool), seconds, seconds), slots=1
    )
    assert found.waited.mean() == pytest.approx(1.0, rel=0.05)  # rho / (1 - rho) x mean service, rho = .5
    assert found.busy == pytest.approx(0.5, rel=0.02)
    assert found.queue == pytest.approx(0.5, rel=0.07)  # Little: arrival rate x wait


def test_seconds_on_either_side_are_computed_by_hand() -> None:
    edge, cloud = (
        Edge(tokens_per_s=10, prompt_tokens_per_s=100),
        Cloud(ttft=0.5, tokens_per_s=50, rtt=0.1, bandwidth=1e3),
    )
    assert device_seconds(edge, np.array([200.0]), np.array([30.0])).tolist() == [5.0]
    assert cloud_seconds(cloud, np.array([400.0]), np.array([100.0])).tolist() == [pytest.approx(0.1 + 0.4 + 0.5 + 2.0)]


def test_fields_are_read_and_what_is_wrong_is_named() -> None:
    assert read_fields(Edge, "slots=4, tokens_per_s=12.5", "edge") == Edge(tokens_per_s=12.5, slots=4)
    for text, said in (
        ("slots", "'slots' is not NAME=NUMBER"),
        ("slots=0", "slots is 0"),
        ("speed=3", "unknown key 'speed'"),
        ("tokens_per_s=nan", "tokens_per_s is nan"),
    ):
        with pytest.raises(InputError, match=said):
            read_fields(Edge, text, "edge")


def test_arrivals_of_a_file_begin_at_zero_and_must_rise(tmp_path: Path) -> None:
    file = tmp_path / "arrivals.txt"
    file.write_text("5\n7.5\n7.5\n9\n")
    assert read_arrivals(str(file), 10, 0).tolist() == [0, 2.5, 2.5, 4]
    file.write_text("5\n7\n6\n")
    with pytest.raises(InputError, match=r":3: 6 s comes before"):
        read_arrivals(str(file), 10, 0)
    for text in ("poisson:0/s", "poisson:fast", str(tmp_path / "none"), "poisson:inf/s"):
        with pytest.raises(InputError, match="poisson:5/s"):
            read_arrivals(text, 10, 0)


def a_point(p95: float, usd: float | None, quality: float, share: float = 0.5) -> OperatingPoint:
    return OperatingPoint(0.5, share, share, p95 / 2, p95, 0.0, 0.5, 0.0, usd, 1.0, quality)


def test_the_cheapest_point_that_keeps_the_latency_is_chosen_and_of_equals_the_better() -> None:
    points = (a_point(9.0, 0.1, 0.9), a_point(2.0, 0.5, 0.7), a_point(1.5, 0.5, 0.8), a_point(1.0, 0.9, 0.9))
    assert Simulation(points, "", 2.0, "").chosen == points[2]
    assert Simulation(points, "", 0.5, "").chosen is None
    assert "no threshold keeps p95 at 0.5 s" in Simulation(points, "", 0.5, "").lines[-1]
    assert Simulation(points, "", None, "").chosen is None


def test_with_unknown_prices_the_smallest_strong_share_is_the_cheapest() -> None:
    points = (a_point(1.0, None, 0.9, share=0.9), a_point(1.0, None, 0.8, share=0.2))
    assert Simulation(points, "", 2.0, "").chosen == points[1]
    assert math.isclose(points[1].p95, 1.0)


def test_a_run_is_simulated_at_every_share_with_its_own_lengths_prices_and_quality(tmp_path: Path) -> None:
    run, picture = tmp_path / "run", tmp_path / "front.png"
    with running_pair() as pair:
        demur.sample(write_questions(tmp_path / "questions.jsonl"), **pair.names, run=str(run), n=4)
    demur.label(run=str(run), entailment="exact")
    demur.train(run=str(run), encoder=LetterEncoder(), methods="kernel", gate="off")
    found = simulate(
        str(run), requests=2000, arrivals="poisson:2/s", p95=60.0, encoder=LetterEncoder(), picture=str(picture)
    )
    shares = [point.strong_share for point in found.points]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares == sorted(shares)
    busy = [point.busy for point in found.points]
    assert busy[0] > 0 == busy[-1]
    first, last = found.points[0].quality, found.points[-1].quality
    assert first is not None and last is not None and first < last
    assert found.chosen is not None
    assert picture.stat().st_size > 1000


def test_thresholds_that_differ_are_printed_differently_and_points_that_do_not_differ_once() -> None:
    near = [replace(a_point(1.0 + i, 0.5, 0.7, share=i / 10), threshold=0.2799 + i * 1e-5) for i in range(3)]
    printed = Simulation((*near,), "", 2.5, "").lines
    assert [float(line.split()[0]) for line in printed[1:4]] == [0.2799, 0.27991, 0.27992]
    (said,) = re.findall(r"at least cost: threshold (\S+) ", printed[-1])
    assert float(said) == 0.2799
    same = [replace(near[0], threshold=0.3), near[1]]
    assert distinct([near[0], *same]) == (near[0], near[1])


def test_labels_do_not_cover_each_other_and_both_ends_have_one() -> None:
    across = APART[0] + 1
    assert readable_labels(np.array([[0.0, 0], [3, 3], [across, 0], [2 * across, 5], [2 * across, 0]])) == [0, 4, 2]
    assert readable_labels(np.array([[0.0, 0], [0, APART[1] + 1]])) == [0, 1]  # above each other


def test_the_front_shows_quality_against_latency_and_usd_where_prices_are_known() -> None:
    shares, quality, p95, usd = [0.0, 0.5, 1.0], [0.2, 0.5, 0.6], [30.0, 2.0, 1.0], [0.0, 1.0, 3.0]
    (late, dear) = front_figure(shares, quality, p95, usd, 1).axes
    assert (late.get_xscale(), dear.get_xscale()) == ("log", "linear")  # latency is thirty times as long at one end
    assert [line.get_xdata().tolist() for line in dear.get_lines()] == [usd, [1.0]]  # the point that was asked for
    assert {text.get_text() for text in dear.texts} == {"0%", "50%", "100%"}
    assert len(front_figure(shares, quality, p95, None, None).axes) == 1


def test_a_picture_replaces_no_file_unless_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    for draw in (partial(simulate, "no run"), partial(overhead, n=20)):
        with pytest.raises(InputError, match=r"mine\.png exists; give another name, or --force to replace a file"):
            draw(picture=str(tmp_path / "mine.png"))
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


def four_words(prompt: str, seed: int) -> str:
    """Sure of colours; of sums another number with every seed."""
    return f"it is number {seed}" if "plus" in prompt else "it is surely red"


def two_words(prompt: str, seed: int) -> str:
    return f"is {prompt.split()[-1]}"


SUMS = [f"What is {i} plus {i + 1}?" for i in range(10, 35)]  # five words of 19 bytes each
COLOURS = [f"Which hue is no {i}?" for i in range(10, 35)]


def trained(tmp_path: Path, prompts: list[str], answers: tuple[Answerer, Answerer], **router: Any) -> str:
    """A run without gold answers."""
    run, file = str(tmp_path / "run"), tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))
    with running_pair(answers=answers) as pair:
        demur.sample(file, **pair.names, weak_usd="1/2", strong_usd="10/30", run=run, n=4)
    demur.label(run=run, entailment="exact", kind="hard")  # ties on colours, where both are sure
    demur.train(run=run, encoder=LetterEncoder(), methods="kernel", gate="off", **router)
    return run


def test_latency_energy_and_money_of_either_end_are_computed_by_hand(tmp_path: Path) -> None:
    """Four words of the device's or two of the cloud's; nobody waits."""
    assert {(len(one), len(one.split())) for one in SUMS + COLOURS} == {(19, 5)}
    run, times = trained(tmp_path, SUMS + COLOURS, (four_words, two_words)), tmp_path / "times.txt"
    times.write_text("".join(f"{100 * i}\n" for i in range(40)))
    ratio = length_ratio_at(Router.load(Path(run) / "router", encoder=LetterEncoder()).prompt_router.record, 0.5)
    assert ratio and ratio.ratio == 0.5 and ratio.prompts >= 20  # by which the ledger counts what is saved
    found = simulate(
        run,
        arrivals=str(times),
        edge="tokens_per_s=10,prompt_tokens_per_s=100,slots=1,joules_per_token=3",
        cloud="ttft=0.5,tokens_per_s=4,rtt=0.1,bandwidth=190",
        p95=0.6,
        encoder=LetterEncoder(),
    )
    device, middle, cloud = (found.points[i] for i in (0, len(found.points) // 2, -1))
    assert (device.strong_share, cloud.strong_share) == (0.0, 1.0)
    assert (device.p50, device.p95) == pytest.approx((0.45, 0.45))  # 5 / 100 + 4 / 10
    assert (cloud.p50, cloud.p95) == pytest.approx((1.2, 1.2))  # .1 + 19 / 190 + .5 + 2 / 4
    assert (device.joules, cloud.joules) == (12.0, 0.0)  # 4 tokens of 3 J
    assert device.usd_per_1k == pytest.approx(1000 * (5 * 1 + 4 * 2) / 1e6)
    assert cloud.usd_per_1k == pytest.approx(1000 * (5 * 10 + 2 * 30) / 1e6)
    assert device.busy == pytest.approx(40 * 0.45 / 3900.45)
    assert (device.queue, device.diverted) == (0.0, 0.0)
    assert found.chosen == device  # alone within .6 s
    assert 0.3 < middle.strong_share < 0.7
    assert middle.joules == pytest.approx(12 * (1 - middle.strong_share))
    assert middle.usd_per_1k == pytest.approx(0.013 * (1 - middle.strong_share) + 0.11 * middle.strong_share)
    told = training_headline(Router.load(Path(run) / "router", encoder=LetterEncoder()), math.inf)
    assert found.measured == "believed, from how the answers agree"
    assert told.strong_quality is not None  # of 2,000 requests that are drawn, not of each prompt once
    assert cloud.quality == pytest.approx(told.strong_quality, abs=0.05)
    assert f"quality {device.quality:.3f} of {cloud.quality:.3f} always-strong" in found.lines[-1]


def test_without_belief_the_quality_is_unknown_and_the_front_shows_the_calls_to_the_cloud(tmp_path: Path) -> None:
    """What the samples let one believe is saved beside the gate, of which a router of elsewhere may have none."""
    run, picture = trained(tmp_path, SUMS + COLOURS, (four_words, two_words)), tmp_path / "front.png"
    Path(run, "router", GATE_FILE).unlink()
    found = simulate(run, requests=500, p95=60.0, encoder=LetterEncoder(), picture=str(picture))
    assert {point.quality for point in found.points} == {None}
    assert found.measured.startswith("unknown: no prompt has gold answers")
    assert found.points[0].line(4).split()[-1] == "unknown"
    (panel, _) = front_figure([0.0, 0.5, 1.0], None, [3.0, 2.0, 1.0], [0.0, 1.0, 3.0], None).axes
    assert panel.get_ylabel() == "share of calls to the cloud"
    assert panel.lines[0].get_ydata().tolist() == [0.0, 0.5, 1.0]


def test_unknown_prompts_go_where_the_gateway_sends_them(tmp_path: Path) -> None:
    """A third of the prompts asks for verses: no two answers mean the same, and no score keeps them on the device."""
    verses = [f"Write {i} verses on it, please." for i in range(10, 35)]

    def weak(prompt: str, seed: int) -> str:
        return f"weak verse {seed}" if "verses" in prompt else four_words(prompt, seed)

    def strong(prompt: str, seed: int) -> str:
        return f"strong verse {seed}" if "verses" in prompt else two_words(prompt, seed)

    run = trained(tmp_path, SUMS + COLOURS + verses, (weak, strong), unknown="strong")
    found = simulate(run, requests=3000, encoder=LetterEncoder())
    assert found.points[0].strong_share == pytest.approx(1 / 3, abs=0.03)
    demur.train(run=run, encoder=LetterEncoder(), unknown="score")
    assert simulate(run, requests=3000, encoder=LetterEncoder()).points[0].strong_share == 0.0
