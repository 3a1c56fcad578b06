"""Routing decisions off the event loop: prompts of concurrent requests are embedded together, in one worker thread.

One thread with one BLAS and one ONNX thread: the event loop stays free, and two threads would slow each other down.
A short prompt that comes alone is decided in the loop: handing it over and back takes longer than others would wait.
Decisions are those of each prompt alone (`batch_error`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from demur.errors import ArtifactError, DemurError, PictureError
from demur.gate.router import Router
from demur.gateway.decision.batch_error import NO_ERROR, BatchError, is_clear
from demur.gateway.decision.router_identity import router_identity
from demur.meaning.clusters import meaning_clusters
from demur.models.encoders.encoder import runs_here
from demur.records import FloatArray, IntArray, Role, Sample
from demur.routing.decision import AS_ASKED
from demur.routing.known.known_prompts import Looked
from demur.routing.known.unknown_setting import unlike_reason
from demur.routing.prompt_router import Decision, PromptRouter

LARGEST_BATCH = 32
SHORT_CHARACTERS = 400  # of a prompt that may be decided in the loop
QUICK_SECONDS = 0.004  # that the last decision on one prompt has taken at most, else the next one is not in the loop


class SlowDecisionError(RuntimeError):
    """No decision came in time."""


@dataclass(frozen=True, slots=True)
class TimedDecision:
    """A decision, and where its time went (seconds)."""

    decision: Decision
    queued: float
    embedded: float  # embedding of its batch
    scored: float  # scoring of its batch
    unseen: str = ""  # why its pictures were not looked at; empty where they were, or the router does not see any
    vector: FloatArray | None = field(default=None, compare=False)  # (d,) its embedding

    @property
    def score(self) -> float:
        """P(the strong model is needed), from the prompt."""
        return self.decision.score


@dataclass(frozen=True, slots=True, eq=False)
class WaitingText:
    """A text that waits for its decision."""

    text: str
    at: float  # seconds, of perf_counter
    future: asyncio.Future[TimedDecision]
    threshold: float | None  # another one than the router's own
    gate: bool  # whether a draft may be checked
    able: frozenset[Role] | None  # the tiers that may be chosen; None for all


class Decider:
    """Routes texts; create it inside a running loop. The router can be exchanged while it works.

    ``error``: of a batch of this router (`measure_batch_error`).
    """

    def __init__(self, router: Router, seconds: float = 5.0, error: BatchError = NO_ERROR) -> None:
        self.router, self.seconds = router, seconds  # limit of one decision
        self._error = error
        self._identified, self._identity = router, router_identity(router)
        self.alone: Callable[[], bool] = lambda: False  # whether no other request is under way
        self._last = math.inf  # seconds of the last decision on one prompt
        self._waiting: deque[WaitingText] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="demur-router")
        self._busy = False

    async def decide(
        self,
        text: str,
        threshold: float | None = None,
        basis: str = AS_ASKED,
        *,
        gate: bool = True,
        able: Collection[Role] | None = None,
        spoken: bool = True,
    ) -> TimedDecision:
        """The first stage's decision on a text, by the router's own threshold or another one, on this ``basis``.

        Without ``gate`` the decision is final: the request cannot wait for a draft. ``spoken``: does what stands beside
        the text leave it in a language that the router has learned from? Raises SlowDecisionError, and what
        the router raises, as a DemurError or a RuntimeError.
        """
        among = None if able is None else frozenset(able)
        future = asyncio.get_running_loop().create_future()
        asked = WaitingText(text, time.perf_counter(), future, threshold, gate, among)
        self._waiting.append(asked)
        if self._is_quick(text):
            self._decide_here()
        else:
            self._start()
        made = asked.future.result() if asked.future.done() else await self._wait_for(asked)
        decision = made.decision
        if threshold is not None or able is not None or not spoken:
            router, untold = self.router.prompt_router, decision.untold
            if not spoken:
                untold = unlike_reason(untold, known=False, spoken=False, setting=router.record.get("unlike", "score"))
            decision = router.decide(
                made.score,
                familiar=decision.familiar and spoken,
                threshold=threshold,
                basis=basis,
                untold=untold,
                values=decision.values,
                able=able,
            )
        return replace(made, decision=self.router.first_stage(decision) if gate else decision)

    def exchange_router(self, router: Router, error: BatchError) -> None:
        """Decide by another router from now on, whose batches err by this."""
        self.router, self._error = router, error

    @property
    def identity(self) -> str:
        """`router_identity` of the router that decides."""
        if self._identified is not self.router:
            self._identified, self._identity = self.router, router_identity(self.router)
        return self._identity

    async def _wait_for(self, asked: WaitingText) -> TimedDecision:
        try:
            async with asyncio.timeout(self.seconds):
                return await asked.future
        except TimeoutError:
            with suppress(ValueError):  # it is in a batch already
                self._waiting.remove(asked)
            raise SlowDecisionError(f"no decision within {self.seconds:g} s") from None

    async def check(
        self, decision: Decision, text: str, samples: Sequence[Sample], form: Mapping[str, Any], *, final: bool = False
    ) -> Decision:
        """The second stage, in the worker thread: comparing meanings may ask a model. ``form``: that the request asks
        for."""
        work = partial(self.router.check, decision, text, samples, request=form, final=final)
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _is_quick(self, text: str) -> bool:
        """Whether the only prompt that waits is decided in the loop. An encoder behind a network never is."""
        if self._busy or len(self._waiting) > 1 or len(text) > SHORT_CHARACTERS or not self.alone():
            return False
        return self._last <= QUICK_SECONDS and runs_here(self.router.prompt_router.encoder)

    def _decide_here(self) -> None:
        router, batch = self.router, [self._waiting.popleft()]
        started, done = time.perf_counter(), batch[0].future.get_loop().create_future()
        self._busy = True
        try:
            done.set_result(_score_batch(router, batch, NO_ERROR))
        except Exception as error:
            done.set_exception(error)
        self._finish(router.prompt_router, batch, started, done)

    async def meanings(self, text: str, answers: Sequence[str]) -> IntArray:
        """(n,) clusters of answers to a text, by what they mean; in the worker thread, as above."""
        router = self.router

        def work() -> IntArray:
            found = meaning_clusters([text], [answers], entailment=router.entailment, rules=router.rules)
            return np.asarray(found.ids[0])

        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _start(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        batch = [self._waiting.popleft() for _ in range(min(LARGEST_BATCH, len(self._waiting)))]
        router = self.router  # kept, because another router may be loaded meanwhile
        started = time.perf_counter()
        work = asyncio.get_running_loop().run_in_executor(self._worker, _score_batch, router, batch, self._error)
        work.add_done_callback(partial(self._finish, router.prompt_router, batch, started))

    def _finish(
        self, router: PromptRouter, batch: list[WaitingText], started: float, done: asyncio.Future[Scored]
    ) -> None:
        self._busy = False
        try:
            found = done.result()
            self._last = found.embedded + found.scored if len(batch) == 1 else self._last
            for one, seen in zip(batch, found.seen, strict=True):
                if not one.future.done():  # otherwise its client has disconnected
                    times = started - one.at, found.embedded, found.scored
                    one.future.set_result(TimedDecision(_decision(router, seen), *times, seen.unseen, seen.vector))
        except (Exception, asyncio.CancelledError) as error:  # whatever a router raises, every request gets a result
            told = error if isinstance(error, DemurError) else RuntimeError(f"{type(error).__name__}: {error}")
            for one in batch:
                if not one.future.done():
                    one.future.set_exception(told)
        finally:
            self._start()

    def close(self) -> None:
        """End the worker thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class LookedAtPrompt:
    """What the router sees of one prompt: a row of what it saw together."""

    looked: Looked
    row: int
    unseen: str  # why its pictures were not looked at; "" where they were, or there are none
    vector: FloatArray  # (d,) its embedding


