"""The paper's preset: which keys it fills, that what is given stays, and what labels and routers come of it; tau."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import LabelConfig, read_run_file
from demur.config.given_options import label_settings
from demur.errors import InputError
from demur.evaluation.experiment.tau_sweep import TauRow, TauSweep, swept, tau_sweep
from demur.routing.artifact import read_description
from pairs import Pair, running_pair, write_questions

HEAD = 'prompts = "p.jsonl"\nweak = "smollm2-135m"\nstrong = "qwen2.5-coder-1.5b"\npreset = "paper"\n'


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def sampled(tmp_path: Path, pair: Pair) -> str:
    run = str(tmp_path / "run")
    demur.sample(write_questions(tmp_path / "prompts.jsonl"), **pair.names, run=run, n=4)
    return run


def test_the_preset_fills_the_keys_that_are_not_given(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(HEAD + "[label]\ntau = 0.5\n[router]\ngamma = 3\n")
    found = read_run_file(tmp_path / "run.toml")
    label, router = found.label, found.router
    assert (label.definition, label.delta, label.kind, label.tau) == ("paper", "paper", "hard", 0.5)
    assert (router.weighting, router.k, router.gamma, router.served) == ("paper", 1, 3.0, "sw")
    assert router.methods == ("sw", "mf", "mlp", "knn")
    assert (found.sampling.n, found.preset) == (10, "")


def test_an_unknown_preset_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(HEAD.replace('"paper"', '"papr"'))
    with pytest.raises(InputError, match="no preset is called 'papr'; known: paper"):
        read_run_file(tmp_path / "run.toml")
    with pytest.raises(InputError, match="no preset is called 'papr'"):
        label_settings(LabelConfig(), {}, "papr")


def test_labels_and_routers_of_the_preset_are_the_papers(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    labels = demur.label(run=run, preset="paper", entailment="exact", tau=0.3)
    assert (labels.definition, labels.preferences[0].kind) == ("paper", "entropy hard")
    assert {row.target for row in labels.preferences} <= {0.0, 0.5, 1.0}
    demur.train(run=run, preset="paper")
    saved = {name: read_description(Path(run) / "routers" / name)["params"] for name in ("sw", "knn", "mf", "mlp")}
    assert saved["sw"]["weighting"] == "paper"
    assert saved["knn"]["k"] == 1
    assert read_description(Path(run) / "router")["method"] == "sw"


def test_what_is_given_beside_the_preset_stays(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, preset="paper", methods=("knn",), serve="knn", k=3)
    assert read_description(Path(run) / "router")["params"]["k"] == 3


def test_more_neighbours_than_prompts_are_named(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    with pytest.raises(InputError, match="k = 9999 neighbours of"):
        demur.train(run=run, methods=("knn",), k=9999)


def test_evaluate_shows_the_preset_beside_hard_labels_of_the_same_entropies(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic",))
    found = demur.evaluate(run=run)
    assert [row.router for row in found.rows][1:3] == ["paper preset, sw", "hard SE, sw"]
    assert sum("against the paper's preset (Eqs. 2, 3 and 6, SW)" in line for line in found.findings) == 1


def test_a_larger_tau_makes_more_ties() -> None:
    """Eq. 3 over the strong model's entropy: 0, 1/9, 1 and 1/2."""
    weak, strong = np.ones(4), np.array([1.0, 0.9, 0.5, 2.0])
    rows = swept("", weak, strong, "paper", (0.1, 0.2, 1.0)).rows
    assert [(row.ties, row.strong, row.weak) for row in rows] == [(0.25, 0.5, 0.25), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0)]
    assert {row.as_accuracy for row in rows} == {None}
    accuracy = np.array([0.5, 0.5, 1.0, np.nan])  # of the last prompt nobody knows; only tau .2 agrees on the others
    rows = swept("", weak, strong, "paper", (0.1, 0.2, 1.0), accuracy=accuracy).rows
    assert [row.as_accuracy for row in rows] == pytest.approx([2 / 3, 1.0, 2 / 3])
    with pytest.raises(InputError, match="tau is -1; it must be at least 0"):
        swept("", weak, strong, "paper", (-1,))


def test_tau_is_chosen_on_one_half_and_confirmed_on_the_other() -> None:
    """Only tau 0 keeps the small difference that tells where the strong model is needed."""
    X = np.repeat(np.eye(2), 50, axis=0)
    strong = np.where(X[:, 0] == 1, 0.95, 1.05)
    quality = (1.0 - X[:, 0], np.ones(100))
    found = swept("", np.ones(100), strong, "paper", (0.0, 0.1), score=lambda y: y, quality=quality)
    assert found.best is not None
    assert found.best.tau == 0.0
    assert found.best.confirmed is not None
    assert found.best.confirmed[0] == pytest.approx(0.75, abs=0.05)  # half of the prompts gain: the oracle's .75
    assert found.rows[1].chosen is None  # all tie: nothing to learn
    assert found.sentence.startswith("tau 0 has the largest APGR on the half for choosing; on the other half it has .7")


def test_labels_without_entropies_have_no_tau(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, source="accuracy")
    with pytest.raises(InputError, match="carry no entropies"):
        tau_sweep(run=run)


def test_the_sweep_of_a_run(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    lines = tau_sweep(run=run).lines
    assert "SE rao_blackwell, difference symmetric; by the accuracy of first answers " in lines[0]
    assert re.match(r" +0\.1( +\d+%){4}", lines[4])
    assert len(lines) == 2 + 9 + 1
    assert "takes 40 test prompts with gold answers" in lines[-1]  # grades by hand are of training prompts


@pytest.mark.parametrize("measured", [True, False])
def test_the_command_after_a_sweep_names_the_tau_that_it_found(measured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    span = (0.7, 0.6, 0.8) if measured else None
    rows = (TauRow(0.1, 0.5, 0.5, 0.0), TauRow(0.25, 0.5, 0.5, 0.0, span, span))
    monkeypatch.setattr("demur.evaluation.experiment.tau_sweep.tau_sweep", lambda **_: TauSweep("", rows))
    said = CliRunner().invoke(app, ["tau", "--run", "other"])
    assert said.exit_code == 0, said.output
    assert f"next: demur label --kind hard --tau {'0.25' if measured else 'TAU'} --run other" in said.stderr


def test_the_related_systems_are_trained_by_name_and_served(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("routerdc", "graphrouter"), serve="graphrouter")
    served = demur.Router.load(Path(run) / "router")
    assert read_description(Path(run) / "router")["method"] == "graphrouter"
    assert served.route("What is 31 plus 17?").score > served.route("Which colour has the sea in picture 9?").score
