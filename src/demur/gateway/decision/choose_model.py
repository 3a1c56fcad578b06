"""Chooses the model that answers: the one that the request names, its conversation's, or the router's choice."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from demur.errors import DemurError
from demur.gate.shares import threshold_of_share
from demur.gateway.decision.abilities import Abilities
from demur.gateway.decision.aliases import DEMUR, is_routed, resolve
from demur.gateway.decision.conversation_model import (
    ANSWER_TOKENS,
    ConversationRecord,
    KnownConversation,
    NextCosts,
    may_be_unseen,
    next_record,
    stays,
    tool_loop_role,
)
from demur.gateway.decision.conversations import Turn
from demur.gateway.decision.decider import Decider, TimedDecision
from demur.gateway.decision.request.question import Question
from demur.gateway.decision.request.system_message import is_spoken, other_system
from demur.gateway.decision.request.thinking import needs_strong
from demur.gateway.http.openai_bodies import ApiError, share_of, threshold_header, threshold_of
from demur.gateway.http.request_record import request_record
from demur.gateway.ledger.held_conversations import ConversationRecords, Search
from demur.gateway.settings import GatewaySettings
from demur.models.images.joined_encoder import sees_pictures
from demur.models.prices import Price
from demur.prompts.pictures import words_of
from demur.records import Role
from demur.routing.decision import AS_ASKED
from demur.routing.prompt_router import Decision, PromptRouter

UNSEEN_PICTURES = "; routed by its text and that it has pictures, which were not looked at"
TAPERED = "raised, because a budget of the key is nearly used up"
SPENT = "what is left of the target's budget is enough for the weak model alone"
UNSEEN = "the database of conversations does not answer, and this may go on with an ask of the strong model"
ASK_DEMUR = "Ask for the model `demur`: then another one answers in its place."


@request_record(frozen=True, slots=True)
class Choice:
    """The model that is asked first, and why."""

    role: Role
    reason: str
    named: bool = False  # by the client: no other model may answer instead
    forced: bool = False  # by a header: the other model answers only where this one is down
    model: str = ""  # name that the upstream gets; empty: its model's own
    timed: TimedDecision | None = None  # the router's decision; None where it was not asked
    conversation: KnownConversation | None = None  # what was known of the request's conversation
    stays: str = ""  # why the conversation stays with the strong model; empty: it need not
    note: str = ""  # what the reason ends with, whichever stage decides
    decided_by: str = ""  # `router_identity`, and the target or the request that sets the threshold
    other_system: str = ""  # how its system message differs from the one that the labels were made with
    way_out: str = ""  # for a client that named a model which does not answer

    @property
    def to_check(self) -> Decision | None:
        """The first stage's decision, if the weak model's answer is to be checked."""
        return self.timed.decision if self.timed and self.timed.decision.wants_samples else None


class Chooser:
    """Chooses between the two models; ``price`` is of a model's tokens, None where it is unknown."""

    def __init__(
        self,
        decider: Decider,
        direct: Mapping[str, Role],
        aliases: Mapping[str, str],
        abilities: Abilities,
        conversations: ConversationRecords,
        price: Callable[[Role], Price | None],
        under_way: Callable[[], int] = lambda: 0,
        targeted: Callable[[Question], tuple[float | None, str]] = lambda question: (None, ""),
    ) -> None:
        self._decider, self.direct = decider, direct  # direct: the real models' own names
        self._aliases, self.abilities = aliases, abilities
        self._conversations, self._price = conversations, price
        self._under_way = under_way  # requests at the weak model
        self._targeted = targeted  # the threshold that a target sets, and the words for it; None: the router's own

    async def choose(
        self, settings: GatewaySettings, headers: Mapping[str, str], question: Question, unspoken: Mapping[Role, str]
    ) -> Choice:
        """The model that is asked first; ``unspoken``: who does not speak the request's API.

        Raises ApiError for a request that cannot be routed.
        """
        asked = self._resolve(question.model)
        if asked in self.direct:
            must_speak(self.direct[asked], unspoken)
            way_out = ASK_DEMUR if settings.fallback and len(self.roles) > 1 else ""
            return Choice(self.direct[asked], "the request names this model", named=True, way_out=way_out)
        named = self._threshold(asked, headers)
        threshold = self._taper_threshold(named, question)
        if question.refused:
            raise question.refused
        if question.continues:
            return await self._continue(question, unspoken)
        known = await self._search_known(question.turn) if question.turn else Search(None)
        tiers = self._decider.router.prompt_router.tiers
        forced = _force(headers, self.roles, tiers.names if tiers else ())
        decides = f"{self._decider.identity} {settings.target} {'' if named is None else named}".rstrip()
        choice = await self._choose(settings, forced, question, known, threshold, unspoken, decides)
        return replace(choice, conversation=known.conversation, decided_by=decides)

    async def _choose(
        self,
        settings: GatewaySettings,
        forced: Role | None,
        question: Question,
        known: Search,
        threshold: float | None,
        unspoken: Mapping[Role, str],
        decides: str,
    ) -> Choice:
        """The choice for a request that leaves it to demur. ``decides``: see `stays`."""
        conversation = known.conversation
        if forced:
            must_speak(forced, unspoken)
            return Choice(forced, "the request's header asks for it", forced=True)
        able, lack = self.abilities.choose(question.kind, question.tokens, unspoken)
        if len(able) == 1:
            return Choice(able[0], f"{lack}, so the {able[0]} model answers")
        role = tool_loop_role(question.turn, conversation)
        if role:
            return Choice(role, "a tool loop stays with the model that it began with")
        if not (known.sure or question.spent) and may_be_unseen(question.turn, conversation, answered=known.answered):
            return Choice(self._not_weak(conversation), UNSEEN)
        if needs_strong(question.thinking, conversation.record if conversation else None):
            return Choice("strong", "signed thinking goes on, of a conversation that is not known: the strong model's")
        if not (question.text if self._sees else words_of(question.text)).strip():
            role = self._conversation_role(conversation) if conversation else settings.default
            return Choice(role, "the request has no text to route")
        asks_anew = threshold is not None and question.turn is not None and question.turn.begins
        why = ""
        if not (asks_anew or question.spent):
            costs = self._costs(settings, question, self._conversation_role(conversation))
            why = stays(question.turn, conversation, costs, time.time(), decides=decides)
        held = conversation.record.role if conversation and why else "strong"
        choice = await self._decide(question, threshold, why, held, able if lack else None)
        return choice if question.spent or "strong" not in able else self._not_queued(settings, choice)

    def _not_queued(self, settings: GatewaySettings, choice: Choice) -> Choice:
        """The choice, or the strong model's where so many requests are under way at the weak one that it would wait."""
        most, busy = settings.weak_at_most, self._under_way()
        if choice.role != "weak" or most is None or busy < most:
            return choice
        reason = f"{choice.reason}; {busy} requests are under way at the weak model (weak_at_most {most})"
        timed = choice.timed and replace(choice.timed, decision=replace(choice.timed.decision, wants_samples=0))
        return replace(choice, role="strong", reason=f"{reason}, so the strong model answers", timed=timed)

    def _conversation_role(self, conversation: KnownConversation | None) -> Role:
        return conversation.record.role if conversation and conversation.record.role in self.roles else "strong"

    async def _search_known(self, turn: Turn) -> Search:
        """What is known of a conversation; inside a tool loop another model costs more than a little patience."""
        return await self._conversations.search_patiently(
            turn.known, lambda conversation: not (turn.loops and may_be_unseen(turn, conversation))
        )

    def _not_weak(self, conversation: KnownConversation | None) -> Role:
        held = self._conversation_role(conversation)
        return "strong" if held == "weak" else held

    async def _continue(self, question: Question, unspoken: Mapping[Role, str]) -> Choice:
        """The model that gave the answer which a request continues. Raises ApiError where that is not known."""
        conversation = await self._conversations.find([answer_name(question.key, question.continues)])
        if conversation is None:
            said = f"no answer {question.continues[:80]!r} was given here lately; send all of the input instead"
            raise ApiError(400, f"previous_response_id: {said}.", code="previous_response_not_found")
        role = conversation.record.role
        must_speak(role, unspoken)
        return Choice(role, "the request continues this model's answer", named=True)

    def choose_unrouted(self, settings: GatewaySettings, question: Question, unspoken: Mapping[Role, str]) -> Choice:
        """The model that a request names; for `demur` the weak model's endpoint, as for the names of the settings,
        or the strong one's if that alone speaks the API.

        Raises ApiError for another name.
        """
        asked = self._resolve(question.model)
        if asked in self.direct:
            must_speak(self.direct[asked], unspoken)
            return Choice(self.direct[asked], "the request names this model", named=True)
        if asked in settings.embedding_models:
            must_speak("weak", unspoken)
            return Choice("weak", "the settings name this model", named=True, model=asked)
        if is_routed(asked):
            role: Role = "strong" if "weak" in unspoken else "weak"
            return Choice(role, unspoken.get("weak") or "what is not routed is the weak model's", named=True)
        raise unknown_model(asked, [*self.direct, *settings.embedding_models])

    async def _decide(
        self, question: Question, threshold: float | None, stays: str, held: Role, able: tuple[Role, ...] | None
    ) -> Choice:
        # A stream waits for its first tokens only where looking at them was found to pay.
        router = self._decider.router
        waits = not question.streamed or (router.checks_streams and "tools" not in question.kind)
        learned = "tools" not in question.kind or router.prompt_router.learned_calls
        gate = waits and learned and question.one_answer and not stays
        used, basis = self._used_threshold(question, threshold)
        record = router.prompt_router.record
        spoken = is_spoken(question.system, record)
        other = other_system(question.system, record, router.prompt_router.served_as)
        note = question.left_out_note + (f"; {other}" if other else "")
        try:
            timed = await self._decider.decide(question.text, used, basis, gate=gate, able=able, spoken=spoken)
        except (DemurError, RuntimeError) as error:  # a failing router must not stop the service
            return Choice(
                "weak" if question.spent else "strong", f"the router failed ({type(error).__name__})"
            )  # its text may hold a key
        role, reason = timed.decision.role, timed.decision.reason + note
        made = Choice(role, reason, timed=timed, note=note, other_system=other)
        if timed.decision.wants_samples:
            return replace(made, role="weak")
        if "images" in question.kind and not self._sees:
            reason += UNSEEN_PICTURES
        if timed.unseen:
            reason += f"{UNSEEN_PICTURES}: {timed.unseen}"
        if stays and self.rank(role) < self.rank(held):
            return replace(made, role=held, reason=f"{reason}; {stays}", stays=stays)
        return replace(made, reason=reason, stays=stays)

    @property
    def _sees(self) -> bool:
        """Whether the router looks at pictures."""
        return sees_pictures(self._decider.router.prompt_router.encoder)

    def _costs(self, settings: GatewaySettings, question: Question, held: Role) -> NextCosts:
        """Of a conversation that the ``held`` model answers, beside the weak one."""
        router = self._decider.router.prompt_router
        weak, other = (cost.answer_tokens if (cost := router.cost(role)) else ANSWER_TOKENS for role in ("weak", held))
        return NextCosts(
            *(self._price("weak"), self._price(held), question.tokens, weak, other), settings.prompt_cache_seconds
        )

    @property
    def roles(self) -> tuple[Role, ...]:
        """By rising price."""
        return tuple(self.abilities.stated)

    def others(
        self, settings: GatewaySettings, choice: Choice, question: Question, unspoken: Mapping[Role, str]
    ) -> list[Role]:
        """Who may answer instead, in this order: not instead of a model that was named, nor what it cannot by the
        settings."""
        if not settings.fallback or choice.named or question.spent:
            return []
        lack, others = self.abilities.stated_lack, others_of(choice.role, self.roles)
        return [role for role in others if not (unspoken.get(role) or lack(role, question.kind, question.tokens))]

    def rank(self, role: Role) -> int:
        """Where a model stands among all, by rising price; one that is gone was the dearest."""
        return self.roles.index(role) if role in self.roles else len(self.roles) - 1

    async def keep(self, question: Question, choice: Choice, chosen: Role, served: Role, kept_as: str) -> None:
        """A conversation stays with the model that answered, or was to answer, whichever is the stronger.

        ``kept_as``: the id under which the upstream keeps the answer, empty without one; only its model can go on.
        """
        turn = None if choice.named else question.turn
        goes_on = not choice.named or question.continues  # else the client knows which model it named
        name = [answer_name(question.key, kept_as)] if kept_as and goes_on else []
        if name and (turn is None or chosen != served):
            await self._conversations.keep(name, ConversationRecord(served, "", time.time()))
            name = []
        if turn is None:
            return
        role = max(chosen, served, key=self.rank)
        timed, before, now = choice.timed, choice.conversation, time.time()
        own = timed is not None and chosen == served
        held = before and timed and choice.stays and self.rank(timed.decision.role) < self.rank(choice.role)
        by = (
            before.record.decided_by if before and held else choice.decided_by
        )  # what holds has decided, not what is held
        record = next_record(turn, before, role, chosen=own, tokens=question.tokens, now=now, decides=by)
        await self._conversations.keep([*turn.names, *name], record)

    def routes(self, name: str) -> bool:
        """Whether a model's name leaves the choice to demur."""
        return self._resolve(name) not in self.direct

    def _resolve(self, name: str) -> str:
        return resolve(name, self._aliases, self.direct)

    def _threshold(self, asked: str, headers: Mapping[str, str]) -> float | None:
        """The threshold that a request asks for; None for the router's own. Raises ApiError for unknown models."""
        if not is_routed(asked):
            raise unknown_model(asked, self.direct)
        given = headers.get("x-demur-threshold")
        if given:
            return threshold_header(given)
        share = share_of(asked)
        return threshold_of(asked) if share is None else threshold_of_share(self._decider.router, share)

    def _used_threshold(self, question: Question, threshold: float | None) -> tuple[float | None, str]:
        """The threshold that decides, None for the router's own, and why it is that one. ``threshold``: as asked, or
        as tapered."""
        if question.spent:
            return math.inf, SPENT
        if threshold is None:
            return self._targeted(question)
        return threshold, TAPERED if question.kept_share < 1 else AS_ASKED

    def _taper_threshold(self, threshold: float | None, question: Question) -> float | None:
        """The threshold at which only a fraction of the strong share is left, by the training prompts' scores."""
        if question.kept_share >= 1:
            return threshold
        router = self._decider.router
        targeted = self._targeted(question)[0] if threshold is None else threshold
        scores, own = router.training_finals, router.threshold if targeted is None else targeted
        left = question.kept_share * float(np.mean(scores >= own))
        return max(own, float(np.quantile(scores, 1 - left, method="higher")) if left else math.inf)

    def knows(self, name: str) -> bool:
        """Whether a model of this name is known."""
        found = self._resolve(name)
        return found in self.direct or is_routed(found)


