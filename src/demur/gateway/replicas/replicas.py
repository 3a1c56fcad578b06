"""This process among those of all machines: budgets are reserved together, and an outage that one finds is told to all.

While PostgreSQL cannot be reached, each process goes by what it knows itself; what it owes is written when PostgreSQL
answers again.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from demur.gateway.clients.budgets import Spent
from demur.gateway.replicas import presence, shared_accounts
from demur.gateway.replicas.outages import Outages
from demur.gateway.replicas.presence import Replica
from demur.gateway.replicas.shared_accounts import Account, Room
from demur.store.connection import PostgresConnection

BEAT_SECONDS, AWAY_SECONDS = 0.25, 1.0  # between two looks at the others; while the database is away
WAIT_SECONDS = 0.5  # of a request, for the database
FLUSH_SECONDS = 0.02  # until what was paid is written; a request of the same account writes it sooner
END_SECONDS = 3.0  # at the end, for the database
SWEEP_SECONDS = 5.0  # between two looks for processes that have ended without a word


@dataclass(slots=True)
class Ticket:
    """What is reserved in an account for one request."""

    name: str
    usd: float
    counted: bool = False  # in the sum of this process
    over: bool = False  # the request has ended


@dataclass(frozen=True, slots=True)
class Heard:
    """What a look at the others found."""

    others: Sequence[Replica]
    accounts: Mapping[str, Account]


class Replicas:
    """The accounts and the outages that all processes on one PostgreSQL share.

    ``spent``: what was spent from each account, by the ledger and this process. ``learn`` is told what all have spent.
    """

    def __init__(
        self,
        url: str,
        version: str,
        spent: Callable[[], Mapping[str, Spent]],
        learn: Callable[[Mapping[str, Spent]], None],
    ) -> None:
        self.name, self._version, self._spent, self._learn = uuid.uuid4().hex[:12], version, spent, learn
        self._names = set(spent())
        self._db = PostgresConnection(url, _prepare)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="demur-replicas")
        self._lock = threading.Lock()  # of what follows: the thread and the requests change it
        self._held: defaultdict[str, float] = defaultdict(float)  # account -> USD reserved by this process
        self._unpaid: defaultdict[str, float] = defaultdict(float)  # account -> USD spent that are to be written
        self._flushing = False
        self._sweep_again = 0.0  # of time.monotonic
        self._there, self._joined = True, True
        self._said: set[str] = set()  # other versions
        self.others: Sequence[Replica] = ()

    def open(self) -> None:
        """Join the others. Raises what psycopg raises."""
        with self._db.transaction() as db:

            def execute(statement: str, values: Mapping[str, object]) -> list[Any]:
                done = db.execute(statement, values)
                return list(done.fetchall()) if done.description else []

            db.execute("lock table replicas, accounts in exclusive mode")
            shared_accounts.release(execute, presence.remove_gone(execute))
            if not presence.beat(execute, self.name, self._version, ()):  # the first: the ledger alone counts
                db.execute("delete from accounts")
            for name, found in sorted(self._spent().items()):
                shared_accounts.take_over(execute, name, self.name, found, time.time())

    # -- budgets -------------------------------------------------------------------------------------------------------

    async def reserve(self, name: str, usd: float, room: Room) -> tuple[Ticket, Account | None]:
        """Reserve USD in an account. An account beside the ticket: it has no room for them.

        Where the database does not answer, the request is admitted: this process's own account has room.
        """
        ticket = Ticket(name, usd)
        if name not in self._names:  # a key that a reload has brought
            self._names.add(name)
            self._joined = False
        try:
            found = await self._ask(partial(self._reserve, ticket, room)) if self._there else None
        except asyncio.CancelledError:  # the client has gone
            self.pay(name, 0.0, ticket)
            raise
        if found is None:
            self._count(ticket)
            return ticket, None
        granted, account = found
        if account:
            self._learn({name: account.spent})
        return ticket, None if granted else account or Account(Spent(), 0.0)

    def pay(self, name: str, usd: float, ticket: Ticket | None = None) -> None:
        """Count what a request has cost; what was reserved for it is released."""
        with self._lock:
            if ticket:
                if ticket.counted:
                    self._held[name] = max(0.0, self._held[name] - ticket.usd)
                ticket.over, ticket.counted = True, False
            self._unpaid[name] += usd
            due, self._flushing = self._there and not self._flushing, True
        if due:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush_soon)

    def _count(self, ticket: Ticket) -> None:
        with self._lock:
            if not (ticket.counted or ticket.over):
                ticket.counted = True
                self._held[ticket.name] += ticket.usd
            if ticket.over or not self._there:
                self._unpaid[ticket.name] += 0.0  # the sum is to be written

    def _join(self) -> None:
        """Tell the others what was spent by this process's ledger, if they may not know it."""
        if self._joined:
            return
        self._joined = True  # first: a key that a reload brings meanwhile is told by the next call
        try:
            for name, found in sorted(self._spent().items()):
                shared_accounts.take_over(
                    *(self._db.execute, name, self.name, found, time.time()), held=self._held[name]
                )
        except BaseException:
            self._joined = False
            raise

    def _reserve(self, ticket: Ticket, room: Room) -> tuple[bool, Account | None]:
        self._join()  # a key that a reload has just brought may have spent its budget long ago
        name, now = ticket.name, time.time()
        with self._lock:
            held, paid = self._held[name], self._unpaid.pop(name, 0.0)
        found = None
        try:
            found = shared_accounts.reserve(
                *(self._db.execute, name, self.name), held=held, usd=ticket.usd, room=room, now=now, paid=paid
            )
        finally:
            if found is None:
                with self._lock:
                    self._unpaid[name] += paid
        if found:
            self._count(ticket)
            return True, found
        self._flush()
        return False, shared_accounts.read(self._db.execute, [name]).get(name)

    def _flush_soon(self) -> None:
        with suppress(RuntimeError):  # it is closed, and has written all
            self._thread.submit(self._try_to_flush)

    def _try_to_flush(self) -> None:
        with suppress(Exception):  # the next look at the others says so, and tries again
            self._flush()

    def _flush(self) -> None:
        """Write what was spent, and what is reserved."""
        with self._lock:
            due, self._flushing = dict(self._unpaid), False
            self._unpaid.clear()
        while due:
            name, usd = due.popitem()
            try:
                shared_accounts.pay(
                    *(self._db.execute, name, self.name), held=self._held[name], usd=usd, now=time.time()
                )
            except BaseException:
                with self._lock:
                    for left, owed in [(name, usd), *due.items()]:
                        self._unpaid[left] += owed
                raise

    # -- the others ----------------------------------------------------------------------------------------------------

    async def follow(self, outages: Outages) -> None:
        """Look at the others, and tell them which models are down here, until it is cancelled."""
        while True:
            found = await self._ask(partial(self._look, outages.found))
            if found:
                self._hear(found, outages)
            await asyncio.sleep(BEAT_SECONDS if self._there else AWAY_SECONDS)

    def _look(self, down: Sequence[str]) -> Heard:
        self._join()
        self._flush()
        others = presence.beat(self._db.execute, self.name, self._version, down)
        if time.monotonic() >= self._sweep_again:
            self._sweep_again = time.monotonic() + SWEEP_SECONDS
            gone = presence.remove_gone(self._db.execute)
            if gone:
                shared_accounts.release(self._db.execute, gone)
        names = sorted(self._names)
        return Heard(others, shared_accounts.read(self._db.execute, names) if names else {})

    def _hear(self, found: Heard, outages: Outages) -> None:
        self._learn({name: account.spent for name, account in found.accounts.items()})
        self.others = found.others
        outages.apply_reports({one.name: one.down for one in found.others})
        for one in found.others:
            if one.version not in {self._version, *self._said}:
                self._said.add(one.version)
                said = f"another replica is demur {one.version}, this one {self._version}; serve with one version"
                print(f"demur: {said}", file=sys.stderr)

    async def _ask(self, work: Callable[[], Any]) -> Any:
        """What work in the thread gives; None where the database fails, or does not answer in time."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        running.add_done_callback(_drop_error)
        done, _ = await asyncio.wait([running], timeout=WAIT_SECONDS)
        error = running.exception() if done else TimeoutError()
        if (error is None) != self._there:
            self._there, self._joined = error is None, False  # a server that crashed has lost its last moment
            away = f"PostgreSQL is away ({type(error).__name__}): budgets go by what this process knows"
            print(f"demur: replicas: {away if error else 'PostgreSQL is back'}", file=sys.stderr)
        return None if error else running.result()

    def close(self) -> None:
        """Write what is owed, say that this process serves no more, and close the connection."""
        wait([self._thread.submit(self._leave)], END_SECONDS)
        self._db.close()  # ends what is asked of a database that hangs
        self._thread.shutdown(cancel_futures=True)

    def _leave(self) -> None:
        with suppress(Exception):  # the database is away: the others find out by themselves
            self._flush()
            shared_accounts.release(self._db.execute, [self.name])
            presence.leave(self._db.execute, self.name)


def _prepare(execute: Callable[[str], Any]) -> None:
    execute("set synchronous_commit = off")  # what a crash loses is learned again; no request waits for a disk
    for table in (presence.TABLE, shared_accounts.TABLE):
        execute(table)


def _drop_error(done: asyncio.Future[Any]) -> None:
    """An error that came too late was said already."""
    if not done.cancelled():
        done.exception()
