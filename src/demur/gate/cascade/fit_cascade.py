"""A cascade as a gate: the weak model answers every prompt, and a scorer of its words decides whether to go on.

FrugalGPT (Chen et al. 2023) on a pair. Its scorer is learned here without grades: an answer is as right as the strong
model's samples agree with it. The score after an answer gets the mean and spread of the prompts' scores, so that one
threshold holds for requests that cannot wait for an answer, such as streams, as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.gate.cascade.answer_scorer import AnswerScorer, embed_answers
from demur.gate.gate import Gate, GateStep, gate_verdict
from demur.records import BoolArray, Encoder, FloatArray, Sample
from demur.statistics import first_rows, folds, held_out

BAND = 10.0  # wider than any two scores are apart: every answer is looked at


def read_answers(
    scorer: AnswerScorer, encoder: Encoder, prompts: Sequence[str], answers: Sequence[Sequence[str]]
) -> FloatArray:
    """(1, n, r, 1) P(wrong) of r answers to each of n prompts: the one signal of a cascade."""
    wrong = 1.0 - scorer.right(_rows(encoder, prompts, answers))
    return wrong.reshape(1, len(prompts), -1, 1)


def fit_cascade(
    encoder: Encoder,
    prompts: Sequence[str],
    drafts: Sequence[Sequence[Sample]],
    prompt_scores: FloatArray,
    right: FloatArray,
    gains: FloatArray,
) -> tuple[Gate, FloatArray]:
    """Learn a cascade from r drafts of each of n prompts; also their scores, (1, n, r), by fits that did not see them.

    ``right`` and ``gains``, (n, r): how right each is, and what the strong model gains over it, as its samples let one
    believe. Raises InputError where all answers are equally right.
    """
    X = _rows(encoder, prompts, [[one.text for one in each] for each in drafts])
    y = right.ravel()
    scorer = AnswerScorer.fit(X, y)

    def wrong_held_out(train: BoolArray, held: BoolArray) -> FloatArray:
        known = y[train]
        if not len(known):  # all rows are of one prompt
            return np.full(int(held.sum()), 1.0 - y.mean())
        if np.ptp(known) == 0:  # nothing to learn in this fold
            return np.full(int(held.sum()), 1.0 - known[0])
        return 1.0 - AnswerScorer.fit(X[train], known).right(X[held])

    groups = first_rows(prompts)
    wrong = held_out(folds(len(right), groups=groups, seed=1).repeat(right.shape[1]), wrong_held_out)
    spread = float(prompt_scores.std()) / (float(wrong.std()) or 1.0)
    step = GateStep(float(prompt_scores.mean() - spread * wrong.mean()), 0.0, (spread,))
    before = np.broadcast_to(prompt_scores[:, None], right.shape)
    after = step.score(before, wrong.reshape(*right.shape, 1))
    return Gate((step,), None, BAND, gate_verdict(after, before, gains, groups), scorer=scorer), after[None]


def _rows(encoder: Encoder, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> FloatArray:
    """(n * r, d); every distinct answer is embedded once."""
    pairs = [(prompt, answer) for prompt, each in zip(prompts, answers, strict=True) for answer in each]
    distinct = {pair: row for row, pair in enumerate(dict.fromkeys(pairs))}
    vectors = embed_answers(encoder, *zip(*distinct, strict=True))
    return np.asarray(vectors[[distinct[pair] for pair in pairs]])
