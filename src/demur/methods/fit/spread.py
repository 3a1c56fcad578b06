"""A fit whose sums over the training prompts are spread over workers, by the seam of `demur.mapping`."""

from __future__ import annotations

from demur.mapping import Map
from demur.records import FloatArray, Method


def fit_on(mapping: Map, method: Method, X: FloatArray, y: FloatArray) -> Method:
    """`fit`, and what it sums over rows on ``mapping``: the same sums in the same order, so the same to the last bit.

    A method without such sums is fitted here.
    """
    if mapping is map or not hasattr(method, "mapping"):
        return method.fit(X, y)
    method.mapping = mapping
    try:
        return method.fit(X, y)
    finally:
        del method.mapping  # a cluster is no part of what was learned
