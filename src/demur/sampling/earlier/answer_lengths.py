"""How long a model's next answers are expected to be, by those that it gave under other settings of the run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from demur.config import RunConfig
from demur.models.endpoint import Endpoint
from demur.models.requests.cut_answers import CUT, CUT_SHARE, CutAnswers
from demur.sampling.earlier.asked_models import asked_models
from demur.store import Store

OBSERVED = 20  # answers of a model from which their mean length is told


@dataclass(frozen=True, slots=True)
class AnswerLengths:
    """The mean length of answers to come, in tokens, between two bounds."""

    answers: int  # that it is told by
    least: float  # where those that were cut are as long as they were
    most: float  # where those are as long as they can be now
    cut_at: int = 0  # tokens that were asked for at most when answers were cut; 0: none was

    @classmethod
    def of(cls, counts: dict[tuple[int, str], int], asked: int, max_tokens: int) -> AnswerLengths | None:
        """By how many answers had which (tokens, finish_reason) where ``asked`` tokens were the most; None if few."""
        known = {length: count for length, count in counts.items() if length[0]}
        total, cut = sum(known.values()), any(reason == CUT for _, reason in known)
        if total < OBSERVED:
            return None
        least = sum(count * min(tokens, max_tokens) for (tokens, _), count in known.items())
        longer = sum(
            count * (max_tokens if reason == CUT else min(tokens, max_tokens))
            for (tokens, reason), count in known.items()
        )
        most = longer if max_tokens > asked else least
        return cls(total, least / total, most / total, asked if cut and max_tokens > asked else 0)


def own_limit(config: RunConfig, endpoint: Endpoint, store: Store) -> int:
    """At about how many tokens a model's endpoint was seen to cut answers though more were asked for; 0: it was not."""
    for asked in asked_models(config):
        if asked.name == endpoint.name and asked.max_tokens > config.sampling.max_tokens:
            counts = store.answer_lengths(asked.name, asked.settings)
            lengths = [tokens for (tokens, reason), count in counts.items() if reason == CUT for _ in range(count)]
            cut = CutAnswers(len(lengths) / max(sum(counts.values()), 1), round(median(lengths or [0])))
            if cut.share >= CUT_SHARE and cut.by_endpoint(asked.max_tokens):
                return cut.tokens
    return 0


def earlier_lengths(config: RunConfig, endpoint: Endpoint, store: Store) -> AnswerLengths | None:
    """By the last settings under which the run has enough answers of a model; None where it has none."""
    settings = config.sampling
    for asked in reversed(asked_models(config)):
        if asked.name == endpoint.name and asked.settings != settings.key:
            counts = store.answer_lengths(asked.name, asked.settings)
            if found := AnswerLengths.of(counts, asked.max_tokens, settings.max_tokens):
                return found
    return None
