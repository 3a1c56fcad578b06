"""A learned router that a share of the conversations gets before it serves all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b

from demur.gateway.decision.choose_model import Chooser
from demur.gateway.decision.decider import Decider
from demur.gateway.decision.request.question import Question

WHOLE = 2**64


@dataclass(frozen=True, slots=True)
class Serving:
    """A router in service; the canary beside it is another."""

    decider: Decider
    chooser: Chooser
    version: int = 0  # 0: it was not learned here
    share: float = 1.0  # of the conversations

    def serves(self, question: Question) -> bool:
        """Is this conversation, or without messages this text, one of its share? The same in every process."""
        name = question.conversation or question.text
        drawn = int.from_bytes(blake2b(name.encode("utf-8", "replace"), digest_size=8).digest(), "big")
        return drawn < self.share * WHOLE


class Routers:
    """The router in force, and the canary beside it, if there is one."""

    def __init__(self, main: Serving, chooser_of: Callable[[Decider], Chooser]) -> None:
        self.main, self._chooser_of = main, chooser_of
        self.canary: Serving | None = None

    def of(self, question: Question) -> Serving:
        """The router that a question is for."""
        return self.canary if self.canary and self.canary.serves(question) else self.main

    def set_version(self, version: int) -> None:
        """Which version the router in force is."""
        self.main = replace(self.main, version=version)

    def try_canary(self, decider: Decider, version: int, share: float) -> None:
        """Let another router serve a share of the conversations from now on."""
        self.end_canary()
        self.canary = Serving(decider, self._chooser_of(decider), version, share)

    def end_canary(self) -> None:
        """Let the router in force serve all conversations."""
        before, self.canary = self.canary, None
        if before:
            before.decider.close()
