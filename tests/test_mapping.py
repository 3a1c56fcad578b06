"""Work is mapped over portions of the prompts; what workers share is held by one process; files lie at URLs."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from conftest import needed
from demur import mapping
from demur.errors import DemurError, InputError, StoreError
from demur.mapping import on_threads, portion_size, portions_of
from demur.mapping.held_object import Holder, HolderProxy
from demur.mapping.on_ray import DONE, FAILED, LEFT, RayWorkers, workers_at
from demur.prompts import absolute_prompts, load_prompts
from demur.records import Sample
from demur.store import Store


def test_portions_keep_the_order_and_leave_nothing_out() -> None:
    assert [list(one) for one in portions_of([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(portions_of([], 2)) == []


@pytest.mark.parametrize(("count", "cores", "size"), [(60, 3, 5), (2, 3, 1), (100_000, 3, 256)])
def test_every_core_of_a_cluster_has_portions(count: int, cores: int, size: int) -> None:
    """Four of each core's, as long as there are so many prompts; of many, no more than 256."""

    class Cluster:
        def __init__(self) -> None:
            self.cores = cores

        def __call__(self, *_: Any) -> Any: ...

    assert portion_size(Cluster(), count) == size
    assert portion_size(map, count) == 256


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_give_results_in_the_order_of_the_portions(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "threads", threads)
    first = threading.Event()

    def work(one: int) -> int:
        if threads > 1:
            first.wait(5) if one == 0 else first.set()  # the first ends after the second
        return one * one

    assert list(on_threads(work, range(4))) == [0, 1, 4, 9]


def held(make: Any) -> HolderProxy:
    return HolderProxy(Holder(make).call)


def test_a_held_store_is_a_store(tmp_path: Path) -> None:
    store: Any = held(lambda: Store(tmp_path / "s.sqlite"))
    store.add_samples("m", "p", "s", [Sample(0, "x", (-0.5,), "stop", 1, 1)])
    assert store.samples_of("m", (text for text in ["p", "q"]), "s") == {
        "p": [Sample(0, "x", (-0.5,), "stop", 1, 1)],
        "q": [],
    }
    store.close()


def test_what_a_holder_cannot_open_is_the_error_of_each_call(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_text("this is not a database, and long enough to tell" * 100)
    with pytest.raises(StoreError, match=r"s\.sqlite"):
        held(lambda: Store(tmp_path / "s.sqlite")).has_samples("m", "s")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "must run on a node of the cluster"),
        ("127.0.0.1:1", "cannot be reached"),
        ("nowhere", "give HOST:PORT"),
    ],
)
def test_an_address_that_is_no_cluster_is_one_line(address: str, said: str) -> None:
    needed("ray")
    with pytest.raises(InputError, match=said) as raised, workers_at(address):
        pass
    assert "\n" not in str(raised.value)


# -- files at URLs ----------------------------------------------------------------------------------------------------


def folder_of_prompts(folder: Path) -> str:
    """b.parquet with one prompt, a.jsonl with two; the URL of their folder."""
    arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"id": "1", "prompt": "one?"}\n{"id": "2", "prompt": "two?"}\n', encoding="utf-8")
    parquet.write_table(arrow.Table.from_pylist([{"id": "3", "prompt": "three?"}]), folder / "b.parquet")
    (folder / "notes.txt").write_text("no prompts")
    return folder.as_uri()


def test_the_files_of_a_folder_at_a_url_are_read_by_name(tmp_path: Path) -> None:
    url = folder_of_prompts(tmp_path / "day")
    assert [(one.id, one.text) for one in load_prompts(url)] == [("1", "one?"), ("2", "two?"), ("3", "three?")]
    assert [one.id for one in load_prompts(f"{url}/b.parquet")] == ["3"]
    assert [one.id for one in load_prompts(f"{url}/a.jsonl+{url}/b.parquet:1")][-1].endswith("/3")
    assert absolute_prompts(url) == url


def test_a_parquet_file_with_other_columns_names_them(tmp_path: Path) -> None:
    arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    parquet.write_table(arrow.table({"body": ["x"], "user": ["y"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet:1: no field prompt or question or text; found body, user"):
        load_prompts((tmp_path / "b.parquet").as_uri())


def test_a_damaged_file_at_a_url_is_named_as_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "one?"}\nnothing\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2: not valid JSON") as raised:
        load_prompts((tmp_path / "a.jsonl").as_uri())
    assert str(raised.value).startswith(str(tmp_path))


def test_an_object_store_that_forbids_listing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = needed("pyarrow.fs")
    url = folder_of_prompts(tmp_path / "day")
    below = fs.LocalFileSystem()

    handler: Any = fs.FSSpecHandler

    class Forbidding(handler):  # type: ignore[misc]
        """The files of the disk, of which no folder may be listed."""

        def __init__(self) -> None:
            pass

        def get_file_info(self, paths: list[str]) -> Any:
            return below.get_file_info(paths)

        def get_file_info_selector(self, selector: Any) -> Any:
            raise PermissionError("AWS Error ACCESS_DENIED during ListObjectsV2 operation")

        def open_input_stream(self, path: str) -> Any:
            return below.open_input_stream(path)

    class FileSystem:
        @staticmethod
        def from_uri(url: str) -> tuple[Any, str]:
            return fs.PyFileSystem(Forbidding()), url.removeprefix("file://")

    monkeypatch.setattr(fs, "FileSystem", FileSystem)
    with pytest.raises(InputError, match=r"does not let its folder be listed .*ACCESS_DENIED.*name one file"):
        load_prompts(url)
    assert len(load_prompts(f"{url}/a.jsonl")) == 2


@pytest.mark.parametrize(("url", "said"), [("nosuch://x/y", "cannot be read"), ("file:///no/such/day", "no such file")])
def test_a_url_without_files_is_one_line(url: str, said: str) -> None:
    needed("pyarrow.fs")
    with pytest.raises(InputError, match=said):
        load_prompts(url)


def test_a_folder_without_prompts_says_what_is_read(tmp_path: Path) -> None:
    needed("pyarrow.fs")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"none of its 1 entries ends in \.jsonl"):
        load_prompts(tmp_path.as_uri())


def workers_that_send(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, tuple[str, Any]]]) -> RayWorkers:
    """Of a cluster from which these rows arrive, in this order: a portion's place, and what became of it."""
    ray, data = MagicMock(), MagicMock()
    ray.cluster_resources.return_value, ray.cloudpickle.dumps.return_value = {"CPU": 2}, b""
    sent = [{"place": place, "result": pickle.dumps(became)} for place, became in rows]
    data.from_items.return_value.map_batches.return_value.iter_rows.return_value = sent
    monkeypatch.setattr("demur.mapping.on_ray.require", lambda *_, **__: data)
    return RayWorkers(ray)


def test_a_portion_that_was_left_for_anothers_error_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row may arrive before the one with the error."""
    workers = workers_that_send(monkeypatch, [(0, (LEFT, None)), (1, (FAILED, InputError("no")))])
    found: list[Any] = []
    with pytest.raises(InputError, match="no"):
        found.extend(workers(str, [1, 2]))
    assert found == []


def test_portions_that_were_left_for_an_error_that_was_lost_with_its_node_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = workers_that_send(monkeypatch, [(1, (LEFT, None)), (0, (DONE, "1")), (2, (DONE, "3"))])
    found: list[Any] = []
    with pytest.raises(DemurError, match="2 of 3 portions were left"):
        found.extend(workers(str, [1, 2, 3]))
    assert found == ["1"]
