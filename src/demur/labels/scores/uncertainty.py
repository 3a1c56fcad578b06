"""How uncertain a model is about a prompt, from its samples: every definition, as pure functions over arrays.

It takes clusters and log-probs and returns a number with the name of its definition; larger means less certain.
It does not know how clusters are made.
Degree and EigV are taken over the hard clusters (block-wise similarity 1 or 0): no more entailment calls than semantic
entropy needs. Sources: Kuhn et al. 2023; Farquhar et al. 2024; Lin et al. 2024; Zhang et al. 2025 (Eqs. 1-2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from demur.errors import InputError
from demur.meaning.clusters import as_texts, meaning_clusters
from demur.records import Entailment, FloatArray, IntArray, Sample

ROUNDED_UP = 1e-3  # a log-prob above 0 by no more was rounded
LogProbs = Sequence[Sequence[float]]  # per answer, per token, nats


@dataclass(frozen=True, slots=True)
class SemanticEntropy:
    """Semantic entropy of one prompt's answers."""

    entropy: float  # nats
    clusters: IntArray  # meaning cluster of every answer
    definition: str  # the one that was used: discrete where log-probs are missing
    pairs_scored: int  # pairs sent to the entailment model


def semantic_entropy(
    answers: Iterable[str],
    *,
    question: str = "",
    entailment: Entailment,
    logprobs: LogProbs | None = None,
    definition: str = "rao_blackwell",
    rules: bool = True,
) -> SemanticEntropy:
    """Cluster one prompt's answers by meaning and measure the entropy over the clusters.

    ``logprobs``: per answer its token log-probs (nats); without them the discrete form is used, and named. Raises
    InputError for no answers, an unknown definition, or log-probs that do not fit.
    """
    answers = as_texts(answers, "answers")
    logprobs = None if logprobs is None else list(logprobs)
    if not answers:
        raise InputError("semantic entropy of no answers; give at least one")
    found = meaning_clusters([question], [answers], entailment=entailment, rules=rules)
    used = usable_definition(definition, logprobs)
    return SemanticEntropy(uncertainty(found.ids[0], logprobs, used), found.ids[0], used, found.pairs_scored)


def usable_definition(definition: str, logprobs: LogProbs | None) -> str:
    """The definition itself, or ``discrete`` when it needs log-probs that are not there."""
    if definition in SELF_REPORTED:
        raise InputError(
            f"{definition} is a model's report on one answer (`demur signals --ask`), not a measure of samples; "
            f"known: {', '.join(DEFINITIONS)}"
        )
    if definition not in DEFINITIONS and definition not in OF_FIRST_ANSWER:
        raise InputError(
            f"no uncertainty is called {definition!r}; known: {', '.join((*DEFINITIONS, *OF_FIRST_ANSWER))}"
        )
    needs = definition in NEEDS_LOGPROBS or definition in OF_FIRST_ANSWER
    return "discrete" if needs and logprobs is None else definition


def uncertainty(clusters: Sequence[int] | IntArray, logprobs: LogProbs | None, definition: str) -> float:
    """One prompt's uncertainty by a definition (see DEFINITIONS). Raises InputError for inputs that do not match."""
    ids = _ids(clusters, "clusters")
    if definition in OF_FIRST_ANSWER:
        raise InputError(
            f"{definition} is of one answer's tokens and meaning (`demur label --definition {definition}`), it is no "
            f"measure of clusters; known: {', '.join(DEFINITIONS)}"
        )
    if definition not in DEFINITIONS:
        raise InputError(f"no uncertainty is called {definition!r}; known: {', '.join(DEFINITIONS)}")
    if definition not in NEEDS_LOGPROBS:
        return DEFINITIONS[definition](ids, np.zeros((2, len(ids))))
    if logprobs is None:
        raise InputError(f"{definition} needs token log-probs, which are missing; use discrete")
    if len(logprobs) != len(ids):
        raise InputError(f"{len(logprobs)} lists of log-probs for {len(ids)} answers; give one per answer")
    return DEFINITIONS[definition](ids, sequence_logprobs(logprobs))


