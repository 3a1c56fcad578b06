"""The system message of a request: whether the labels were made with it, and whether they hold for its language.

A router's labels compare two models that were asked in one way (`demur.routing.asked_as`). Only a digest and languages
are kept of a client's own message: its words are in no log, and in no reason. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from demur.gateway.http.openai_bodies import content_text
from demur.gateway.http.request_record import request_record
from demur.meaning.asked_language import asked_language
from demur.meaning.rules.known_languages import KnownLanguages
from demur.meaning.rules.languages import language_of_notes
from demur.records import encodable
from demur.routing.asked_as import SYSTEM_ROLES, AskedAs, labelled_as

OTHER_SYSTEM = "with a system message that the labels were not made with"
WITHOUT_SYSTEM = "without the system message that the labels were made with"
MAY_NOT_HOLD = "their scores may not hold"
COUNTED = "each such reason says so, and demur_other_system_total counts them"
OTHER_SYSTEM_ADVICE = {  # said once of each
    OTHER_SYSTEM: (
        f"requests come {OTHER_SYSTEM}: {MAY_NOT_HOLD}; sample and label with what your clients send "
        f"(demur sample --system); {COUNTED}"
    ),
    WITHOUT_SYSTEM: (
        f"requests come {WITHOUT_SYSTEM}: {MAY_NOT_HOLD}; serve with --as-labelled, which adds it, or sample and label "
        f"without it (demur sample --system ''); {COUNTED}"
    ),
}
KEPT = 64  # messages of clients whose digest and languages are remembered
LONGEST_KEPT = 100_000  # characters of one that is remembered


@request_record(frozen=True, slots=True)
class SystemMessage:
    """What is known of one."""

    digest: bytes  # of its words
    language: str  # that it is in: a code such as "de"; "" where that cannot be told
    asked: str  # that it asks for answers in; "" for none


def system_message_in(fields: Mapping[str, Any]) -> SystemMessage | None:
    """That of a request in the form of a chat completion's, from all its messages of the system; None without one."""
    items = fields.get("messages")
    said = [one for one in items if isinstance(one, dict)] if isinstance(items, list) else []
    texts = [content_text(one.get("content")) for one in said if one.get("role") in SYSTEM_ROLES]
    text = "\n".join(filter(None, texts))
    if not text.strip():
        return None
    return _known(text) if len(text) <= LONGEST_KEPT else system_message(text)


def system_message(text: str) -> SystemMessage:
    """What is known of a text; runs of white space count as one space."""
    words = encodable(" ".join(text.split())).encode()
    return SystemMessage(blake2b(words, digest_size=16).digest(), language_of_notes(text), asked_language(text))


_known = lru_cache(KEPT)(system_message)


def other_system(found: SystemMessage | None, record: Mapping[str, Any], served: AskedAs | None) -> str:
    """How it differs from the one that the labels of a router were made with, by the router's record; "" where it does
    not, or the record does not say.

    ``served``: what the gateway puts around requests without one; None: nothing, and it learns from what clients send.
    Requests that were recorded with their tools were sampled with their own.
    """
    if "sampling" not in record or record.get("calls"):
        return ""
    labelled = labelled_as(record).system
    if found is None:
        return WITHOUT_SYSTEM if labelled and served is not None and served.system != labelled else ""
    return "" if found.digest == _known(labelled).digest else OTHER_SYSTEM


def is_spoken(found: SystemMessage | None, record: Mapping[str, Any]) -> bool:
    """Whether a router knows the languages that it is in and asks for: those of its training prompts, and of the
    system message that its labels were made with."""
    known = KnownLanguages.from_record(record)
    if found is None or known is None:
        return True
    labelled = _known(labelled_as(record).system)
    language = "" if found.language == labelled.language else found.language
    return known.knows(language, "" if found.asked in (labelled.language, labelled.asked) else found.asked)
