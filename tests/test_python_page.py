"""docs/python.md: its script uses every seam; it runs, and its types are strict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pairs import running_pair, write_questions
from test_readme import blocks

ROOT = Path(__file__).parents[1]
SHORT, WHOLE = blocks("python", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"))


def test_its_script_runs_and_its_router_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_questions(tmp_path / "prompts.jsonl")
    with running_pair() as pair:
        addresses = {"http://127.0.0.1:8001/v1": pair.weak.base_url, "http://127.0.0.1:8002/v1": pair.strong.base_url}
        script = re.sub("|".join(addresses), lambda found: addresses[found[0]], WHOLE)
        exec(script, {"__name__": "script"})
        assert capsys.readouterr().out == "mine large 48\n"
        loading = 'load("run/router"'
        assert loading in SHORT
        own = script[: script.index("demur.sample(")] + "\n"
        exec(
            own + SHORT.replace(loading, loading + ", encoder=encoder, entailment=entailment, method=mine"),
            {"__name__": "script"},
        )
        model, reason, answer, *explained = capsys.readouterr().out.splitlines()
    assert (model, answer) == ("large", "48")
    assert reason.startswith("score ")
    assert explained[0] == "strong: large"
    assert explained[1].split()[:2] == ["why", "score"]


@pytest.mark.slow
def test_its_types_are_strict(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(WHOLE)
    command = ["-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "script.py")]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_is_short() -> None:
    assert sum(bool(line.strip()) for line in WHOLE.splitlines()) <= 25
