"""Estimates of the tokens that an upstream does not count, learned from the answers that it does count. No I/O.

For each model and side (requests, answers) a line is fitted: tokens = base + slope x characters, by least squares with
weights 1 / characters, since the spread of a count grows with its text. Such a line estimates the sum of all that it
was fitted to without error (its second normal equation), which is what a bill needs. A message counts as
`MESSAGE_CHARACTERS` more characters: the chat template writes its role around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from demur.models.prices import CHARACTERS_PER_TOKEN, Tokens
from demur.records import Role

MESSAGE_CHARACTERS = 16  # of a message's role and marks: 4 tokens by default, as OpenAI's cookbook counts them
PRIOR_CHARACTERS = (40, 1000)  # two made-up texts, counted by the default: one that is short, one that is long
REMEMBERED = 1000  # counted answers; whenever so many are held, all of them count half: templates and models change
ALL_FIRST, LATER_EACH = 64, 16  # answers whose text is read to be learned from: the first ones, later one in so many


class Line(NamedTuple):
    """Tokens by characters."""

    base: float  # tokens of any text
    per_character: float  # tokens of each character

    def tokens(self, characters: int) -> int:
        """Tokens of a text to the nearest whole number: 0 of none, at least 1 of any."""
        return max(1, int(self.base + self.per_character * characters + 0.5)) if characters else 0


BY_LENGTH = Line(0.0, 1 / CHARACTERS_PER_TOKEN)  # of an answer, before any was counted
OF_REQUEST = Line(3.0, 1 / CHARACTERS_PER_TOKEN)  # of a request: the start of the answer is marked by 3 tokens


class RequestSize(NamedTuple):
    """What is known of a request's length without its model's tokenizer."""

    characters: int  # of all texts
    messages: int  # 0: a prompt or an input, around which no chat template is put
    media_tokens: int = 0  # assumed of images, recordings and files


class TokenEstimate(NamedTuple):
    """One request at one model: its tokens, and how those of an answer follow from its text."""

    prompt: int
    answers: Line = BY_LENGTH


class FittedLine:
    """A line that is fitted to pairs of characters and tokens as they come; it begins with the default's two."""

    def __init__(self, default: Line) -> None:
        self.line, self.seen = default, 0
        x, y = sum(PRIOR_CHARACTERS), sum(default.base + default.per_character * x for x in PRIOR_CHARACTERS)
        inverse = sum(1 / x for x in PRIOR_CHARACTERS)
        ratio = default.base * inverse + default.per_character * len(PRIOR_CHARACTERS)
        self._prior = len(PRIOR_CHARACTERS), x, y, inverse, ratio
        self._sums = 0.0, 0.0, 0.0, 0.0, 0.0  # of 1, characters, tokens, 1 / characters, tokens / characters

    def add(self, characters: int, tokens: int) -> None:
        """A text, 1 character or longer, whose tokens the upstream has counted."""
        self.seen += 1
        n, x, y, inverse, ratio = self._sums
        if n >= REMEMBERED:
            n, x, y, inverse, ratio = n / 2, x / 2, y / 2, inverse / 2, ratio / 2
        self._sums = n, x, y, inverse, ratio = (
            *(n + 1, x + characters, y + tokens),
            *(inverse + 1 / characters, ratio + tokens / characters),
        )
        n0, x0, y0, inverse0, ratio0 = self._prior
        n, x, y = n + n0, x + x0, y + y0
        base = (ratio + ratio0 - n * y / x) / (inverse + inverse0 - n * n / x)
        base = min(max(0.0, base), y / n)  # neither part is negative, so that no text has 0 tokens
        self.line = Line(base, (y - n * base) / x)


class TokenEstimates:
    """The lines of each model, in this process."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self._lines = {role: (FittedLine(OF_REQUEST), FittedLine(BY_LENGTH)) for role in roles}
        self._counted = 0  # answers of all models

    def of(self, size: RequestSize) -> Mapping[Role, TokenEstimate]:
        """The estimate of a request at each model."""
        characters, messages, media = size
        marked = characters + MESSAGE_CHARACTERS * messages
        found = {}
        for role, (requests, answers) in self._lines.items():
            line = requests.line if messages else Line(0.0, requests.line.per_character)
            found[role] = TokenEstimate(line.tokens(marked) + media, answers.line)
        return found

    def learn(self, role: Role, size: RequestSize, tokens: Tokens, characters: Callable[[], int]) -> None:
        """An answer whose upstream has counted both sides; ``characters`` reads those of its text, where wanted."""
        requests, answers = self._lines[role]
        self._counted += 1
        if size.messages and not size.media_tokens and tokens.prompt:
            requests.add(size.characters + MESSAGE_CHARACTERS * size.messages, tokens.prompt)
        wanted = answers.seen < ALL_FIRST or self._counted % LATER_EACH == 0
        if tokens.completion and wanted and (said := characters()):
            answers.add(said, tokens.completion)
