"""Lines that stand in text after text of a client are its template, not the person's words; learned online.

Kept per client key and process, as hashes, the oldest are forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

LARGEST = 50_000  # lines that are known
LEAST = 8  # characters of a line that counts; shorter ones are kept unless they stand between boilerplate
TEXTS = 2  # other texts that have the line
MOST_LINES = 400  # of a text that are looked at, from both of its ends


class Boilerplate:
    """Learns from texts, and strips from them what it knows; several threads may call it."""

    def __init__(self) -> None:
        self._texts_of: OrderedDict[int, tuple[int, ...]] = OrderedDict()  # line -> texts that it stood in
        self._lock = threading.Lock()

    def strip(self, text: str, scope: str) -> str:
        """The text without the lines that stood in `TEXTS` other texts of the scope; whole if none would be left."""
        lines = text.splitlines()
        if len(lines) < 2:
            return text
        whole = hash((scope, text))
        looked_at = lines if len(lines) <= MOST_LINES else lines[: MOST_LINES // 2] + lines[-MOST_LINES // 2 :]
        with self._lock:
            known = {line for line in looked_at if len(line.strip()) >= LEAST and self._learn(scope, line, whole)}
            while len(self._texts_of) > LARGEST:
                self._texts_of.popitem(last=False)
        left = [line for line in lines if line not in known]
        while left and not _counts(left[0]):
            left.pop(0)
        while left and not _counts(left[-1]):
            left.pop()
        return "\n".join(left) if known and left else text

    def _learn(self, scope: str, line: str, whole: int) -> bool:
        """Whether a line is known from other texts; this text is remembered for it."""
        name = hash((scope, line.strip()))
        texts = self._texts_of.get(name, ())
        if whole not in texts and len(texts) <= TEXTS:
            texts = self._texts_of[name] = (*texts, whole)
        self._texts_of.move_to_end(name)
        return sum(text != whole for text in texts) >= TEXTS


def _counts(line: str) -> bool:
    """Whether a line says anything: a fence, a rule or a blank line at the end of what is left does not."""
    return any(letter.isalnum() for letter in line)
