"""Shortens two long texts that are to be compared, in characters and in tokens: pure functions.

Shared parts are removed first (the question, common sentences), then the middle of the parts that differ, since the
conclusion comes last. A small model compares short texts best.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher
from itertools import takewhile

import numpy as np

from demur.records import BoolArray

LONGEST_SIDE = 4000  # characters of a side that are tokenised: 100 kB answers cost no more than these
BESIDE = 200  # characters of what both share that are kept beside what differs
CONTEXT = 4  # the same in tokens


def shorten(first: str, second: str) -> tuple[str, str, bool]:
    """Both texts of about LONGEST_SIDE at most, and whether anything went that they do not share.

    Texts that differ stay different.
    """
    if max(len(first), len(second)) <= LONGEST_SIDE:
        return first, second, False
    before, after = shared_ends(first, second)
    start, stops = max(0, before - BESIDE), [len(text) - max(0, after - BESIDE) for text in (first, second)]
    parts = [text[start:stop] for text, stop in zip((first, second), stops, strict=True)]
    half = LONGEST_SIDE // 2
    ends = [part if len(part) <= LONGEST_SIDE else f"{part[:half]} {part[-half:]}" for part in parts]
    return ends[0], ends[1], ends != parts


def kept_tokens(
    first: Sequence[Hashable], second: Sequence[Hashable], *, short: int, room: int
) -> tuple[BoolArray, BoolArray, bool]:
    """Which tokens of both sides are kept, and whether anything went that they do not share.

    All, if they are ``short`` tokens together. Else, of every run that both share, CONTEXT tokens at each end; of the
    first run (the question) as many as are left of ``short``. Never more than ``room``.
    """
    keep = [np.ones(len(side), dtype=bool) for side in (first, second)]
    if len(first) + len(second) <= short:
        return keep[0], keep[1], False
    for i, j, n in SequenceMatcher(None, first, second).get_matching_blocks():
        for side, start in zip(keep, (i, j), strict=True):
            side[start + CONTEXT : max(start + CONTEXT, start + n - CONTEXT)] = False
    spare = max(0, short - sum(int(side.sum()) for side in keep)) // 2
    question, _ = shared_ends(first, second)
    for side in keep:
        side[max(0, question - CONTEXT - spare) : question] = True
    kept = balance(int(keep[0].sum()), int(keep[1].sum()), room)
    lost = sum(kept) < sum(int(side.sum()) for side in keep)
    for side, most in zip(keep, kept, strict=True):
        places = np.flatnonzero(side)
        side[places[most - most // 2 : len(places) - most // 2]] = False
    return keep[0], keep[1], lost


def shared_ends(first: Sequence[object], second: Sequence[object]) -> tuple[int, int]:
    """How many items both begin with, and how many of the others both end with."""
    before = _common(first, second)
    return before, _common(first[before:][::-1], second[before:][::-1])


def _common(first: Sequence[object], second: Sequence[object]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def balance(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths that fit into ``room`` together: a side under half keeps its length."""
    if first + second <= room:
        return first, second
    half = room // 2
    if first <= half:
        return first, room - first
    return (room - second, second) if second <= half else (room - half, half)