@dataclass(frozen=True, slots=True)
class Scored:
    """What the router sees of a batch, and the seconds that it took."""

    seen: list[LookedAtPrompt]
    embedded: float
    scored: float


def _decision(router: PromptRouter, seen: LookedAtPrompt) -> Decision:
    looked, row = seen.looked, seen.row
    return router.decide(
        float(looked.scores[row]),
        familiar=bool(looked.familiar[row]),
        untold=looked.untold[row],
        values=looked.values_of(row),
    )


def _score_batch(router: Router, batch: Sequence[WaitingText], error: BatchError) -> Scored:
    """Of prompts together, as of each alone: those that are not clear are looked at again."""
    prompt_router = router.prompt_router
    first = _look(prompt_router, [one.text for one in batch])
    if len(batch) == 1 or error == NO_ERROR:
        return first
    seen = list(first.seen)
    rows = [i for i, one in enumerate(batch) if not is_clear(router, seen[i].looked, i, error, one)]
    again = [_look(prompt_router, [batch[i].text]) for i in rows]
    for i, part in zip(rows, again, strict=True):
        seen[i] = part.seen[0]
    parts = [first, *again]
    return Scored(seen, sum(part.embedded for part in parts), sum(part.scored for part in parts))


def _look(router: PromptRouter, texts: Sequence[str]) -> Scored:
    start = time.perf_counter()
    vectors, unseen = _embed_batch(router, texts)
    embedded = time.perf_counter()
    looked = router.look_at_vectors(vectors, texts)
    if not np.isfinite(looked.scores).all():
        raise ArtifactError("the router gave a score that is not finite; train it again")
    seen = [LookedAtPrompt(looked, row, why, vectors[row]) for row, why in enumerate(unseen)]
    return Scored(seen, embedded - start, time.perf_counter() - embedded)


def _embed_batch(router: PromptRouter, texts: Sequence[str]) -> tuple[FloatArray, list[str]]:
    """(n, d) of a batch, and why each one's pictures were not looked at: a broken picture stops no request."""
    try:
        return router.embed_together(texts), [""] * len(texts)
    except PictureError:
        rows, unseen = zip(*(_embed_alone(router, text) for text in texts), strict=True)
        return np.concatenate(rows), list(unseen)


def _embed_alone(router: PromptRouter, text: str) -> tuple[FloatArray, str]:
    try:
        return router.embed_together([text]), ""
    except PictureError as error:
        return router.embed_together([str(text)]), error.problem
