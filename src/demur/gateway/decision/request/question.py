"""The parts of a request that routing needs, read once from its body.

The parsed body can take fifty times the memory of its bytes, so it is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from demur.gateway.decision.abilities import kind_of
from demur.gateway.decision.conversations import Identity, Turn, conversation_name, turn_of
from demur.gateway.decision.learned_abilities import Kind
from demur.gateway.decision.request.routed_text import RoutedText
from demur.gateway.decision.request.system_message import SystemMessage, system_message_in
from demur.gateway.decision.request.thinking import NONE, Thinking, thinking_in
from demur.gateway.http.json_edit import Body
from demur.gateway.http.openai_bodies import ApiError, parse_body
from demur.gateway.http.request_record import request_record
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.settings import GatewaySettings
from demur.gateway.upstreams.token_counts import MOST_TOKENS, request_size
from demur.gateway.upstreams.token_estimates import RequestSize, TokenEstimate, TokenEstimates
from demur.prompts.pictures import ShownText, pictures_in
from demur.records import Role, encodable

EXPECTED_TOKENS = 1000  # of an answer whose length its request does not limit: reserved until it has been counted
MOST_ANSWERS = 128  # OpenAI's own limit of n


@request_record(frozen=True, slots=True)
class Question:
    """The parts of a request that the gateway needs."""

    body: Body
    model: str  # that the client named
    streamed: bool
    chat: bool  # messages, rather than a prompt
    one_answer: bool  # one, of an API that the gate can read
    single: bool  # one, of whatever API
    logprobs: bool  # the client asks for them
    seed: int | None
    tokens: int  # of the request, estimated: at the model where they are most
    most_tokens: int  # that its answers may have, or may be expected to have
    size: RequestSize
    estimates: Mapping[Role, TokenEstimate]  # by model
    kind: Kind = frozenset()  # what it needs of a model beside a short text
    text: str = ""  # that is routed; empty where the request names its model
    left_out: int = 0  # lines of it that other requests share
    system: SystemMessage | None = None  # its own; None where the request names its model
    turn: Turn | None = None  # of its conversation
    conversation: str = ""  # a name for it, the same in every process; empty without messages
    kept_share: float = 1.0  # of the strong share: less while a budget of its key tapers
    key: str = ""  # name of the client's key
    continues: str = ""  # the id of an earlier answer, which an upstream keeps
    thinking: Thinking = NONE  # in its history
    refused: ApiError | None = None  # why it cannot be routed
    spent: ApiError | None = None  # why only the weak model may answer it: the target's budget

    def estimate(self, role: Role) -> TokenEstimate:
        """The estimate of its tokens, and an answer's, at a model."""
        return self.estimates[role]

    @property
    def left_out_note(self) -> str:
        """What the reason of a decision by its score ends with; empty where all of its text was routed."""
        return f"; routed without {self.left_out} lines that other requests share" if self.left_out else ""


def read_question(
    raw: bytes,
    protocol: Protocol,
    routed: Callable[[str], bool],
    settings: GatewaySettings,
    *,
    key: str,
    identity: Identity,
    texts: RoutedText,
    estimates: TokenEstimates,
) -> Question:
    """A request's body, of that API. ``routed`` tells whether a model's name leaves the choice to demur.

    Raises ApiError. It needs no event loop: a large body is read in a thread.
    """
    body, given = parse_body(raw, protocol.members)
    fields = protocol.as_chat(given)
    size = request_size(fields)
    by_model = estimates.of(size)
    tokens = max(one.prompt for one in by_model.values())
    continues, single = given.get(protocol.continues), is_one_answer(fields)
    question = Question(
        body,
        model=encodable(fields["model"]),
        streamed=bool(fields.get("stream")),
        chat="messages" in fields,
        one_answer=protocol.checked and single,
        single=single,
        logprobs=not (fields.get("logprobs") is None or fields.get("logprobs") is False),
        seed=fields["seed"] if type(fields.get("seed")) is int else None,
        tokens=tokens,
        most_tokens=_most_tokens(fields),
        size=size,
        estimates=by_model,
        kind=kind_of(fields, tokens),
        conversation=conversation_name(fields, key=key, identity=identity),
        key=key,
        continues=continues if isinstance(continues, str) else "",
    )
    if not routed(question.model):
        return question
    try:
        protocol.check(given)
        found = texts.find(fields, named=identity.text, key=key, context_characters=settings.context_characters)
    except ApiError as error:  # raised when a model is chosen: the record of the request names its model
        return replace(question, refused=error)
    pictures = pictures_in(fields.get("messages"))
    text = ShownText.of(found.text, pictures) if pictures else found.text
    turn = turn_of(fields, key=key, identity=identity) if settings.sticky else None
    asked = replace(question, text=text, left_out=found.left_out, system=system_message_in(fields))
    return replace(asked, turn=turn, thinking=thinking_in(raw, given))


def _most_tokens(fields: Mapping[str, Any]) -> int:
    """Tokens of all answers to a request, as it limits them; else `EXPECTED_TOKENS` an answer."""
    given = (fields.get(name) for name in ("max_completion_tokens", "max_tokens"))
    most = next((value for value in given if type(value) is int and 0 < value <= MOST_TOKENS), EXPECTED_TOKENS)
    count = fields.get("n")
    return most * (count if type(count) is int and 0 < count <= MOST_ANSWERS else 1)


def is_one_answer(fields: Mapping[str, Any]) -> bool:
    """One answer: what asks for several is routed by its prompt alone."""
    one = fields.get("n") in (None, 1) and fields.get("best_of") in (None, 1)
    return one and isinstance(fields.get("prompt", ""), str)
