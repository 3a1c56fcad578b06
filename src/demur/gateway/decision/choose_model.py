"""Which model answers a request: the one that it names or asks for, its conversation's, or the policy's choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demur.errors import DemurError
from demur.gateway.decision.check_draft import can_be_checked
from demur.gateway.decision.conversations import Conversations, turn_of
from demur.gateway.decision.decider import Decider
from demur.gateway.exchange import Passage
from demur.gateway.http.openai_bodies import ApiError, routed_text, threshold_header, threshold_of
from demur.gateway.settings import GatewaySettings
from demur.records import Role

ALIAS = "demur"


class Chooser:
    """Chooses between the two models; a passage says why."""

    def __init__(self, decider: Decider, direct: Mapping[str, Role]) -> None:
        self._decider, self.direct = decider, direct  # direct: the real models' own names
        self._conversations = Conversations()

    async def choose(
        self, settings: GatewaySettings, headers: Mapping[str, str], fields: Mapping[str, Any], passage: Passage
    ) -> Role:
        """The model that is asked first. Raises ApiError for what cannot be routed."""
        if passage.asked in self.direct:
            passage.role, passage.reason = "direct", "the request names this model"
            return self.direct[passage.asked]
        threshold = self._threshold(passage.asked, headers)
        passage.text = routed_text(fields, settings.context_characters)
        if settings.sticky:
            passage.turn = turn_of(fields, key=passage.key, header=headers.get("x-demur-conversation"))
        forced = _force(headers)
        if forced:
            return _choose_role(passage, forced, "the request's header asks for it")
        if not passage.text.strip():
            held = self._conversations.held(passage.turn)
            return self.settle(passage, held or settings.default, "the request has no text to route")
        return await self._decide(fields, threshold, passage)

    async def _decide(self, fields: Mapping[str, Any], threshold: float | None, passage: Passage) -> Role:
        # A stream waits for its first tokens only where looking at them was found to pay.
        waits = not fields.get("stream") or self._decider.policy.checks_streams
        gate = waits and can_be_checked(fields) and self._conversations.held(passage.turn) != "strong"
        try:
            made = await self._decider.decide(passage.text, threshold, gate=gate)
        except (DemurError, RuntimeError) as error:  # a router that fails must not take the service down
            return _choose_role(
                passage, "strong", f"the router failed ({type(error).__name__})"
            )  # its text may hold a key
        passage.score, passage.threshold = made.decision.score, made.decision.threshold
        passage.queue_seconds, passage.embed_seconds, passage.score_seconds = made.queued, made.embedded, made.scored
        if made.decision.wants_samples:
            passage.to_check = made.decision
            return _choose_role(passage, "weak", made.decision.reason)
        return self.settle(passage, made.decision.role, made.decision.reason)

    def settle(self, passage: Passage, decided: Role, reason: str) -> Role:
        """What was decided, unless the strong model has the conversation already."""
        if decided == "weak" and self._conversations.held(passage.turn) == "strong":
            return _choose_role(passage, "strong", f"{reason}; the conversation stays with its model")
        return _choose_role(passage, decided, reason)

    def keep(self, passage: Passage, served: Role) -> None:
        """A conversation stays with the model that answered, or was to answer, whichever is the stronger."""
        if passage.chosen is not None:
            self._conversations.keep(passage.turn, "strong" if "strong" in (passage.chosen, served) else "weak")

    def _threshold(self, asked: str, headers: Mapping[str, str]) -> float | None:
        """The threshold that a request asks for; None for the router's own. Raises ApiError for unknown models."""
        if not self.knows(asked):
            raise unknown_model(asked, self.direct)
        given = headers.get("x-demur-threshold")
        return threshold_header(given) if given else threshold_of(asked)

    def knows(self, name: str) -> bool:
        """Is it a model that can be asked for?"""
        return name in self.direct or name == ALIAS or threshold_of(name) is not None


def unknown_model(asked: str, direct: Mapping[str, Role]) -> ApiError:
    """404, with the names that are known."""
    names = ", ".join([ALIAS, f"{ALIAS}@0.5", *direct])
    return ApiError(404, f"The model {asked[:80]!r} does not exist; known: {names}.", code="model_not_found")


def _force(headers: Mapping[str, str]) -> Role | None:
    """The model that a request's header asks for; raises ApiError 400 for another word."""
    asked = headers.get("x-demur-route", "")
    if asked and asked not in ("weak", "strong"):
        raise ApiError(400, f"x-demur-route is {asked[:40]!r}; it can be weak or strong.")
    return _role(asked) if asked else None


def _role(name: str) -> Role:
    return "weak" if name == "weak" else "strong"


def _choose_role(passage: Passage, role: Role, reason: str) -> Role:
    passage.role = passage.chosen = role
    passage.reason = reason
    return role