def mean_nll(logprobs: Sequence[float] | None) -> float:
    """-mean token log-prob of one answer, nats; NaN without any."""
    return -float(np.mean(logprobs)) if logprobs else float("nan")


def sequence_logprobs(logprobs: LogProbs) -> FloatArray:
    """(2, n): whole-sequence and mean token log-prob of each answer, nats.

    An answer without tokens has neither: it gets the others' mean, so that it weighs like one of them. Raises
    InputError for log-probs that are not finite numbers.
    """
    known = [_finite(tokens, answer) for answer, tokens in enumerate(logprobs)]
    totals = np.array([tokens.sum() if len(tokens) else np.nan for tokens in known])
    means = np.array([tokens.mean() if len(tokens) else np.nan for tokens in known])
    both = np.stack([totals, means])
    if np.isnan(both).all():
        return np.zeros_like(both)
    return np.where(np.isnan(both), np.nanmean(both, axis=1, keepdims=True), both)


def _finite(tokens: Sequence[float], answer: int) -> FloatArray:
    try:
        array = np.asarray(tokens, dtype=float)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim != 1:
        raise InputError(
            f"log-probs of answer {answer} are {tokens!r}; give each answer a list with one number per token"
        )
    if not np.isfinite(array).all():
        raise InputError(f"answer {answer} has a log-prob that is not finite; leave log-probs out, or use discrete")
    if array.max(initial=0.0) > ROUNDED_UP:
        raise InputError(
            f"answer {answer} has a log-prob of {array.max():g}; log-probs are at most 0: take the logarithm of "
            "probabilities, or leave them out"
        )
    return array


def _ids(clusters: Sequence[int] | IntArray, name: str) -> IntArray:
    ids = np.asarray(clusters)
    if ids.ndim != 1:
        raise InputError(f"{name} of shape {ids.shape}; give one cluster id per answer")
    return ids


def cluster_logprobs(ids: IntArray, logprobs: FloatArray) -> FloatArray:
    """(K,) log of each cluster's summed probability, by logsumexp (Eq. 1)."""
    return np.array([np.logaddexp.reduce(logprobs[ids == cluster]) for cluster in np.unique(ids)])


def shannon(probabilities: FloatArray) -> float:
    """-sum p log p in nats; exactly 0 for one outcome."""
    p = probabilities[probabilities > 0]
    return max(0.0, float(-(p * np.log(p)).sum()))


def cluster_shares(ids: IntArray) -> FloatArray:
    """(K,) share of the answers in each cluster."""
    return np.unique(ids, return_counts=True)[1] / len(ids)


def _discrete(ids: IntArray, _: FloatArray) -> float:
    return shannon(cluster_shares(ids))


def _rao_blackwell(ids: IntArray, logprobs: FloatArray) -> float:
    clusters = cluster_logprobs(ids, logprobs[1])
    return shannon(np.exp(clusters - np.logaddexp.reduce(clusters)))


def _paper(ids: IntArray, logprobs: FloatArray) -> float:
    """Eq. 2 as printed: unnormalised, so it can be negative, and is -log n for n sure identical answers."""
    return float(-cluster_logprobs(ids, logprobs[0]).mean())


def _paper_length_normalised(ids: IntArray, logprobs: FloatArray) -> float:
    """Eq. 2 with mean token log-probs, as in public code; negative on 89 and 100 % of NQ-Open's prompts."""
    return float(-cluster_logprobs(ids, logprobs[1]).mean())


def _meanings(ids: IntArray, _: FloatArray) -> float:
    return float(len(np.unique(ids)))


def _degree(ids: IntArray, _: FloatArray) -> float:
    """1 - mean share of answers that mean the same (Lin et al. 2024, over hard clusters)."""
    return 1.0 - float((cluster_shares(ids) ** 2).sum())


def _predictive_entropy(_: IntArray, logprobs: FloatArray) -> float:
    """Length-normalised predictive entropy (Malinin and Gales 2021): minus the mean of mean token log-probs."""
    return float(-logprobs[1].mean())


