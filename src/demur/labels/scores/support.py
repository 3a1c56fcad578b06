"""How far texts support each other sentence by sentence, in place of whole texts that mean the same.

Two answers of several sentences hardly ever mean the same as a whole. Support of a sentence is its largest entailment
by a sentence of another sample, averaged over an answer's sentences and over the other samples (SelfCheckGPT-NLI,
Manakul et al. 2023, here between samples and across models). It takes the place of the shares of equal pairs in the
believed gain (`belief`): support of the strong model's samples among themselves less that of the weak one's by them.
Texts that nothing supports are labelled as prompts where nothing is gained: of questions that is right, and leaving
them out costs most of what a router learns (docs/method.md); prompts without a right answer are for the default kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from demur.labels.beliefs.belief import Belief, PairShares, belief_weight, believed_gains
from demur.labels.beliefs.unknown import FOREIGN
from demur.models.requests.cut_answers import CUT
from demur.records import BoolArray, Entailment, FloatArray, Progress, Prompt, Sample, count_of, no_progress

LONG_WORDS = 40  # mean number of words of a prompt's answers above which they are compared by their sentences
NEAREST = 2  # sentences of another sample that a sentence is compared with: those that share most words with it
Side = Sequence[Sequence[Sample]]  # a model's samples of every prompt
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(*-])|\n+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Supported:
    """Which of n prompts have answers that are texts, and how far those support each other."""

    texts: BoolArray  # (n,)
    shares: PairShares  # of those that are texts, in order

    def support_belief(self, belief: Belief) -> Belief:
        """The same belief, with gains of support where answers are texts; their slope is their own."""
        if not self.texts.any():
            return belief
        gains = belief.gains.copy()
        gains[self.texts] = believed_gains(self.shares, belief_weight(self.slope))
        return replace(belief, gains=gains)

    @property
    def slope(self) -> float:
        """Of the weak texts' support by the strong ones on their support by each other; 0 where that does not vary."""
        spread = float(self.shares.weak.var())
        return float(np.cov(self.shares.weak, self.shares.across, bias=True)[0, 1] / spread) if spread > 0 else 0.0

    def reasons(self, others: Sequence[str]) -> list[str]:
        """Why prompts cannot be told: of texts, only that the entailment model does not read them; else ``others``."""
        return ["" if text and other != FOREIGN else other for text, other in zip(self.texts, others, strict=True)]

    @property
    def sentence(self) -> str:
        """How many prompts are labelled by support, in one sentence."""
        return (
            f"of over {LONG_WORDS} words, to {int(self.texts.sum()):,} of {count_of(len(self.texts), 'prompt')}, are "
            "compared sentence by sentence"
        )


def support_of(
    prompts: Sequence[Prompt], weak: Side, strong: Side, entailment: Entailment, *, progress: Progress = no_progress
) -> Supported:
    """Which prompts' answers are texts, and their support."""
    texts = are_texts(weak, strong)
    questions = [prompt.text for prompt in compress(prompts, texts)]
    sides = (list(compress(weak, texts)), list(compress(strong, texts)))
    return Supported(texts, support_shares(questions, *sides, entailment, progress=progress))


def are_texts(weak: Side, strong: Side) -> BoolArray:
    """(n,) of which prompts the answers are texts of more than LONG_WORDS words on average."""
    words = [np.mean([len(one.text.split()) for one in (*w, *s)]) for w, s in zip(weak, strong, strict=True)]
    return np.array(words) > LONG_WORDS


def sentences(answer: str, *, cut: bool) -> list[str]:
    """The sentences of an answer, without single words; the last one of a cut answer says nothing."""
    parts = [part.strip() for part in _END.split(answer.strip()) if part.strip()]
    whole = parts[:-1] if cut and len(parts) > 1 else parts
    return [part for part in whole if len(part.split()) > 1] or whole[:1]


def support_shares(
    questions: Sequence[str],
    weak: Side,
    strong: Side,
    entailment: Entailment,
    *,
    progress: Progress = no_progress,
) -> PairShares:
    """Mean support of each prompt's samples: of the strong ones by each other, of the weak ones by each other, and of
    the weak ones by the strong ones."""
    found = []
    for question, w, s in zip(questions, weak, strong, strict=True):
        found.append(_supports(question, [_parts(side) for side in (s, w)], entailment))
        progress("comparing sentences", len(found), len(questions))
    return PairShares(*np.array(found).reshape(-1, 3).T)


def _parts(samples: Sequence[Sample]) -> list[list[str]]:
    return [sentences(one.text, cut=one.finish_reason == CUT) for one in samples]


def _supports(question: str, sides: Sequence[Sequence[Sequence[str]]], entailment: Entailment) -> FloatArray:
    """(3,) of one prompt: strong by strong, weak by weak, weak by strong."""
    strong, weak = sides
    asked = [
        *((0, own, other) for i, own in enumerate(strong) for j, other in enumerate(strong) if i != j),
        *((1, own, other) for i, own in enumerate(weak) for j, other in enumerate(weak) if i != j),
        *((2, own, other) for own in weak for other in strong),
    ]
    pairs = [[_nearest_pairs(question, sentence, other) for sentence in own] for _, own, other in asked]
    flat = [pair for answer in pairs for nearest in answer for pair in nearest]
    scores = iter(np.asarray(entailment(flat))[:, 2].tolist() if flat else ())
    supports: list[list[float]] = [[], [], []]
    for (kind, *_), answer in zip(asked, pairs, strict=True):
        best = [max((next(scores) for _ in nearest), default=0.0) for nearest in answer]
        supports[kind].append(float(np.mean(best)) if best else 0.0)
    return np.array([np.mean(each) if each else 0.0 for each in supports])


def _nearest_pairs(question: str, sentence: str, other: Sequence[str]) -> list[tuple[str, str]]:
    words = _words(sentence)
    near = sorted(other, key=lambda one: -len(words & _words(one)))[:NEAREST]
    prefix = f"{question} " if question else ""
    return [(prefix + one, prefix + sentence) for one in near]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
