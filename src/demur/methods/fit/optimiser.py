"""Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019), in place on numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.records import FloatArray

BETA_MEAN, BETA_SQUARE, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Steps a list of arrays against their gradients; vectors of rank 1 (biases) do not decay."""

    def __init__(self, arrays: Sequence[FloatArray], learning_rate: float, decay: float = 0.0) -> None:
        self._arrays, self._rate, self._decay = arrays, learning_rate, decay
        self._means = [np.zeros_like(a) for a in arrays]
        self._squares = [np.zeros_like(a) for a in arrays]
        self._count = 0

    def step(self, gradients: Sequence[FloatArray]) -> None:
        """One step, in place."""
        self._count += 1
        for array, gradient, mean, square in zip(self._arrays, gradients, self._means, self._squares, strict=True):
            mean += (1 - BETA_MEAN) * (gradient - mean)
            square += (1 - BETA_SQUARE) * (gradient**2 - square)
            unbiased = np.sqrt(square / (1 - BETA_SQUARE**self._count)) + EPSILON
            if array.ndim > 1:
                array -= self._decay * array
            array -= self._rate * mean / (1 - BETA_MEAN**self._count) / unbiased
