"""How uncertain a model is about its first answer, from that answer's tokens and their meaning: MARS and LARS.

Both need token log-probs. MARS (Bakman et al. 2024) weighs the log-probs by how much meaning each token carries; LARS
(Yaldiz et al. 2024) learns from graded answers what the log-probs tell. What departs from the papers: docs/method.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.errors import InputError
from demur.meaning.clusters import BATCH_SIZE, ENTAILMENT, checked_probabilities
from demur.meaning.distinct_answers import Pair
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.logistic import LogisticRegression
from demur.prompts.grading import grade
from demur.records import Encoder, Entailment, FloatArray, Prompt, Sample
from demur.statistics import first_rows

MOST_PHRASES = 16  # into which an answer is divided, so that it takes at most 32 pairs of the entailment model
UNLIKELY = np.log([0.1, 0.5])  # LARS counts the tokens below these probabilities
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
FIRST_TOKENS = 3


def first_answer_doubt(
    definition: str,
    prompts: Sequence[Prompt],
    samples: Sequence[Sequence[Sample]],
    entailment: Entailment,
    encoder: Encoder | None = None,
) -> FloatArray:
    """(n,) ``mars`` or ``lars`` of each prompt's first answer; larger when the model is less certain.

    ``samples`` of one model, with log-probs. Raises InputError for lars where a prompt has no gold answers.
    """
    if definition == "mars":
        return mars([prompt.text for prompt in prompts], [answers[0] for answers in samples], entailment)
    lacking = [prompt.id for prompt in prompts if not prompt.answers]
    if lacking:
        raise InputError(
            f"lars learns from graded answers, and {len(lacking)} of {len(prompts)} prompts have no gold answers, such "
            f"as {lacking[0]}; give them, or use mars"
        )
    return _graded_lars(prompts, samples, encoder)


def mars(questions: Sequence[str], answers: Sequence[Sample], entailment: Entailment) -> FloatArray:
    """(n,) minus the token log-probs of each answer, nats, averaged by `token_weights`.

    An answer without tokens gets the others' mean, so that it weighs like one of them.
    """
    divided = [phrases(answer.text) for answer in answers]
    carried = meaning_carried(questions, divided, entailment)
    doubts = np.array([_weighted_nll(*each) for each in zip(answers, divided, carried, strict=True)])
    silent = np.isnan(doubts)
    return doubts if silent.all() else np.where(silent, np.mean(doubts[~silent]), doubts)


def _weighted_nll(answer: Sample, divided: Sequence[str], carried: FloatArray) -> float:
    if not answer.logprobs:
        return float("nan")
    return -float(token_weights(divided, carried, len(answer.logprobs)) @ np.array(answer.logprobs))


def phrases(text: str) -> list[str]:
    """The words of an answer; of a longer one as many runs of words, MOST_PHRASES at most."""
    words = text.split()
    if len(words) <= MOST_PHRASES:
        return words
    return [" ".join(run) for run in np.array_split(np.array(words, dtype=object), MOST_PHRASES)]


def meaning_carried(
    questions: Sequence[str], divided: Sequence[Sequence[str]], entailment: Entailment
) -> list[FloatArray]:
    """Per answer (phrases,), in [0, 1]: how surely its meaning changes where the phrase is left out.

    1 less the smaller of the probabilities that the answer entails the rest and that the rest entails the answer. An
    answer of one phrase is its meaning (1); nothing is asked about it.
    """
    pairs: list[Pair] = []
    for question, parts in zip(questions, divided, strict=True):
        prefix, whole = f"{question} " if question else "", " ".join(parts)
        for left_out in range(len(parts) if len(parts) > 1 else 0):
            rest = " ".join([*parts[:left_out], *parts[left_out + 1 :]])
            pairs += [(prefix + whole, prefix + rest), (prefix + rest, prefix + whole)]
    holds = iter(_entailment_probabilities(pairs, entailment).reshape(-1, 2).min(axis=1))
    return [
        np.array([1.0 - float(next(holds)) for _ in parts]) if len(parts) > 1 else np.ones(len(parts))
        for parts in divided
    ]


def _entailment_probabilities(pairs: Sequence[Pair], entailment: Entailment) -> FloatArray:
    """(pairs,) probability of entailment, BATCH_SIZE pairs per call."""
    batches = [pairs[start : start + BATCH_SIZE] for start in range(0, len(pairs), BATCH_SIZE)]
    found = [checked_probabilities(entailment(batch), len(batch))[:, ENTAILMENT] for batch in batches]
    return np.concatenate([np.zeros(0), *found])


def token_weights(divided: Sequence[str], carried: FloatArray, tokens: int) -> FloatArray:
    """(tokens,) weights that sum to 1: half of them equal, half by the meaning that the token's phrase carries.

    The texts of tokens are not stored, so tokens are taken to be equally long: each belongs to the phrase in which its
    middle falls. Phrases that carry equally much give equal weights: the mean log-prob.
    """
    equal = np.full(tokens, 1.0 / tokens)
    if not len(divided):
        return equal
    ends = np.cumsum([len(part) for part in divided])
    place = np.searchsorted(ends, (np.arange(tokens) + 0.5) / tokens * ends[-1], side="right")
    share = carried[place]
    return (equal + share / share.sum()) / 2 if share.sum() > 0 else equal


def lars(features: FloatArray, right: FloatArray, prompt_of: Sequence[int]) -> FloatArray:
    """(m,) estimated probability that an answer is wrong, by a logistic regression on the answers to other prompts.

    ``features`` (m, d) of answers, ``right`` (m,) their quality in [0, 1], ``prompt_of`` (m,): answers to one prompt
    are in one of five folds, and scored by what the other four teach.
    """
    return held_out_scores(LogisticRegression(), features, 1.0 - right, groups=prompt_of)


def token_features(logprobs: Sequence[float]) -> FloatArray:
    """(d,) of one answer's token log-probs, nats: mean, spread, count, quantiles, first, share of unlikely.

    All are 0 without tokens; an answer shorter than FIRST_TOKENS repeats its last one.
    """
    if not len(logprobs):
        return np.zeros(3 + len(QUANTILES) + FIRST_TOKENS + len(UNLIKELY))
    given = np.array(logprobs, dtype=float)
    first = given[np.minimum(np.arange(FIRST_TOKENS), len(given) - 1)]
    unlikely = (given[:, None] < UNLIKELY).mean(axis=0)
    shape = [given.mean(), given.std(), np.log(len(given))]
    return np.concatenate([shape, np.quantile(given, QUANTILES), first, unlikely])


def answer_features(questions: Sequence[str], answers: Sequence[Sample], encoder: Encoder | None = None) -> FloatArray:
    """(m, d) what LARS sees of answers: `token_features`, and with an encoder the embedding of question and answer.

    Both parts are scaled to weigh alike; no grade enters that.
    """
    tokens = np.array([token_features(answer.logprobs or ()) for answer in answers])
    spread = tokens.std(axis=0)
    parts = [(tokens - tokens.mean(axis=0)) / np.where(spread > 0, spread, 1.0) / np.sqrt(tokens.shape[1])]
    if encoder is not None:
        texts = [f"{question} {answer.text}" for question, answer in zip(questions, answers, strict=True)]
        vectors = np.asarray(encoder.encode(texts), dtype=float)
        centred = vectors - vectors.mean(axis=0)
        parts.append(centred / max(float(np.sqrt((centred**2).sum(axis=1).mean())), 1e-12))
    return np.concatenate(parts, axis=1)


def _graded_lars(prompts: Sequence[Prompt], samples: Sequence[Sequence[Sample]], encoder: Encoder | None) -> FloatArray:
    """(n,) of the first answers, learned from all answers to the other prompts."""
    rows = [(i, prompts[i], one) for i, answers in enumerate(samples) for one in answers]
    place, same = [i for i, _, _ in rows], first_rows([prompt.text for prompt in prompts])
    features = answer_features([prompt.text for _, prompt, _ in rows], [one for _, _, one in rows], encoder)
    right = np.array([grade(prompt, one.text) for _, prompt, one in rows])
    return lars(features, right, same[place].tolist())[np.unique(place, return_index=True)[1]]
