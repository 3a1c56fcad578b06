"""The entailment function that every path of the clustering benchmark is given: no dependency, any Python."""

from __future__ import annotations


def entails(premise: str, hypothesis: str) -> tuple[float, float, float]:
    """Contradiction, neutral, entailment: a premise entails what its words hold. Asymmetric, not transitive."""
    return (0.1, 0.1, 0.8) if set(hypothesis.lower().split()) <= set(premise.lower().split()) else (0.8, 0.1, 0.1)
