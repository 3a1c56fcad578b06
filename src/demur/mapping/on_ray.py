"""Maps work on a Ray cluster: Ray Data hands portions to actors, one per core, and asks again for those of a lost node.

Results come in the order of the portions, as `map` gives them. A worker of another version of demur is refused, since
it might decide otherwise. What the workers share is held by one process on the node of this command (see
`demur.mapping.held_object`), so this command runs on a node of the cluster, not through Ray's client.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from typing import Any

import demur.mapping
from demur.errors import DemurError, InputError, require
from demur.mapping.held_object import Holder, HolderProxy

VERSION_SECONDS = 60  # for a node to say its version; a process has to start there
CONNECT_SECONDS = 5
DONE, FAILED, LEFT = "done", "failed", "left"  # what became of a portion; left: not begun, since another failed
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
OWN_PRIORITY = ("RAY_worker_niceness", "0")  # workers as urgent as the command; Ray's 15 starves them beside other work


class RayWorkers:
    """The workers of a cluster: a function like `map`. `workers_at` opens them."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.cores = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def __call__(self, work: Callable[[Any], Any], portions: Iterable[Any]) -> Iterator[Any]:
        """`map`, on the workers. Raises the first error of one, with the node that it ran on.

        Portions that are under way then are ended, since they are paid for, and no other is begun.
        """
        data = require("ray.data", extra="ray", purpose="work on a Ray cluster")
        begun = self.hold(Portions)
        same = {"work": self._ray.cloudpickle.dumps((work, begun)), "version": metadata.version("demur")}
        rows = [{"place": place, "portion": pickle.dumps(one), **same} for place, one in enumerate(portions)]
        if not rows:
            return
        with _quiet(data):
            pool = data.ActorPoolStrategy(min_size=1, max_size=min(self.cores, len(rows)))
            asked = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Worker, batch_size=1, compute=pool, num_cpus=1
            )
            failed: Exception | None = None
            waiting: dict[int, Any] = {}
            following = 0
            for row in asked.iter_rows():  # to the end in any case: only then Ray Data gives its workers back
                outcome, found = pickle.loads(row["result"])
                if outcome == LEFT:  # its row may come before the one with the error that it was left for
                    continue
                waiting[int(row["place"])] = found
                failed = failed or (found if outcome == FAILED else None)
                while following in waiting and not failed:
                    yield waiting.pop(following)
                    following += 1
        if not failed and following < len(rows):  # a node that is lost takes the error with it that others heeded
            failed = DemurError(
                f"{len(rows) - following} of {len(rows)} portions were left, since one failed on a node that was lost; "
                "give the same command again"
            )
        if failed:
            raise failed

    def hold(self, make: Callable[[], Any], **values: Any) -> HolderProxy:
        """A proxy of what ``make`` opens in a process of its own on this node, and its ``values``."""
        here = self._ray.get_runtime_context().get_node_id()
        on_this_node = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        held = self._ray.remote(Holder).options(num_cpus=0, scheduling_strategy=on_this_node).remote(make)
        return HolderProxy(partial(_ask, held), **values)

    def check_versions(self) -> None:
        """Raise InputError for a node with another version of demur than this one."""
        own, ray = metadata.version("demur"), self._ray
        for node in ray.nodes():
            if not node["Alive"]:
                continue
            where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked = ray.remote(_version_there()).options(num_cpus=0, scheduling_strategy=where).remote()
            try:
                found = ray.get(asked, timeout=VERSION_SECONDS)
            except Exception as error:  # the node is lost, or too slow
                raise InputError(f"node {_name(node)} does not answer ({type(error).__name__}); look at it") from error
            if found != own:
                raise InputError(
                    f"node {_name(node)} has demur {found or 'not at all'}, this one is {own}: their labels could "
                    "differ; install the same version on all nodes"
                )


