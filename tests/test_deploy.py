"""What stands in deploy/ fits the package: settings that are known, times that suffice, nothing secret in an image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import needed
from demur.gateway.ledger.ledger import LAST_TRIES_SECONDS
from demur.gateway.settings import read_settings

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["gateway.toml", "container.toml"])
def test_the_settings_files_are_read(name: str) -> None:
    found = read_settings(ROOT / "deploy" / name)
    assert found.host == ("0.0.0.0" if name == "container.toml" else "127.0.0.1")
    assert bool(found.admin_key_env) is (name == "container.toml")  # open to others: the operator needs a key


def test_systemd_waits_until_answers_and_records_are_done() -> None:
    unit = (ROOT / "deploy" / "demur.service").read_text(encoding="utf-8")
    found = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert found is not None
    settings = read_settings(ROOT / "deploy" / "gateway.toml")
    assert int(found.group(1)) >= settings.drain_seconds + 3 * LAST_TRIES_SECONDS + 10


def test_only_what_is_named_reaches_an_image() -> None:
    for name in (".containerignore", ".dockerignore"):  # podman reads the first, docker the second
        lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        assert lines[0] == "*"
        let_in = {line[1:] for line in lines if line.startswith("!")}
        recipe = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
        copied = {word for line in re.findall(r"^COPY (.+)$", recipe, re.M) for word in line.split()[:-1]}
        assert copied == let_in


@pytest.mark.parametrize(
    ("base", "code"),
    [
        ("python:3.11-slim@sha256:" + "0" * 64, 0),
        ("localhost/base@sha256:" + "0" * 64, 0),
        ("python:3.11-slim", 1),
        ("python", 1),
        ("", 1),
    ],
)
def test_a_base_without_a_digest_is_refused_by_the_build(base: str, code: int) -> None:
    recipe = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    first = re.search(r"^FROM \$BASE\nARG BASE\nRUN (.+)$", recipe, re.M)
    assert first is not None
    done = subprocess.run(["sh", "-c", first.group(1)], env={"BASE": base}, capture_output=True, check=False)
    assert done.returncode == code
    assert (b"has no digest" in done.stderr) is (code == 1)


@pytest.mark.parametrize("name", ["run", "dev", "serve"])
def test_every_package_is_pinned_by_its_hash_and_from_nowhere_in_particular(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    for entry in entries:
        assert re.match(r"[\w.\[\],-]+==\S+ ", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert "://" not in text
    assert not re.search(r"^--(index|extra|find)", text, re.M)


def test_the_image_has_the_versions_of_the_demo() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+) ", text, re.M))

    run, serve = pins("run"), pins("serve")
    shared = set(run) & set(serve)
    assert {"aiohttp", "numpy", "onnxruntime", "threadpoolctl", "uvloop"} <= shared
    assert {name: run[name] for name in shared} == {name: serve[name] for name in shared}


def test_the_image_can_be_told_its_version_and_needs_no_repository(tmp_path: Path) -> None:
    """A tag is not in the image's context: the version is an argument, else the fallback of pyproject.toml."""
    needed("hatch_vcs")
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    assert "ARG VERSION" in text
    assert "SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION" in text
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src" / "demur", tmp_path / "src" / "demur", ignore=shutil.ignore_patterns("*.onnx"))
    for version, found in (("", "0.1.0"), ("1.2.3", "1.2.3")):
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "version"],
            cwd=tmp_path,
            env=os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION": version},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == found
