"""Conversations stay with their model (prompt cache, style) unless the policy escalates; the oldest are forgotten."""

from __future__ import annotations

from collections import OrderedDict

from demur.records import Role

LARGEST = 20_000


class Conversations:
    """Conversation -> the model that has it."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._role_of: OrderedDict[str, Role] = OrderedDict()
        self._largest = largest

    def has_strong(self, conversation: str) -> bool:
        """True when the strong model has it: it will not go back."""
        return self._role_of.get(conversation) == "strong"

    def settle(self, conversation: str, decided: Role, *, first: bool) -> tuple[Role, bool]:
        """The role that serves, and whether it is the conversation's rather than the decision's.

        A first turn begins anew; later ones can only escalate.
        """
        held = None if first else self._role_of.get(conversation)
        role: Role = "strong" if held == "strong" else decided
        self._role_of[conversation] = role
        self._role_of.move_to_end(conversation)
        if len(self._role_of) > self._largest:
            self._role_of.popitem(last=False)
        return role, role != decided
