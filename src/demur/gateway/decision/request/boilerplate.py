"""Long blocks of lines that stand in text after text of a client are its template, not the person's words.

Learned online, per client key and process; lines are kept as hashes, and the oldest are forgotten. A few repeated lines
may be what the person wants ("Write an essay of 500 words about it"), and without them the text asks for something
else. So only a block is cut that is longer than what people write around each of their questions; and no line that the
router's own training prompts contain, since it has learned with that line.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

LARGEST = 50_000  # lines that are known
LEAST = 8  # characters of a line of a block; a shorter one that says something ends it, since it may be the ask
TEXTS = 2  # other texts that have the block
MOST_LINES = 400  # of a text that are looked at, from both of its ends
BLOCK_LINES, BLOCK_CHARACTERS = 5, 300  # that a block has at least
NONE: frozenset[int] = frozenset()  # texts


@dataclass(frozen=True, slots=True)
class Stripped:
    """A text without its template."""

    text: str
    left_out: int = 0  # lines


class Boilerplate:
    """Learns from texts, and strips from them what it knows; several threads may call it.

    ``own``: the lines of the router's training prompts, as `line_names` gives them.
    """

    def __init__(self, own: Set[int] = frozenset()) -> None:
        self.own = own
        self._texts_of: OrderedDict[int, tuple[int, ...]] = OrderedDict()  # line -> texts that it stood in
        self._lock = threading.Lock()

    def strip(self, text: str, scope: str) -> Stripped:
        """The text without blocks of lines that stood together in `TEXTS` other texts of the scope; whole if none
        would be left."""
        lines = text.splitlines()
        if len(lines) < 2:
            return Stripped(text)
        whole = hash((scope, text))
        half = MOST_LINES // 2
        with self._lock:
            others = [
                self._others(line.strip(), scope, whole) if place < half or place >= len(lines) - half else NONE
                for place, line in enumerate(lines)
            ]
            while len(self._texts_of) > LARGEST:
                self._texts_of.popitem(last=False)
        cut = _blocks(lines, others)
        left = [line for place, line in enumerate(lines) if place not in cut]
        while left and not _says(left[0]):
            left.pop(0)
        while left and not _says(left[-1]):
            left.pop()
        return Stripped("\n".join(left), len(cut)) if cut and left else Stripped(text)

    def _others(self, line: str, scope: str, whole: int) -> frozenset[int]:
        """The first other texts that a line stood in; this text is remembered for it."""
        if len(line) < LEAST or hash(line) in self.own:
            return NONE
        name = hash((scope, line))
        texts = self._texts_of.get(name, ())
        if whole not in texts and len(texts) <= TEXTS:
            texts = self._texts_of[name] = (*texts, whole)
        self._texts_of.move_to_end(name)
        return frozenset(texts) - {whole}


def line_names(texts: Iterable[str]) -> frozenset[int]:
    """The lines of texts, as hashes of this process."""
    return frozenset(hash(line.strip()) for text in texts for line in text.splitlines() if len(line.strip()) >= LEAST)


def _blocks(lines: Sequence[str], others: Sequence[frozenset[int]]) -> set[int]:
    """The places of the lines in long blocks that stood in `TEXTS` other texts each; lines that say nothing may stand
    between the lines of a block.

    ``others``: the other texts that each line stood in.
    """
    cut: set[int] = set()
    block: list[int] = []
    together = NONE  # the other texts that all of the block stood in
    for place, line in enumerate(lines):
        both = together & others[place]
        if block and len(both) >= TEXTS:
            block.append(place)
            together = both
        elif _says(line):
            cut |= _long(block, lines)
            block, together = ([place], others[place]) if len(others[place]) >= TEXTS else ([], NONE)
    return cut | _long(block, lines)


def _long(block: Sequence[int], lines: Sequence[str]) -> set[int]:
    """The places that a block spans, where it is long."""
    long = len(block) >= BLOCK_LINES and sum(len(lines[place].strip()) for place in block) >= BLOCK_CHARACTERS
    return set(range(block[0], block[-1] + 1)) if long else set()


def _says(line: str) -> bool:
    """Whether a line says anything: a fence, a rule or a blank line does not."""
    return any(letter.isalnum() for letter in line)
