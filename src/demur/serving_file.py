"""Which gateways serve a run's router on this machine: a file in the run's folder for each, which its process locks.

The kernel releases the lock when the process ends, however it ends, so a file without a lock is of a gateway that has
ended. Gateways on other machines are not seen: of these PostgreSQL's table of replicas knows. The port and the target
that were asked for last stay in a file of their own.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from demur.files import hash_of_file, write_whole

LOADED = ("router.json", "policy.json")  # of a saved router: its weights' hash and threshold, and its gate
USUAL_PORT = 8111  # of a gateway
LAST = "served.json"  # the port and the target of the gateway that began last
TRIES, TRY_SECONDS = 20, 0.02  # to lock the file, while somebody looks whether it is locked


@dataclass(frozen=True, slots=True)
class ServingGateway:
    """A gateway that serves a run's router now."""

    address: str
    pid: int  # of the process that takes SIGHUP
    since: float  # UNIX time
    router: str  # folder, absolute
    saved: float | None  # UNIX time at which the router that it has loaded was saved; None: none is learned yet
    content: str  # hash of that router
    operator: str = ""  # address of the operator's routes; empty: of a gateway of an earlier version
    ledger: str = ""  # its file, absolute; empty: it keeps none, or not in a file
    target: str = ""  # that it holds in place of the router's threshold, as its settings name it; empty: none

    @property
    def outdated(self) -> bool:
        """Whether another router, threshold or gate is saved now than it has loaded."""
        return _content(Path(self.router)) != self.content

    @property
    def reload(self) -> str:
        """The command that makes it load what is saved now."""
        return f"kill -HUP {self.pid}"

    @property
    def ways_to_reload(self) -> str:
        """The same, and the request that does as much, where its address is known."""
        return f"{self.reload}{f', or POST {self.operator}/admin/reload' if self.operator else ''}"

    @property
    def sentence(self) -> str:
        """Where and since when it serves, and which router."""
        newer = "; the run's newer router or threshold is not loaded yet" if self.outdated else ""
        of = "no router yet" if self.saved is None else f"router of {_clock(self.saved)}"
        held = f"; it holds the target {self.target} in place of the threshold" if self.target else ""
        return f"serving on {self.address} since {_clock(self.since)} ({of}{newer}{held})"


@contextmanager
def serving_file(
    folder: Path,
    address: str,
    router: Callable[[], Path],
    pid: int,
    *,
    operator: str = "",
    port: int = 0,
    ledger: str = "",
    target: str = "",
) -> Iterator[Callable[[], None]]:
    """The file of a gateway as long as the block runs; yields what is called after each load of a router.

    ``router``: its folder; ``pid``: of the process that takes SIGHUP; ``operator``: address of its routes;
    ``port``: that was asked for, 0 for any; ``ledger``: its file, empty for none; ``target``: that it holds. A folder
    that is not there or cannot be written gets no file, and the gateway serves as well.
    """
    path, since = folder / f"serving-{address.rpartition(':')[2]}.json", time.time()
    held = _lock(path)

    def keep() -> None:
        if held is not None:
            found = router().absolute()
            state = (str(found), _time_saved(found), _content(found))
            kept_in = ledger and str(Path(ledger).absolute())
            written = ServingGateway(address, pid, since, *state, operator, kept_in, target)
            with suppress(OSError):  # the disk is full
                data = json.dumps(asdict(written)).encode()
                os.pwrite(held, data, 0)
                os.ftruncate(held, len(data))

    try:
        keep()
        if held is not None:
            with suppress(OSError):
                before = _last(folder)
                write_whole(folder / LAST, json.dumps({"port": port or before.get("port", 0), "target": target}))
        yield keep
    finally:
        if held is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            os.close(held)


def serving_gateways(folder: Path) -> tuple[ServingGateway, ...]:
    """The gateways on this machine that serve a run's router now, the one that began last first."""
    found = [one for path in folder.glob("serving-*.json") if (one := _read(path)) is not None]
    return tuple(sorted(found, key=lambda one: -one.since))


def request_command(address: str, *, keyed: bool = False, question: str = "Why is the sky blue?") -> str:
    """The command that asks a gateway; ``keyed``: it needs a client's key, which is nowhere printed."""
    headers = "-H 'Authorization: Bearer YOUR_KEY' " if keyed else ""
    body = json.dumps({"model": "demur", "messages": [{"role": "user", "content": question}]})
    return f"curl {address}/v1/chat/completions {headers}-H 'Content-Type: application/json' -d '{body}'"


def options_of_last(folder: Path) -> str:
    """The options, after a space, of the port and the target with which a run was served last; empty for the usual."""
    last = _last(folder)
    port, target = last.get("port"), last.get("target")
    said = f" --port {port}" if isinstance(port, int) and port not in (0, USUAL_PORT) else ""
    return said + (f" --target {shlex.quote(target)}" if isinstance(target, str) and target else "")


def _last(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / LAST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lock(path: Path) -> int | None:
    """A descriptor of the file, locked; None where it cannot be."""
    try:
        import fcntl

        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except (ImportError, OSError):  # Windows; a folder that is not there or is read-only
        return None
    for _ in range(TRIES):
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return held
        time.sleep(TRY_SECONDS)
    os.close(held)
    return None


def _read(path: Path) -> ServingGateway | None:
    """What a file says; None where nobody holds its lock."""
    try:
        import fcntl

        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return ServingGateway(**json.loads(file.read()))
    except (ImportError, OSError, ValueError, TypeError):  # it has just ended, or begun
        pass
    return None


def _content(router: Path) -> str:
    return " ".join(hash_of_file(router / name) for name in LOADED)


def _time_saved(router: Path) -> float | None:
    try:
        return max((router / name).stat().st_mtime for name in LOADED if (router / name).is_file())
    except (OSError, ValueError):
        return None


def _clock(at: float) -> str:
    """The time of day, with the day where that is another one."""
    then, now = time.localtime(at), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%Y-%m-%d %H:%M", then)
