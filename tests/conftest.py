"""Fixtures of all tests: the shared real data, skipped where it is not, demanded where all must run."""

from __future__ import annotations

import gzip
import importlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings

SHARED = Path(os.environ.get("DEMUR_SHARED", Path(__file__).parents[2] / "shared" / "data"))
EVERYTHING = os.environ.get("DEMUR_TEST") == "all"  # set by .ci/run: what would be skipped fails

settings.register_profile("default", max_examples=30, deadline=None)
settings.register_profile("all", max_examples=100, deadline=None)
settings.load_profile("all" if EVERYTHING else "default")

Rows = list[dict[str, Any]]


def missing(what: str) -> None:
    """Skip on a user's machine; fail where everything must run."""
    if EVERYTHING:
        pytest.fail(f"{what} is missing, and DEMUR_TEST=all demands it")
    pytest.skip(f"{what} is not on this machine")


def needed(module: str) -> Any:
    """An optional module; skips without it on a user's machine, fails where everything must run."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return missing(module)


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promises of one test are not counted in another, nor among those of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session")
def shared_rows() -> Callable[[str], Rows]:
    """Read a gzip JSON-lines file of the shared data by name, such as ``samples/local_pair``."""
    cache: dict[str, Rows] = {}

    def read(name: str) -> Rows:
        path = SHARED / f"{name}.jsonl.gz"
        if not path.exists():
            missing(str(path))
        if name not in cache:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                cache[name] = [json.loads(line) for line in lines]
        return cache[name]

    return read


@pytest.fixture
def postgres() -> Iterator[Any]:
    """A PostgreSQL server that runs; not in pytest's folder, which no other user may enter."""
    from databases import new_postgres

    needed("psycopg")
    with TemporaryDirectory(prefix="demur-pg-") as folder:
        server = new_postgres(Path(folder))
        server.start()
        yield server
        server.stop("immediate")
