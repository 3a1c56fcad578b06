"""Which replies of a model are of use: of one whose first replies all are of none, no more are asked for.

Questions about answers, such as which of two is better, are worth what their replies can be read for. A model that
never keeps to the form would be paid for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demur.errors import InputError
from demur.models.endpoint import Endpoint
from demur.models.prices import usd_paid
from demur.records import Prompt, Sample, count_of, dollars

# Replies: a model of which every second one is of use, the least that labels take, fails so 1 time in 65,536.
TRIED = 16
SHOWN = 60  # characters of a reply


class UselessRepliesError(InputError):
    """None of the first replies to many questions is of use; the others were not asked."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What replies must be, to be of use."""

    is_useful: Callable[[Prompt, Sample], bool]
    form: str  # in words, such as "is a list of responses"
    helps: str = ""  # the end of the error, with its sign: what is kept, and what to do

    def refuse(self, replies: Sequence[tuple[Prompt, Sample]], endpoint: Endpoint, rest: str) -> None:
        """Raise UselessRepliesError where there are ``replies``, and none is of use; ``rest``: what others cost."""
        if not replies or any(self.is_useful(*each) for each in replies):
            return
        usd, first = usd_paid((one for _, one in replies), endpoint.price), replies[0][1].text
        said = repr(first if len(first) <= SHOWN else f"{first[:SHOWN]}...")
        cost = " at unknown cost" if usd is None else f" after {dollars(usd)}" if usd else ""
        count = count_of(len(replies), "reply", "replies")
        raise UselessRepliesError(
            f"none of {endpoint.model}'s first {count} {self.form}, the first is {said}; asking stopped{cost}{rest}"
            f"{self.helps}"
        )
