"""The sent part of an answer, kept as far as its tokens must be counted."""

from __future__ import annotations

import re

from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.answers.answering_model import READ_BYTES, answering_model
from demur.gateway.upstreams.token_counts import StreamCount, answer_characters, whole_tokens
from demur.gateway.upstreams.token_estimates import TokenEstimate
from demur.models.prices import Tokens

LONGEST_READ = 2**16  # bytes of an answer that is parsed in the event loop
END_BYTES = 1024  # of a stream, where it says that it is complete
_JSON_END = re.compile(rb"(?:\}|\[DONE\])\s*\Z")


class PassedAnswer:
    """An answer on its way to the client: whole at once, or piece by piece, each of which is counted as it passes."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.sent_bytes = 0
        self._end_seen = False  # of a stream whose last event may be long
        self._whole: bytes | None = None
        self._head, self._tail = bytearray(), bytearray()
        self._count: StreamCount | None = None
        self._tokens: Tokens | None = None

    def set_whole(self, data: bytes) -> None:
        """The answer, all of it."""
        self.sent_bytes, self._whole = len(data), data

    def add(self, piece: bytes) -> None:
        """Another piece of a stream has been sent on."""
        self.sent_bytes += len(piece)
        if len(self._head) < READ_BYTES:
            self._head += piece[:READ_BYTES]
        self._tail += piece
        if self._protocol.long_end and not self._end_seen:
            self._end_seen = self._protocol.stream_end.search(self._tail) is not None
        del self._tail[:-END_BYTES]
        self._token_count().add(piece)

    def _token_count(self) -> StreamCount:
        self._count = self._count or StreamCount(self._protocol)
        return self._count

    @property
    def whole(self) -> bytes | None:
        """The answer; None where it came in pieces, which are not kept."""
        return self._whole

    @property
    def answering_model(self) -> str:
        """The model, with its version, that the upstream says it answered with; empty where it does not say."""
        return answering_model(bytes(self._head) if self._whole is None else self._whole)

    @property
    def ended(self) -> bool:
        """Whether what was sent on in pieces is a stream that says it is complete."""
        if self._protocol.long_end:
            return self._end_seen and _JSON_END.search(self._tail) is not None
        return self._protocol.stream_end.search(self._tail) is not None

    @property
    def characters(self) -> int:
        """Of the answer's text; 0 of a whole one beyond `LONGEST_READ`, which is not parsed for it."""
        if self._whole is None:
            return self._token_count().characters
        return answer_characters(self._whole, self._protocol) if len(self._whole) <= LONGEST_READ else 0

    def tokens(self, asked: TokenEstimate) -> Tokens:
        """Tokens of the answer; ``asked``: the request's estimate, for what the upstream does not say."""
        if self._whole is None:  # they change as it comes
            return self._token_count().tokens(asked)
        if self._tokens is None:
            self._tokens = whole_tokens(self._whole, asked, self._protocol)
        return self._tokens
