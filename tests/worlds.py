"""Planted worlds: small data whose right answer is known, for tests of whatever must find it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.config import LabelConfig
from demur.labels.from_samples import Labels, label_prompts
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.records import FloatArray, Prompt, Sample
from demur.sampling.pair import PairSamples


def planted(n: int = 400, d: int = 16, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unit rows X (n, d), and targets y that depend on one direction: (X, y in {0, 1}, P(y = 1))."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, d)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    p = 1 / (1 + np.exp(-12 * X[:, 0]))
    return X, (random.random(n) < p).astype(float), p


def labelled(answers: Sequence[tuple[list[str], list[str]]]) -> Labels:
    """Labels of prompts by these weak and strong answers, equal texts being equal meanings."""
    prompts = [Prompt(str(i), f"question {i}") for i in range(len(answers))]
    sides = [
        {
            prompt.id: [Sample(j, text, None, "stop", 1, 1) for j, text in enumerate(row[side])]
            for prompt, row in zip(prompts, answers, strict=True)
        }
        for side in (0, 1)
    ]
    config = LabelConfig(entailment="exact")
    return label_prompts(prompts, PairSamples(*sides), Meanings(exact_match), config, weak="w", strong="s")
