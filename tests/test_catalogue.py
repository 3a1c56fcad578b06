"""Models by content hash: whatever the source, wrong bytes are refused and removed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demur.errors import ModelError
from demur.models import catalogue
from demur.models.catalogue import CatalogueModel, ModelFile

CONTENT = b"weights" * 1000


def known(content: bytes = CONTENT, **changed: object) -> CatalogueModel:
    promised = {"file": "m.gguf", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changed
    return CatalogueModel("tiny", "chat", "Apache-2.0", "a test", (ModelFile(**promised),))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def one_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEMUR_MODELS", raising=False)
    monkeypatch.setattr(catalogue, "catalogue", lambda: (known(),))


def use(monkeypatch: pytest.MonkeyPatch, model: CatalogueModel) -> None:
    monkeypatch.setattr(catalogue, "catalogue", lambda: (model,))


def test_a_local_folder_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    monkeypatch.setenv("DEMUR_MODELS", str(tmp_path))
    assert catalogue.fetch("tiny") == tmp_path / "m.gguf"
    assert catalogue.model("tiny").here


def test_right_size_and_wrong_bytes_are_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(CONTENT[:-1] + b"?")
    monkeypatch.setenv("DEMUR_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"the catalogue has .* the file was removed"):
        catalogue.fetch("tiny")
    assert not list((tmp_path / "cache").rglob("m.gguf*"))


def test_without_any_source_the_way_out_is_named() -> None:
    with pytest.raises(ModelError, match="Put the file into a folder and set DEMUR_MODELS"):
        catalogue.fetch("tiny")
    with pytest.raises(ModelError, match="no model is called 'large'; known: tiny"):
        catalogue.fetch("large")


def test_parts_in_packages_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(requirement: str, folder: Path, platform: str) -> Path:
        part = int(requirement.removeprefix("part").partition("=")[0])
        with zipfile.ZipFile(folder / "w.whl", "w") as archive:
            archive.writestr(f"data/{part - 1:02d}.bin", CONTENT[(part - 1) * 700 : part * 700])
        return folder / "w.whl"

    monkeypatch.setattr(catalogue, "_download", download)
    use(monkeypatch, known(packages=("part{part}==1",), parts=10, member="data/{before:02d}.bin"))
    said: list[tuple[str, int, int]] = []
    monkeypatch.setattr(catalogue, "MEGABYTE", 1000)
    path = catalogue.fetch("tiny", progress=lambda *one: said.append(one))
    assert path.read_bytes() == CONTENT
    whole = -(-len(CONTENT) // 1000)
    assert said[1] == ("fetching m.gguf, MB", 1, whole)  # two parts of 700 bytes
    assert said[-1][1:] == (whole, whole)
    monkeypatch.setattr(catalogue, "_download", None)  # the second time nothing is fetched
    assert catalogue.fetch("tiny") == path


def test_what_is_fetched_is_said_once_with_its_size_and_source(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use(monkeypatch, known())
    catalogue._say.cache_clear()
    for _ in range(2):  # two files of one model
        catalogue._say("tiny", "the Python package carrier==1, by pip")
    (said,) = caplog.messages
    assert said.startswith("fetching tiny (")
    assert " MB) from the Python package carrier==1, by pip; it is kept in " in said


def test_two_that_fetch_one_model_at_once_fetch_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wrote into one ``.part``: the file of either was broken, and refused by its hash."""
    fetched: list[str] = []

    def download(requirement: str, folder: Path, platform: str) -> Path:
        fetched.append(requirement)
        time.sleep(0.05)
        with zipfile.ZipFile(folder / "w.whl", "w") as archive:
            archive.writestr("m.bin", CONTENT)
        return folder / "w.whl"

    monkeypatch.setattr(catalogue, "_download", download)
    use(monkeypatch, known(packages=("whole==1",), member="m.bin"))
    with ThreadPoolExecutor(2) as both:
        paths = list(both.map(catalogue.fetch, ["tiny", "tiny"]))
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert fetched == ["whole==1"]


def test_the_real_catalogue_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for model in catalogue.catalogue():
        assert model.task in ("chat", "encoder", "entailment", "text detection")
        assert model.licence
        for part in model.files:
            assert len(part.sha256) == 64
            assert part.size > 100
            assert part.packages or part.hub or model.here  # the entailment model comes with demur


def test_a_file_is_hashed_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    passes: list[Path] = []
    whole = catalogue._hash_whole

    def hash_whole(path: Path) -> str:
        passes.append(path)
        return whole(path)

    monkeypatch.setattr(catalogue, "_hash_whole", hash_whole)
    file = tmp_path / "own.gguf"
    file.write_bytes(b"one")
    assert catalogue.sha256_of(file) == catalogue.sha256_of(file) == hashlib.sha256(b"one").hexdigest()
    assert len(passes) == 1
    seen = file.stat()
    file.write_bytes(b"two")  # as long as before, and its time is set back
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert catalogue.sha256_of(file) == hashlib.sha256(b"two").hexdigest()
    for torn in ("", "half a line", f"{seen.st_size} "):
        for stamp in (tmp_path / "cache" / "demur" / "models" / "verified").iterdir():
            stamp.write_text(torn)
        assert catalogue.sha256_of(file) == hashlib.sha256(b"two").hexdigest()


def test_an_environment_without_pip_runs_the_copy_that_comes_with_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue._pip() == (sys.executable, "-m", "pip")
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pip" else found(name))
    command = catalogue._pip()
    assert "ensurepip" in command[1]
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("pip ") and "ensurepip" in said
