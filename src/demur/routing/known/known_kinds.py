"""Of which kinds of prompts a router knows little: most of their samples did not show which model is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demur.labels.prompt_kinds import PromptKinds


def untold_kinds(record: Mapping[str, Any], training: int, unknown: int) -> tuple[str, ...]:
    """(training,) the kind of each training prompt where little is known of that kind, else "".

    ``record``: the router's, with the kinds of its ``training`` prompts and then of its ``unknown`` ones; of other
    prompts than these nothing is known.
    """
    kinds = PromptKinds.from_record(record)
    if kinds is None or len(kinds.of) != training + unknown:
        return ("",) * training
    names = [one.name if one.mostly_untold else "" for one in kinds.kinds]
    return tuple(names[number] for number in kinds.of[:training])
