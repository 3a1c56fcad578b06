"""Which gateways serve a run's router on this machine: a file in the run's folder for each, which its process locks.

The kernel releases the lock when the process ends, however it ends, so a file without a lock is of a gateway that has
ended. Gateways on other machines are not seen: of these PostgreSQL's table of replicas knows. With which port,
target and settings file each router was served last stays in a file of its own.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demur.errors import DemurError
from demur.files import hash_of_file, is_same_path, named_from_here, read_mapping, write_whole
from demur.records import content_hash, count_of

LOADED = ("router.json", "policy.json")  # of a saved router: its weights' hash and threshold, and its gate
MADE, PROPOSED = "made.json", "proposed command"  # in a run's folder: what its stages made, and left for a gateway
ANYWAY_KEY = "`anyway = true`"  # in a settings file: a router that was not shown to beat random is served, too
USUAL_PORT = 8111  # of a gateway
LAST = "served.json"  # by router: the port, target, settings file and file of keys that it was served with last
USUAL_ROUTER, USUAL_LEDGER, USUAL_LEARN = Path("run/router"), Path("run/ledger.sqlite"), Path("run/learn")
MODELS = frozenset({"weak", "strong", "models", "allow_endpoints"})  # settings that name them, or where they are
# Of a ledger's rows: what demur asked by itself begins its reason so.
OWN_REASON = "an ordinary request of demur's own"
IS_TEST = "substr(reason, 1, {}) = '{}'".format(len(OWN_REASON), OWN_REASON.replace("'", "''"))
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
    learn: str = ""  # folder of what it learns from its traffic, absolute; empty: it does not learn
    keyed: bool = False  # it asks its clients for keys
    config: str = ""  # its settings file, absolute; empty: it was started by options alone
    anyway: bool = False  # it serves a router that was not shown to beat random, too

    @property
    def refuses(self) -> bool:
        """Whether it would not load the router that is saved now, which was not shown to beat random."""
        return not (self.anyway or self.learn) and not_shown(Path(self.router))

    @property
    def outdated(self) -> bool:
        """Whether another router, threshold or gate is saved now than it has loaded."""
        if self.learn and Path(self.router).is_relative_to(self.learn):  # what is promoted is taken over by itself
            return False
        return _content(Path(self.router), held=bool(self.target)) != self.content

    def serves(self, router: Path) -> bool:
        """Whether it serves a saved router, or learns one in its place."""
        return bool(self.learn) or is_same_path(self.router, router)

    @property
    def reload(self) -> str:
        """The command that makes it load what is saved now."""
        return f"kill -HUP {self.pid}"

    @property
    def ways_to_reload(self) -> str:
        """The same, and the request that does as much, where its address is known."""
        return f"{self.reload}{f', or POST {self.operator}/admin/reload' if self.operator else ''}"

    @property
    def after_calibration(self) -> str:
        """What a threshold that was set just now changes here, and what is to be done; empty where it is loaded."""
        if self.target:
            return (
                f"the gateway on {self.address} holds the target {self.target}, which decides in place of this "
                f"threshold, also after {self.reload}; to use this one, serve without the target"
            )
        if not self.outdated:
            return ""
        if self.refuses:
            return f"the gateway on {self.address} keeps what it has: this router was not shown to beat random"
        return f"the gateway on {self.address} keeps its threshold until it is told: {self.ways_to_reload}"

    def loading_command(self, serve: str) -> str:
        """The command that makes it load what is saved now, or what is to be done where it refuses that; ``serve``:
        the command that serves the same router anew."""
        if not self.refuses:
            return self.reload
        if self.config:
            return f"{ANYWAY_KEY} in {named_from_here(self.config)}, then {self.reload}"
        return f"{serve}   (once the gateway on {self.address} has ended: kill {self.pid})"

    @property
    def sentence(self) -> str:
        """Where and since when it serves, and which router."""
        newer = ""
        if self.outdated and self.refuses:
            newer = "; the run's newer router, which was not shown to beat random, is not loaded"
        elif self.outdated:
            newer = "; the run's newer router or threshold is not loaded yet"
        of = "no router yet" if self.saved is None else f"router of {_clock(self.saved)}"
        learns = "learning from its traffic, " if self.learn else ""
        held = f"; it holds the target {self.target} in place of the threshold" if self.target else ""
        return f"serving on {self.address} since {_clock(self.since)} ({learns}{of}{newer}{held})"


@contextmanager
def serving_file(
    folder: Path,
    address: str,
    router: Callable[[], Path],
    pid: int,
    ledger: str = "",
    config: str = "",
    learn: str = "",
    keys: Callable[[], str] = str,
    anyway: Callable[[], bool] = lambda: False,
    *,
    operator: str = "",
    port: int = 0,
    target: str = "",
) -> Iterator[Callable[[], None]]:
    """The file of a gateway as long as the block runs; yields what is called after each load of a router.

    ``router``: its folder; ``pid``: of the process that takes SIGHUP; ``operator``: address of its routes;
    ``port``: that was asked for, 0 for any; ``ledger``: its file, ``config``: its settings file, ``learn``: the folder
    of what it learns, each empty for none; ``target``: that it holds. A reload may change ``keys``, the file of
    clients' keys, empty where they need none, and ``anyway``, whether it serves a router that was not shown to beat
    random, too. A folder that is not there or cannot be written gets no file, and the gateway serves as well.
    """
    path, since = folder / f"serving-{address.rpartition(':')[2]}.json", time.time()
    held = _lock(path)

    def keep() -> None:
        if held is not None:
            found = router().absolute()
            state = (str(found), _time_saved(found), _content(found, held=bool(target)))
            kept_in, learns, file = map(_absolute, (ledger, learn, config))
            changing = (bool(keys()), file, anyway())
            written = ServingGateway(address, pid, since, *state, operator, kept_in, target, learns, *changing)
            with suppress(OSError):  # the disk is full
                data = json.dumps(asdict(written)).encode()
                os.pwrite(held, data, 0)
                os.ftruncate(held, len(data))

    try:
        keep()
        if held is not None:
            served = _absolute(learn) or str(router().absolute())
            files = {"config": _absolute(config), "keys": _absolute(keys())}
            _keep_last(folder / LAST, served, {"port": port, "target": target, **files})
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


def gateways_of(router: Path) -> tuple[ServingGateway, ...]:
    """The gateways on this machine that serve a saved router now, or learn one in its place."""
    return tuple(one for one in serving_gateways(router.parent) if one.serves(router))


def restart_note(config: Path) -> str:
    """That a gateway runs by a settings file, which has changed in what it reads at its start alone; empty where none
    does."""
    folder = Path(str(read_mapping(config, "settings file").get("router", USUAL_ROUTER))).parent
    running = (one for one in serving_gateways(folder) if one.config and is_same_path(one.config, config))
    return "".join(f"   (a restart: end the gateway on {one.address} first, kill {one.pid})" for one in running)


def request_command(address: str, *, keyed: bool = False, question: str = "Why is the sky blue?") -> str:
    """The command that asks a gateway; ``keyed``: it needs a client's key, which is nowhere printed."""
    headers = "-H 'Authorization: Bearer YOUR_KEY' " if keyed else ""
    body = json.dumps({"model": "demur", "messages": [{"role": "user", "content": question}]})
    return f"curl {address}/v1/chat/completions {headers}-H 'Content-Type: application/json' -d '{body}'"


