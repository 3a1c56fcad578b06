"""What has been sent on of an answer, as far as its tokens must be counted."""

from __future__ import annotations

from demur.gateway.upstreams.token_counts import TAIL_BYTES, answer_tokens, stream_tokens, usage_of, usage_of_whole

# Prompt and completion tokens, and whether the upstream counted them; else they are estimated.
Tokens = tuple[int, int, bool]


class PassedAnswer:
    """An answer on its way to the client: whole at once, or piece by piece, of which the end is kept."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self._tail: bytes | bytearray = bytearray()
        self._tokens: Tokens | None = None

    def set_whole(self, data: bytes) -> None:
        """The answer, all of it."""
        self.sent_bytes, self._tail = len(data), data

    def add(self, piece: bytes) -> None:
        """Another piece of a stream has been sent on."""
        assert isinstance(self._tail, bytearray), "a whole answer has no pieces"
        self.sent_bytes += len(piece)
        self._tail += piece
        del self._tail[:-TAIL_BYTES]

    @property
    def tail(self) -> bytes | bytearray:
        """The end of what was sent on."""
        return self._tail

    def tokens(self, request_tokens: int) -> Tokens:
        """Tokens of the answer; ``request_tokens``: of the request, estimated, where the upstream does not say."""
        if self._tokens is None or isinstance(self._tail, bytearray):  # a stream's change as it comes
            self._tokens = self._count(request_tokens)
        return self._tokens

    def _count(self, request_tokens: int) -> Tokens:
        data, whole = bytes(self._tail), isinstance(self._tail, bytes)
        found = usage_of_whole(data) if whole else usage_of(data)
        if found:
            return (*found, True)
        return request_tokens, answer_tokens(data) if whole else stream_tokens(data, self.sent_bytes), False
