"""How the samples of a router's labels were asked, and how that differs from what a gateway sends. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AskedAs:
    """What stands around a prompt when a model is asked."""

    system: str = ""
    template: str = "{prompt}"  # {prompt} is replaced by the prompt


ALONE = AskedAs()


def labelled_as(record: Mapping[str, Any]) -> AskedAs:
    """How the samples were asked, by a router's record; plain completions cannot be repeated in a chat."""
    sampling = record.get("sampling", {})
    if not sampling.get("chat", True):
        return ALONE
    return AskedAs(sampling.get("system", ""), sampling.get("template", "{prompt}"))


def asked_otherwise(record: Mapping[str, Any], served: AskedAs) -> str:
    """How requests differ from the samples, and what to do, as part of a reason; empty where they do not."""
    if not record.get("sampling", {}).get("chat", True):
        return (
            "the labels were sampled as plain completions, this serves chats: the score may not hold; "
            "sample and label as chats"
        )
    asked = labelled_as(record)
    if asked == served:
        return ""
    named = {"system message": asked.system, "template": "" if asked.template == "{prompt}" else asked.template}
    about = " and ".join(f"{name} {' '.join(text.split())[:40]!r}" for name, text in named.items() if text)
    return f"the labels were sampled with the {about}: without it the score may not hold; serve with --as-labelled"