class Portions:
    """Whether another portion is begun; held for all workers."""

    def __init__(self) -> None:
        self._ended = False

    def next(self) -> bool:
        """Whether a worker may begin one."""
        return not self._ended

    def end(self) -> None:
        """Let none be begun."""
        self._ended = True


class _Worker:
    """A process of the cluster that works on portions, for Ray Data."""

    def __init__(self) -> None:
        demur.mapping.threads = 1
        self._packed = b""
        self._work: Callable[[Any], Any]
        self._begun: Any

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """One portion a call; what became of it, with its result or error, as bytes."""
        try:
            found = self._result(rows["version"][0], rows["work"][0], rows["portion"][0])
        except Exception as error:  # a fault of demur's too: Ray Data would not give its workers back
            if self._packed:
                self._begun.end()
            found = FAILED, _at_node(error)
        return {"place": rows["place"], "result": [pickle.dumps(found)]}

    def _result(self, wanted: str, packed: bytes, portion: bytes) -> tuple[str, Any]:
        if packed != self._packed:
            self._work, self._begun = pickle.loads(packed)
            self._packed = packed
        own = metadata.version("demur")
        if own != wanted:  # a node that joined later
            raise InputError(f"has demur {own}, the command that asks is {wanted}; install the same version")
        return (DONE, self._work(pickle.loads(portion))) if self._begun.next() else (LEFT, None)


@contextmanager
def workers_at(address: str | None) -> Iterator[RayWorkers | None]:
    """The workers of the cluster at ``address``: HOST:PORT, auto for the one of this node, or local for one that is
    started here and ends with the block.

    None without an address. Raises InputError for a cluster that cannot be reached or used, MissingExtraError without
    Ray.
    """
    if not address:
        yield None
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = require("ray", extra="ray", purpose="--ray")
    require("ray.data", extra="ray", purpose="--ray")
    own = not ray.is_initialized()
    if own:
        _connect(ray, address)
    try:
        workers = RayWorkers(ray)
        workers.check_versions()
        yield workers
    finally:
        if own:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    if address.startswith("ray://"):
        raise InputError(
            f"--ray {address}: the store is a file beside this command, which must run on a node of the cluster; start "
            "it there (ray job submit) with --ray auto"
        )
    usual: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        os.environ.setdefault(*OWN_PRIORITY)  # inherited by what Ray starts here; a cluster's is its operator's
        ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **usual)
        return
    if address != "auto":
        _check_listens(address)
    try:
        ray.init(address=address, **usual)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, as the cluster is missing or another one
        raise InputError(
            f"--ray {address}: no cluster to use ({' '.join(str(error).split())[:120]}); start one with `ray start "
            "--head`, or use --ray local"
        ) from error


def _check_listens(address: str) -> None:
    """Raise InputError at once where nothing listens; Ray itself would try for a long time."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            pass
    except (OSError, ValueError) as error:
        raise InputError(
            f"--ray {address}: cannot be reached ({error}); give HOST:PORT of a cluster's head, auto, or local"
        ) from None


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """No progress bars, log lines and warnings of Ray Data's own."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.DataContext.get_current().enable_progress_bars = False
        yield


def _ask(held: Any, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[bool, Any]:
    """The answer of a `Holder` in another process."""
    import ray

    right, found = ray.get(held.call.remote(name, args, given))
    return bool(right), found


def _version_there() -> Callable[[], str]:
    """A function that is sent whole: on a node with another demur it must not need this one's modules."""

    def version() -> str:
        from importlib import metadata

        try:
            return metadata.version("demur")
        except metadata.PackageNotFoundError:
            return ""

    return version


def _at_node(error: Exception) -> Exception:
    """The same error with the node that it was raised on; of a fault of demur's its trace."""
    if not isinstance(error, DemurError):
        return RuntimeError(f"node {socket.gethostname()}: {traceback.format_exc()}")
    error.args = (f"node {socket.gethostname()}: {error}", *error.args[1:])
    return error


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})"
