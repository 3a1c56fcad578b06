"""How the samples of a router's labels were asked, and how that differs from what a gateway sends. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demur.prompts.conversations import SYSTEM_ROLES as SYSTEM_ROLES

SHOWN = 40  # characters of a template in a reason
DRAWN_EVERYWHERE, DRAWN_HERE = ("temperature", "top_p"), ("top_k", "min_p")  # here: by models that demur starts


@dataclass(frozen=True, slots=True)
class AskedAs:
    """What stands around a prompt when a model is asked."""

    system: str = ""
    template: str = "{prompt}"  # {prompt} is replaced by the prompt
    stop: tuple[str, ...] = ()
    draw: tuple[tuple[str, float], ...] = ()  # names and values of how tokens are drawn
    plain: bool = False  # plain completions of the template: only models that demur starts can be asked so in a chat

    @property
    def chat_template(self) -> str:
        """The Jinja template by which llama.cpp's server asks a chat's last message so; empty where it need not."""
        before, _, after = self.template.partition("{prompt}")
        parts = (json.dumps(before), "messages[-1]['content']", json.dumps(after))
        return "".join(f"{{{{ {part} }}}}" for part in parts) if self.plain else ""


ALONE = AskedAs()


def labelled_as(record: Mapping[str, Any]) -> AskedAs:
    """How the samples were asked, by a router's record."""
    sampling = record.get("sampling", {})
    plain, stop = not sampling.get("chat", True), tuple(sampling.get("stop", ()))
    system = "" if plain else sampling.get("system", "")
    names = (*DRAWN_EVERYWHERE, *DRAWN_HERE) if plain else DRAWN_EVERYWHERE
    draw = tuple((name, sampling[name]) for name in names if name in sampling)
    return AskedAs(system, sampling.get("template", "{prompt}"), stop, draw, plain)


def asked_otherwise(record: Mapping[str, Any], served: AskedAs) -> str:
    """How all requests differ from the samples, and what to do, as part of a reason; empty where they do not.

    A system message is each request's own: `demur.gateway.decision.request.system_message` compares it.
    """
    asked = labelled_as(record)
    if (asked.template, asked.plain) == (served.template, served.plain):
        return ""
    if asked.plain:
        return (
            "the labels were sampled as plain completions, this serves chats: the score may not hold; serve with "
            "--as-labelled, which takes models that demur starts itself, or sample and label as chats"
        )
    words = " ".join(asked.template.split())
    shown = repr(words if len(words) <= SHOWN else f"{words[: SHOWN - 3]}...")
    said = f"the labels were sampled with the template {shown}: without it the score may not hold"
    return f"{said}; serve with --as-labelled"
