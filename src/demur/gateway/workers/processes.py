"""Several processes as one service: started, reloaded, restarted when they die, ended together.

The parent has no event loop and serves no requests; the work of a worker is a function that it is given.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from demur.errors import DemurError

LOOK_SECONDS, HUNG_LOOKS = 1.0, 15  # a worker without a sign of life at so many checks in a row is killed
MOST_DEATHS, DEATHS_SECONDS = 5, 60.0  # more deaths within that time: restarting does not help
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

# (number, function that reports readiness, file descriptor that ends with the parent); returns at the end of service
Work = Callable[[int, Callable[[], None], int], None]


@dataclass(slots=True)
class Worker:
    """A child process."""

    number: int
    pid: int
    starting: int | None  # file descriptor that says when it is ready; None: it is
    beat: float = 0.0  # its last sign of life
    missed: int = 0  # checks in a row that found no new one


class Workers:
    """Several processes that do the same work. At the end ``ending`` is called; they are given ``end_seconds``.

    ``beat`` gives a number that changes every second while the worker of that number is well; one that hangs is killed
    and started again.
    """

    def __init__(
        self,
        count: int,
        work: Work,
        *,
        end_seconds: float,
        ending: Callable[[], None],
        beat: Callable[[int], float] | None = None,
    ) -> None:
        self._count, self._work = count, work
        self._end_seconds, self._ending, self._beat = end_seconds, ending, beat
        self._look_again = 0.0
        self._running: dict[int, Worker] = {}
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS + 1)
        self._lifeline, self._held = os.pipe()  # nothing is written to it: it ends with the parent

    def run(self, ready: Callable[[], None]) -> None:
        """Keep them running until SIGTERM or Ctrl-C; ``ready`` is called when all of them are.

        Exits with another code than 0 where the first cannot start, or they die again and again.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are waited for, never interrupt
        self._start(0)  # alone, so that an error in the settings is reported once
        said = False
        while True:
            got = signal.sigtimedwait(SIGNALS, LOOK_SECONDS if said else 0.05)
            number = got.si_signo if got else 0
            if number in (signal.SIGTERM, signal.SIGINT):
                return self._end()
            if number == signal.SIGHUP:
                self._tell(signal.SIGHUP)
            self._restart_ended(started=said or len(self._running) > 1)
            all_ready = self._all_ready()
            self._kill_hung()
            if not said and all_ready:
                if len(self._running) < self._count:
                    for other in range(1, self._count):
                        self._start(other)
                else:
                    said = True
                    ready()

    def _start(self, number: int) -> None:
        heard, told = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.close(self._held)
            os.close(heard)
            _child(self._work, number, told, self._lifeline)
        os.close(told)
        self._running[pid] = Worker(number, pid, heard)

    def _all_ready(self) -> bool:
        for worker in self._running.values():
            told = worker.starting
            if told is not None and select.select([told], [], [], 0)[0] and os.read(told, 1):  # nothing: it has died
                os.close(told)
                worker.starting = None
        return all(worker.starting is None for worker in self._running.values())

    def _kill_hung(self) -> None:
        """Kill workers without a sign of life. Checks are counted, not seconds, so that no worker is killed after a
        suspend.
        """
        if self._beat is None or time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + LOOK_SECONDS
        for worker in self._running.values():
            beat = self._beat(worker.number)
            worker.missed = worker.missed + 1 if worker.starting is None and beat == worker.beat else 0
            worker.beat = beat
            if worker.missed >= HUNG_LOOKS:
                worker.missed = 0
                said = f"shows no sign of life for {HUNG_LOOKS * LOOK_SECONDS:g} s; it is killed"
                print(f"demur: worker {worker.number} {said}", file=sys.stderr)
                os.kill(worker.pid, signal.SIGKILL)

    def _restart_ended(self, *, started: bool) -> None:
        """Restart workers that have ended."""
        for pid, code in _ended_children():
            worker = self._running.pop(pid, None)
            if worker is None:
                continue
            if worker.starting is not None:
                os.close(worker.starting)
            if not started:  # it has reported the error itself
                raise SystemExit(code if code > 0 else 1)
            self._deaths.append(time.monotonic())
            if len(self._deaths) > MOST_DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_SECONDS:
                self._end()
                raise SystemExit(
                    f"demur: workers died {len(self._deaths)} times within {DEATHS_SECONDS:g} s; giving up, see above"
                )
            print(f"demur: worker {worker.number} ended with {code}; it is started again", file=sys.stderr)
            self._start(worker.number)

    def _tell(self, number: int) -> None:
        for pid in self._running:  # only we reap them, so no pid can belong to another process yet
            os.kill(pid, number)

    def _end(self) -> None:
        """End all; those that do not end in time are killed."""
        self._ending()
        self._tell(signal.SIGTERM)
        last = time.monotonic() + self._end_seconds
        while self._running:
            for pid, _ in _ended_children():
                self._running.pop(pid, None)
            if time.monotonic() > last:
                self._tell(signal.SIGKILL)
            time.sleep(0.02)


def _ended_children() -> list[tuple[int, int]]:
    """(pid, exit code; minus the signal that killed it) of the children that have ended."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, os.waitstatus_to_exitcode(status)))


def _child(work: Work, number: int, told: int, lifeline: int) -> None:
    """Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it serves, there is nothing to reload
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work(number, lambda: _say_ready(told), lifeline)
        code = 0
    except DemurError as error:
        print(f"demur: {error}", file=sys.stderr)
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say_ready(told: int) -> None:
    os.write(told, b"1")
    os.close(told)
