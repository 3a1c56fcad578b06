"""The prompt's part of a cascade: what it says of requests that cannot wait for the weak model's answer.

A cascade (FrugalGPT, Chen et al. 2023) decides by the weak model's answer, which `demur.gate.cascade` scores. A stream,
or a request for several answers, is routed by its prompt, as by kernel ridge.
"""

from __future__ import annotations

from demur.methods.kernel import KernelRidge


class Cascade(KernelRidge):
    """Kernel ridge, whose router is trained with a scorer of answers."""
