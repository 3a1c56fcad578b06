"""The address of a store on PostgreSQL. A password in it is refused, since it is written to records and messages."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlencode

from demur.errors import InputError

SCHEMES = ("postgresql://", "postgres://")
_SHOWN = ("host", "hostaddr", "port", "dbname", "service")


def check_store_url(store: str) -> None:
    """Raise InputError for anything but a URL of PostgreSQL without a password."""
    if not store:
        return
    if not store.startswith(SCHEMES):
        raise InputError(
            f"store {shown_store(store)!r} is not a PostgreSQL URL; write postgresql://HOST/DATABASE, or leave it out: "
            "the samples are then kept in the run's folder"
        )
    user, _, rest = store.partition("://")[2].rpartition("@")
    names = [name for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True)]
    if ":" in user or any("password" in name or "secret" in name for name in names):
        raise InputError(
            f"store {shown_store(store)}: its URL holds a password, which would be kept in run.json; leave it out, and "
            "give it as PGPASSWORD, in the file that PGPASSFILE names (~/.pgpass), or by ?service=NAME"
        )


def shown_store(store: str) -> str:
    """A store's address as messages show it: without user, password and options."""
    scheme, slashes, rest = store.partition("://")
    address, _, query = (rest or scheme).rpartition("@")[2].partition("?")
    shown = urlencode([one for one in parse_qsl(query) if one[0] in _SHOWN], safe="/:,")
    return f"{scheme if slashes else ''}{slashes}{address}{'?' if shown else ''}{shown}"


def store_hosts(store: str) -> list[str]:
    """The hosts that a store's URL names, each ``HOST`` or ``HOST:PORT``; without those that are a socket's folder."""
    address, _, query = store.partition("://")[2].rpartition("@")[2].partition("?")
    named = [value for name, value in parse_qsl(query) if name in ("host", "hostaddr")]
    hosts = [host for text in (address.partition("/")[0], *named) for host in unquote(text).split(",")]
    return [host for host in hosts if host and not host.startswith(("/", "@"))]
