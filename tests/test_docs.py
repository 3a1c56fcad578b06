"""The documentation: its pages come with the package, what they show is run, the site is whole."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from conftest import needed
from demur.cli.commands import pages
from demur.cli.main import app
from demur.config.names import ENCODERS
from demur.models.encoders.encoder import encoder_names

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
RUNNER = CliRunner()


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def lines_of_demur(text: str) -> list[str]:
    shell = "\n".join(blocks("sh", text)).replace("\\\n", " ")
    return [line.strip() for line in shell.splitlines() if line.strip().startswith("demur ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_commands_and_options_of_a_page_are_there(page: Path) -> None:
    for line in lines_of_demur(page.read_text(encoding="utf-8")):
        _, *words = shlex.split(re.split(r" [|>&] ?", line)[0], comments=True)
        command: Any = typer.main.get_command(app)
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        given = words[: words.index("--")] if "--" in words else words
        known = {option for one in command.params for option in one.opts}
        assert {word.partition("=")[0] for word in given if word.startswith("-") and word != "-"} <= known, line
        assert not hasattr(command, "commands") or not given or line.startswith("demur --"), f"no such command: {line}"


@pytest.mark.parametrize("page", ["faq.md", "limits.md"])
def test_what_a_page_quotes_is_what_the_product_says(page: str) -> None:
    said = [
        node.value
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    text = re.sub(r"`[^`]*`", "", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    quoted = [" ".join(one.split()) for one in re.findall(r'"([^"]+)"', text)]
    assert quoted
    assert [one for one in quoted if not any(one in each for each in said)] == []


def test_help_texts_name_every_encoder_of_the_catalogue() -> None:
    assert set(ENCODERS.split(", ")) == {*encoder_names()}


def test_every_page_can_be_read_offline() -> None:
    listed = RUNNER.invoke(app, ["docs"]).stdout
    for page in PAGES:
        assert re.search(rf"^{page.stem} ", listed, re.M), page.stem
        assert RUNNER.invoke(app, ["docs", page.stem]).stdout == page.read_text(encoding="utf-8")
    refused = RUNNER.invoke(app, ["docs", "../README"])
    assert "there is no page '../README'; known: cli, " in str(refused.exception)


def test_pages_are_looked_for_in_the_package_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Here\n", encoding="utf-8")
    monkeypatch.setattr(pages, "PACKAGE", tmp_path)
    assert pages.pages_folder() == tmp_path / "docs"
    monkeypatch.setattr(pages, "PACKAGE", tmp_path / "a" / "b" / "c")
    assert "has no pages" in str(RUNNER.invoke(app, ["docs"]).exception)


@pytest.mark.slow
def test_the_site_is_whole(tmp_path: Path) -> None:
    """Built with --strict: links, anchors and pages that no menu names are errors; no page asks another host."""
    needed("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?https?://(?!demur)[^>]*>""", text), page


@pytest.mark.slow
def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    """Its prompts and its commands, in order, on the two local models; the gateway answers its request."""
    needed("xllamacpp")
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    (tmp_path / "prompts.jsonl").write_text(blocks("json", text)[0], encoding="utf-8")
    assert len(blocks("json", text)[0].splitlines()) == 40
    shell = [line for block in blocks("sh", text) for line in block.splitlines()]
    serve = next(line for line in shell if line.startswith("demur serve"))
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in shell[: shell.index(serve)]:
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr[-2000:])
    assert (tmp_path / "run" / "report.html").is_file()
    served = [*shlex.split(serve), "--port", "0"]
    with subprocess.Popen(served, cwd=tmp_path, env=os.environ | path, stdout=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stdout is not None
            said = next(line for line in gateway.stdout if "demur serves" in line)
            address = re.findall(r"http://[\d.:]+", said)[0]
            ask = next(line for line in shell if line.startswith("curl")).replace("http://127.0.0.1:8111", address)
            done = subprocess.run(
                ask.replace("curl", "curl -s -i"), shell=True, capture_output=True, text=True, check=True
            )
            head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
            assert "labels were sampled" not in head
            assert "Rome" in json.loads(body)["choices"][0]["message"]["content"]
            time.sleep(1)  # records are written twice a second
            listed = subprocess.run(shell[-1], shell=True, cwd=tmp_path, env=os.environ | path, capture_output=True)
            assert b"smollm2-135m" in listed.stdout or b"qwen2.5-coder-1.5b" in listed.stdout
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait(40)