def _perplexity(_: IntArray, logprobs: FloatArray) -> float:
    """Log-perplexity: minus the mean token log-prob of the first answer, nats (the log orders alike)."""
    return float(-logprobs[1][0])


DEFINITIONS: dict[str, Callable[[IntArray, FloatArray], float]] = {
    "rao_blackwell": _rao_blackwell,
    "discrete": _discrete,
    "paper": _paper,
    "paper_length_normalised": _paper_length_normalised,
    "meanings": _meanings,
    "eigv": _meanings,  # sum of max(0, 1 - eigenvalue) of the Laplacian: the number of blocks, for hard clusters
    "degree": _degree,
    "predictive_entropy": _predictive_entropy,
    "perplexity": _perplexity,
}
OF_FIRST_ANSWER = ("mars", "lars")  # with log-probs, and more: see `demur.labels.scores.token_scores`
NEEDS_LOGPROBS = frozenset({"rao_blackwell", "paper", "paper_length_normalised", "predictive_entropy", "perplexity"})
SELF_REPORTED = ("p_true", "verbalised")  # not measured here: see `demur.labels.scores.self_report`
AS_PRINTED = frozenset({"paper", "paper_length_normalised"})  # may be negative


def agreement(
    weak_ids: Sequence[int] | IntArray, strong_ids: Sequence[int] | IntArray, *, corrected: bool = False
) -> float:
    """Expected quality gained by escalating, under the strong model's own belief: G = sum_c p_s(c) (p_s(c) - p_w(c)).

    Cluster ids of both models' answers in one shared labelling; G is in (-1/4, 1]. The plug-in is biased up by
    (1 - sum p_s^2) / n; ``corrected`` takes that off. Raises InputError for no answers.
    """
    weak, strong = _ids(weak_ids, "weak_ids"), _ids(strong_ids, "strong_ids")
    if not len(weak) or not len(strong):
        raise InputError(f"agreement of {len(weak)} weak and {len(strong)} strong answers; give at least one of each")
    labels = np.union1d(weak, strong)
    p_weak = (weak[:, None] == labels).mean(axis=0)
    p_strong = (strong[:, None] == labels).mean(axis=0)
    gain = float((p_strong * (p_strong - p_weak)).sum())
    if not corrected or len(strong) < 2:
        return gain
    return gain - (1.0 - float((p_strong**2).sum())) / (len(strong) - 1)


def belief(weak_ids: IntArray, strong_ids: IntArray) -> tuple[float, float]:
    """How right the strong model believes the weak model's and its own answers to be: sum_c p_s p_w and sum_c p_s^2.

    Cluster ids in one shared labelling. No strong answer is compared with itself, so neither is biased, and their
    difference is `agreement`'s G, corrected.
    """
    return float(np.mean(np.asarray(weak_ids)[:, None] == np.asarray(strong_ids))), consistency(strong_ids)


def consistency(ids: Sequence[int] | IntArray) -> float:
    """Share of the pairs of a model's answers that mean the same: sum_c p(c)^2 without bias; 1 for a single answer."""
    counts = np.unique(np.asarray(ids), return_counts=True)[1]
    n = int(counts.sum())
    return float((counts * (counts - 1)).sum() / (n * (n - 1))) if n > 1 else 1.0


def coverage(texts: Sequence[str], logprobs: LogProbs) -> float:
    """-log of the whole-sequence probability that the distinct sampled answers hold together, nats; NaN without tokens.

    A model that knows an answer gives it most of its probability; one that guesses leaves most of it unsampled, even
    where its few samples happen to agree.
    """
    distinct = {text: float(np.sum(tokens)) for text, tokens in zip(texts, logprobs, strict=True) if len(tokens)}
    return -float(np.logaddexp.reduce(list(distinct.values()))) if distinct else float("nan")


def has_tokens(samples: Iterable[Sequence[Sample]]) -> bool:
    """True where every answer that says something has token log-probs."""
    return all(one.logprobs is not None or not one.text.strip() for answers in samples for one in answers)