def named_models(models: Mapping[Role, str], router: PromptRouter) -> dict[str, Role]:
    """Names that clients may ask for -> role: those of the models, of one name the cheapest's, and of the tiers."""
    found: dict[str, Role] = {}
    for role, name in models.items():
        found.setdefault(name, role)
    tiers = router.tiers
    return found | (dict(zip(tiers.names, tiers.roles, strict=True)) if tiers else {})


def others_of(role: Role, roles: Sequence[Role]) -> list[Role]:
    """Who answers where a model cannot: the dearer ones by rising price, then the cheaper ones by falling price."""
    at = roles.index(role)
    return [*roles[at + 1 :], *reversed(roles[:at])]


def settle(decided: Role, reason: str, stays: str) -> tuple[Role, str]:
    """What was decided, unless the conversation stays with the strong model; and the reason."""
    return ("strong", f"{reason}; {stays}") if decided == "weak" and stays else (decided, reason)


def answer_name(key: str, answer_id: str) -> str:
    """The name under which the model of an answer is kept, for a client's key."""
    return f"answer {blake2b(json.dumps([key, answer_id]).encode(), digest_size=16).hexdigest()}"


def must_speak(role: Role, unspoken: Mapping[Role, str]) -> None:
    """Raise ApiError where a model that was asked for does not speak the request's API."""
    if role in unspoken:
        raise ApiError(400, f"{unspoken[role]}; ask for demur, or for the other model.", code="unsupported_api")


def unknown_model(name: str, direct: Iterable[str]) -> ApiError:
    """404, with the names that are known."""
    names = ", ".join([DEMUR, f"{DEMUR}@0.5", f"{DEMUR}@30%", *direct])
    return ApiError(404, f"The model {name[:80]!r} does not exist; known: {names}.", code="model_not_found")


def _force(headers: Mapping[str, str], roles: tuple[Role, ...], names: tuple[str, ...]) -> Role | None:
    """The model that a request's header asks for, by role or by the name of a tier; raises ApiError 400 for another
    word."""
    asked = headers.get("x-demur-route", "")
    if asked in names:
        return roles[names.index(asked)]
    if asked and asked not in roles:
        *some, last = dict.fromkeys([*roles, *names])
        raise ApiError(400, f"x-demur-route is {asked[:40]!r}; it can be {', '.join(some)} or {last}.")
    return asked or None
