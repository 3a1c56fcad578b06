"""Models that may be swapped: what is said of them, and the command that changes them round."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demur.config import ModelConfig, RunConfig
from demur.gateway.settings_file import dearer_weak_model
from demur.models.local import endpoint_of
from demur.models.swapped_models import better_sentence, dearer_sentence, swap_command
from demur.records import FloatArray, SamplingSettings

SMALL = ModelConfig("small", "http://gpu:8000/v1", usd_per_million_input=0.5, usd_per_million_output=1.0)
LARGE = ModelConfig("large", "https://api.example/v1", "BIG", usd_per_million_input=2.5, usd_per_million_output=10.0)


def test_prices_are_compared_where_both_are_known() -> None:
    small, large = endpoint_of(SMALL), endpoint_of(LARGE)
    assert dearer_sentence(small, large) == dearer_sentence(small, small) == ""
    assert dearer_sentence(large, small) == (
        "the weak model large costs more than the strong model small: $2.50 in and $10.00 out against "
        "$0.50 in and $1.00 out, per million tokens"
    )
    unknown = replace(small, usd_per_million_input=None, usd_per_million_output=None, base_url="https://api.example/v1")
    assert dearer_sentence(large, unknown) == ""


HALF = np.array([0.0, 0.2, 0.5, 0.7] * 30)


@pytest.mark.parametrize(
    ("targets", "shares"),
    [
        (HALF, ("50% of 120", "25%")),
        (1 - HALF, None),
        (np.linspace(0, 1, 100), None),  # ranks: their mean is a half
        (np.zeros(29), None),
        (np.zeros(30), ("100% of 30", "0%")),
        (np.array([0.0] * 16 + [1.0] * 14), None),  # within chance
        (np.array([0.0] * 20 + [0.51] * 40), None),  # preferred less often, though by more
        (np.array([]), None),
    ],
)
def test_labels_prefer_the_weak_model_by_more_than_chance(targets: FloatArray, shares: tuple[str, str] | None) -> None:
    said = better_sentence("small", "large", targets)
    assert said == (
        f"by the labels the weak model small is the better one: it is preferred on {shares[0]} prompts, the strong "
        f"model large on {shares[1]}"
        if shares
        else ""
    )


def test_the_command_says_all_that_a_folder_would_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginning again drops the settings of before."""
    monkeypatch.chdir(tmp_path)
    asked = SamplingSettings(n=3, temperature=0.7, max_tokens=9, stop=("a b", "c"), seed=5, chat=False)
    asked = replace(asked, template="Q: {prompt}", system="Be brief.")
    config = RunConfig(str(tmp_path / "my prompts.jsonl"), LARGE, SMALL, run="mine", sampling=asked, max_usd=2)
    config = replace(config, store="postgresql://db/d")
    assert shlex.split(swap_command(config)) == [
        *("demur", "sample", "my prompts.jsonl", "--weak", "small@http://gpu:8000/v1", "--weak-usd", "0.5/1"),
        *("--strong", "large@https://api.example/v1#BIG", "--strong-usd", "2.5/10", "--n", "3"),
        *("--temperature", "0.7", "--max-tokens", "9", "--seed", "5", "--template", "Q: {prompt}"),
        *("--system", "Be brief.", "--stop", "a b", "--stop", "c", "--no-chat", "--run", "mine"),
        *("--store", "postgresql://db/d", "--max-usd", "2", "--again"),
    ]
    plain = RunConfig("nq-open:500", ModelConfig("smollm2-135m"), SMALL)
    assert swap_command(plain).endswith(" --weak-usd 0.5/1 --strong smollm2-135m --again")
    assert swap_command(replace(plain, between=(LARGE,))).startswith("order [[models]] by price in the run file")


def test_a_gateways_settings_with_the_dearer_model_as_the_weak_one_are_named(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    tables = {
        role: f'[{role}]\nmodel = "{role}"\nbase_url = "http://gpu:8000/v1"\nusd_per_million_input = {usd}\n'
        f"usd_per_million_output = {usd}\n"
        for role, usd in (("weak", 3.0), ("strong", 2.0))
    }
    file.write_text("".join(tables.values()))
    assert dearer_weak_model(file).endswith(f". If they are swapped: change [weak] and [strong] round in {file}")
    file.write_text(tables["weak"])
    assert dearer_weak_model(file) == ""