@dataclass(frozen=True, slots=True)
class ServedBefore:
    """How a router was served last on this machine: what a command must say to serve it so again."""

    # After a space: the settings file; port, target and file of keys where it, or what is usual, has another.
    options: str = ""
    names_models: bool = False  # the settings file does, or says which endpoints may be asked
    names_another: bool = False  # router
    names_router: bool = False  # this one or another


def served_last(folder: Path) -> Path | None:
    """The router of a run's folder that was served last, or the folder of what its gateway learned; None: none was."""
    served = next(reversed(_read_served(folder / LAST)), "")
    return Path(served) if served else None


def served_before(router: Path, folder: Path | None = None) -> ServedBefore:
    """How a saved router was served last; for the folder of a learning, how the gateway that learns was. ``folder``:
    the run's, where that is not the one above.
    """
    try:
        served = _read_served((folder or router.parent) / LAST)
        found = next(one for name, one in reversed(served.items()) if is_same_path(name, router))
        port, config, target = int(found["port"]), str(found["config"]), str(found["target"])
        keys = str(found.get("keys", ""))  # none in a file of an earlier version
        said = read_mapping(Path(config), "settings file") if config else {}
    except (DemurError, OSError, ValueError, LookupError, TypeError, StopIteration):
        return ServedBefore()
    options = f" --config {shlex.quote(named_from_here(config))}" if config else ""
    options += f" --port {port}" if port not in (0, said.get("port", USUAL_PORT)) else ""
    options += f" --target {shlex.quote(target)}" if target and target != said.get("target") else ""
    if keys and not ("keys" in said and is_same_path(keys, str(said["keys"]))):
        options += f" --keys {_path_from_here(keys)}"
    another = "router" in said and not is_same_path(str(said["router"]), router)
    return ServedBefore(options, not MODELS.isdisjoint(said), another, "router" in said)


