"""What every generator of written pairs draws, and the small changes to text that they share."""

from __future__ import annotations

Drawn = tuple[
    str, str, str, str
]  # question ("" for none), a, b, relation: "same", "different" or "forward" (a -> b only)


def relation_of(same: bool) -> str:
    """The relation's name."""
    return "same" if same else "different"


def capitalised(text: str) -> str:
    """The text as a sentence begins."""
    return text[:1].upper() + text[1:]


def lowered(text: str) -> str:
    """A subject as it stands inside a sentence: names keep their capital."""
    return text[:1].lower() + text[1:] if text.startswith(("The ", "A ", "Our ", "My ")) else text
