"""A PostgreSQL server of a test's own, as an unprivileged user, on a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import missing


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server that can be stopped and started."""

    folder: Path
    control: tuple[str, ...]  # pg_ctl, as the user that may run it

    @property
    def url(self) -> str:
        """Where it answers while it runs."""
        return f"postgresql:///postgres?host={self.folder}&user=demur"

    def start(self) -> None:
        """Start it; returns when it answers."""
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        subprocess.run(
            [*self.control, "-o", options, "-l", str(self.folder / "log"), "start"], check=True, capture_output=True
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` is as if it had crashed."""
        subprocess.run([*self.control, "-m", mode, "stop"], check=False, capture_output=True)

    def signal_all(self, number: int) -> None:
        """Send every process of it a signal: SIGSTOP is as if its disk hung, until SIGCONT."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        others = subprocess.run(["pgrep", "-P", str(first)], check=False, capture_output=True, text=True).stdout
        for pid in (first, *map(int, others.split())):
            os.kill(pid, number)


def new_postgres(folder: Path) -> Postgres:
    """A server with an empty database in an empty folder; it does not run yet."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "").parent]
    if not (binaries[-1] / "initdb").is_file():
        missing("PostgreSQL (apt-get install postgresql)")
    as_user: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = folder / "data"
    subprocess.run(
        [*as_user, binaries[-1] / "initdb", "-D", data, "-A", "trust", "-U", "demur"], check=True, capture_output=True
    )
    return Postgres(folder, (*as_user, str(binaries[-1] / "pg_ctl"), "-D", str(data), "-w"))


@contextmanager
def pooled(server: Postgres) -> Iterator[str]:
    """The server behind PgBouncer, which gives each transaction any of two connections; its URL."""
    command = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")  # Debian's folder of daemons
    if command is None:
        missing("PgBouncer (apt-get install pgbouncer)")
    settings = server.folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\npostgres = host={server.folder} user=demur\n[pgbouncer]\nauth_type = any\nlisten_port = 6432\n"
        f"unix_socket_dir = {server.folder}\npool_mode = transaction\ndefault_pool_size = 2\n"
    )
    child = subprocess.Popen([*server.control[:-4], command or "pgbouncer", str(settings)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if (server.folder / ".s.PGSQL.6432").exists():
                break
            time.sleep(0.05)
        yield f"postgresql:///postgres?host={server.folder}&port=6432&user=demur"
    finally:
        child.terminate()
        child.wait()