def command_beside(gateways: Sequence[ServingGateway], serve: str = "") -> str:
    """The command that comes next where gateways serve a run already: load what is newer, ask something, see how far
    learning is, or what was saved; empty where none serves. ``serve``: the command that serves the same router anew,
    which only a gateway that does not learn may need."""
    late = next((one for one in gateways if one.outdated), None)
    if late or not gateways:
        return late.loading_command(serve) if late else ""
    used = next((one for one in gateways if one.ledger and requests_in(Path(one.ledger))), None)
    if not used:
        return request_command(gateways[0].address, keyed=gateways[0].keyed)
    if used.learn and used.saved is None:
        usual = is_same_path(used.learn, USUAL_LEARN)
        return "demur routers" if usual else f"demur routers --folder {_path_from_here(used.learn)}"
    return ledger_command(used)


def ledger_command(gateway: ServingGateway) -> str:
    """The command that adds up what a gateway has saved."""
    usual = is_same_path(gateway.ledger, USUAL_LEDGER)
    return f"demur ledger{'' if usual else f' {_path_from_here(gateway.ledger)}'} --by day"


def _path_from_here(path: str) -> str:
    return shlex.quote(named_from_here(path))


def requests_in(ledger: Path) -> int | None:
    """How many requests of clients a ledger's file holds, as its bills count them; None where it cannot be read."""
    query = f"select count(*) from decisions where role <> 'decided' and not {IS_TEST}"
    try:
        with closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)) as found:
            return int(found.execute(query).fetchone()[0])
    except sqlite3.Error:
        return None


def words_of_served(ledger: Path) -> str:
    """How many requests a ledger holds; empty without one. A ledger may be a copy: it does not show that one serves."""
    if not ledger.is_file():
        return ""
    requests = requests_in(ledger)
    if requests is None:
        return "; a ledger that cannot be read is there"
    return f"; served before: {count_of(requests, 'request')}" if requests else ""


def _absolute(path: str) -> str:
    return path and str(Path(path).absolute())


def _keep_last(file: Path, served: str, last: dict[str, str | int]) -> None:
    """Keep how a router was served; a port that was any free one is none to keep, so the one of before stays."""
    others = _read_served(file)
    before = others.pop(served, {})
    kept = last | {"port": last["port"] or before.get("port", 0)}
    with suppress(OSError):
        write_whole(file, json.dumps(others | {served: kept}))  # in the order in which they were served


def _read_served(file: Path) -> dict[str, dict[str, Any]]:
    """How each router of a folder was served, the last one last."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: one for name, one in found.items() if isinstance(one, dict)}
    except (OSError, ValueError, AttributeError):
        return {}


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


def not_shown(router: Path) -> bool:
    """Whether a saved router's recorded verdict is that it was not shown to beat random."""
    try:
        verdict = json.loads((router / "router.json").read_text(encoding="utf-8"))["record"]["verdict"]
        return bool(verdict["low"] <= 0)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _content(router: Path, *, held: bool) -> str:
    """The hash of what a gateway loads of a saved router; of one that holds a target without the threshold."""
    if not held:
        return " ".join(hash_of_file(router / name) for name in LOADED)
    described, gate = LOADED
    with suppress(OSError, ValueError, TypeError):
        description = json.loads((router / described).read_text(encoding="utf-8")) | {"calibration": None}
        return f"{content_hash(description)} {hash_of_file(router / gate)}"
    return ""


def _time_saved(router: Path) -> float | None:
    try:
        return max((router / name).stat().st_mtime for name in LOADED if (router / name).is_file())
    except (OSError, ValueError):
        return None


def _clock(at: float) -> str:
    """The time of day, with the day where that is another one."""
    then, now = time.localtime(at), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%Y-%m-%d %H:%M", then)


def proposed_command(router: Path) -> str:
    """The command that training proposed to set a saved router's threshold; empty where none is kept."""
    try:
        made = json.loads((router.parent / MADE).read_text(encoding="utf-8")) if router.name == "router" else {}
        return str(made[PROPOSED]["content"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
