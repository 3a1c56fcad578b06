"""Run files: every fault names file, key and value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import (
    LabelConfig,
    ModelConfig,
    RouterConfig,
    RunConfig,
    check_label,
    load_run,
    read_run_file,
)
from demur.errors import InputError
from demur.evaluation.thresholds.criterion import Criterion
from demur.gateway.settings import read_settings
from demur.labels.from_samples import Labels
from demur.limits import from_mapping
from demur.records import SamplingSettings

GOOD = """
prompts = "prompts.jsonl"
weak = "smollm2-135m"
run = "out"
[strong]
model = "gpt-4o"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
[sampling]
n = 5
temperature = 1
stop = ["\\n"]
[label]
kind = "hard"
"""


def write(tmp_path: Path, text: str, name: str = "run.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_toml_and_yaml_say_the_same(tmp_path: Path) -> None:
    yaml = (
        "prompts: prompts.jsonl\nweak: smollm2-135m\nrun: out\nstrong: {model: gpt-4o, "
        "base_url: 'https://api.openai.com/v1', api_key_env: OPENAI_API_KEY}\n"
        'sampling: {n: 5, temperature: 1, stop: ["\\n"]}\nlabel: {kind: hard}\n'
    )
    from_toml = read_run_file(write(tmp_path, GOOD))
    assert from_toml == read_run_file(write(tmp_path, yaml, "run.yaml"))
    assert from_toml.weak == ModelConfig("smollm2-135m")
    assert from_toml.sampling.stop == ("\n",)
    assert isinstance(from_toml.sampling.temperature, float)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ('runn = "x"\n' + GOOD, "'runn'"),
        (GOOD.replace("n = 5", 'n = "five"'), "'five'"),
        (GOOD.replace("n = 5", "n = true"), "True"),
        (GOOD.replace('kind = "hard"', 'kind = "soft"'), "'soft'"),
        (GOOD.replace("n = 5", "samples = 5"), "'samples'"),
        (GOOD.replace('stop = ["\\n"]', 'stop = "\\n"'), "stop"),
        ("prompts = [", "not valid toml"),
        ('prompts = "p"', "weak"),
    ],
)
def test_faults_are_named(tmp_path: Path, wrong: str, named: str) -> None:
    with pytest.raises(InputError) as raised:
        read_run_file(write(tmp_path, wrong))
    assert named in str(raised.value)
    assert "run.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"source": "vibes"}, "'vibes' is not one of 'entropy'"),
        ({"source": "accuracy", "tau": 0.3}, "tau 0.3 belongs to source 'entropy'; source 'accuracy' takes kind"),
        ({"source": "judge", "judge": "m", "definition": "discrete"}, "source 'judge' takes judge, judge_effort"),
        ({"file": "battles.jsonl"}, "file 'battles.jsonl' belongs to source 'preference'"),
        ({"models": ["a", "b"]}, "models a,b belongs to source 'preference'"),
        ({"source": "agreement", "judge": "m"}, "judge 'm' belongs to source 'judge'; source 'agreement' takes ent"),
        ({"source": "accuracy", "max_usd": 1.0}, "max_usd 1.0 belongs to source 'judge'"),
        (
            {"kind": "soft"},
            "its kinds are believed, support, combined, calibrated, margin, hard, auto; it belongs to source 'acc",
        ),
        ({"source": "accuracy", "kind": "margin"}, "its kinds are hard, soft; it belongs to source 'entropy'"),
        ({"source": "judge", "judge": "m", "kind": "hard"}, "it has no kinds"),
        ({"kind": "agreement"}, "'agreement' is a source of its own"),
        ({"kind": "vague"}, "kind 'vague' does not fit source 'entropy'"),
        ({"tau": 0.3}, "delta and tau belong to kind 'hard', and the kind is 'believed'"),
        ({"source": "preference"}, "needs a file of preferences"),
        ({"source": "judge"}, "needs a judge"),
        ({"source": "preference", "file": "f.jsonl", "models": ["a"]}, "two names; found a"),
        ({"source": "preference", "file": "f.jsonl", "models": ["a", "a"]}, "two names; found a,a"),
    ],
)
def test_options_that_do_not_fit_the_source_say_which_do(given: dict[str, object], named: str) -> None:
    with pytest.raises(InputError) as raised:
        check_label(from_mapping(LabelConfig, given))
    assert named in str(raised.value)


def test_a_source_has_its_own_kinds_and_the_first_is_its_default() -> None:
    names = [LabelConfig(source).name for source in ("entropy", "accuracy", "quality-gap", "agreement", "judge")]
    assert names == ["entropy believed", "accuracy hard", "quality-gap prob", "agreement", "judge"]
    check_label(LabelConfig("accuracy", "soft", entailment="exact", rules=False))
    check_label(LabelConfig("entropy", "hard", tau=0.3, delta="paper", definition="discrete"))


def test_missing_file_and_foreign_ending(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run file"):
        read_run_file(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"run files end in"):
        read_run_file(write(tmp_path, "", "run.ini"))
    with pytest.raises(InputError, match="no such settings file"):
        read_settings(tmp_path / "none.toml")


def test_a_saved_run_is_found_again_where_it_was_moved_to(tmp_path: Path) -> None:
    config = RunConfig("p.jsonl", ModelConfig("a"), ModelConfig("b"), run=str(tmp_path / "old"), max_usd=1.5)
    config.save()
    (tmp_path / "old").rename(tmp_path / "new")
    found = load_run(tmp_path / "new")
    assert found.folder == tmp_path / "new"
    assert (found.max_usd, found.weak) == (1.5, config.weak)


@pytest.mark.parametrize(
    ("function", "record"),
    [
        (demur.sample, SamplingSettings),
        (demur.label, LabelConfig),
        (demur.train, RouterConfig),
        (demur.calibrate, Criterion),
    ],
)
def test_python_takes_the_options_of_the_command_and_leaves_what_is_not_given(
    function: Callable[..., object], record: type
) -> None:
    taken = inspect.signature(function).parameters
    options = [one.name for one in fields(record) if "help" in one.metadata]
    unsaid = {one.name: one.default for one in fields(record)} if record is Criterion else dict.fromkeys(options)
    assert {name: taken[name].default for name in options} == {name: unsaid[name] for name in options}
    command = next(
        one for one in app.registered_commands if one.callback and one.callback.__name__ == function.__name__
    )
    assert command.callback is not None
    assert set(options) <= set(inspect.signature(command.callback).parameters)


def test_an_option_of_the_command_is_read_as_its_field_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr("demur.pipeline.label", lambda **options: given.update(options) or Labels((), ()))
    words = ["--from", "preference", "--file", "b.jsonl", "--models", "small,large", "--tie-below", "0.5", "--no-rules"]
    assert CliRunner().invoke(app, ["label", *words, "--json"]).exit_code == 0
    said = {"source": "preference", "file": "b.jsonl", "tie_below": 0.5, "rules": False, "models": "small,large"}
    del given["run"], given["preset"], given["progress"], given["allow_endpoints"]
    of_the_command = {one.name for one in fields(LabelConfig) if "help" in one.metadata}  # others are of run files
    assert given == dict.fromkeys(of_the_command) | said
