"""Routing decisions off the event loop: prompts of concurrent requests are embedded together, in one worker thread.

One thread with one BLAS and one ONNX thread: the loop stays free, and two threads would only stall each other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from demur.errors import DemurError
from demur.policy import Policy
from demur.records import BoolArray, FloatArray, Sample
from demur.router import Decision, Router

LARGEST_BATCH = 32


@dataclass(frozen=True, slots=True)
class TimedDecision:
    """A decision, and where its time went (seconds)."""

    decision: Decision
    queued: float
    computed: float  # embedding and scoring of its batch

    @property
    def score(self) -> float:
        """P(the strong model is needed), from the prompt."""
        return self.decision.score


class Decider:
    """Routes texts; create it inside a running loop. The policy can be exchanged while it works."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._waiting: deque[tuple[str, float, asyncio.Future[TimedDecision]]] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="demur-router")
        self._busy = False

    async def decide(self, text: str, threshold: float | None = None, *, gate: bool = True) -> TimedDecision:
        """The first stage's decision on a text, by the router's own threshold or another one.

        Without ``gate`` it is the last word: the request cannot wait for a draft.
        """
        future: asyncio.Future[TimedDecision] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, time.perf_counter(), future))
        self._start()
        made = await future
        decision = made.decision
        if threshold is not None:
            decision = self.policy.router.decide(made.score, familiar=decision.familiar, threshold=threshold)
        return replace(made, decision=self.policy.first_stage(decision) if gate else decision)

    async def check(self, decision: Decision, text: str, samples: Sequence[Sample], *, final: bool = False) -> Decision:
        """The second stage, in the worker thread: comparing meanings may ask a model."""
        work = partial(self.policy.check, decision, text, samples, final=final)
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _start(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        batch = [self._waiting.popleft() for _ in range(min(LARGEST_BATCH, len(self._waiting)))]
        texts, started = [text for text, _, _ in batch], time.perf_counter()
        work = asyncio.get_running_loop().run_in_executor(self._worker, _scored, self.policy.router, texts)
        work.add_done_callback(lambda done: self._finish(batch, started, done))

    def _finish(
        self,
        batch: list[tuple[str, float, asyncio.Future[TimedDecision]]],
        started: float,
        done: asyncio.Future[tuple[FloatArray, BoolArray]],
    ) -> None:
        self._busy = False
        error = done.exception()
        computed = time.perf_counter() - started
        for i, (_, asked, future) in enumerate(batch):
            if future.done():  # its client has gone
                continue
            if error is not None:
                future.set_exception(error if isinstance(error, DemurError) else RuntimeError(str(error)))
            else:
                scores, familiar = done.result()
                decision = self.policy.router.decide(float(scores[i]), familiar=bool(familiar[i]))
                future.set_result(TimedDecision(decision, started - asked, computed))
        self._start()

    def close(self) -> None:
        """End the worker thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def _scored(router: Router, texts: Sequence[str]) -> tuple[FloatArray, BoolArray]:
    """Scores of a batch, and which of its texts are like some training prompt."""
    vectors = router.embed_together(texts)
    return router.score_vectors(vectors), router.familiar(vectors)
