"""How many of the weak model's answers to requests with tools no client could use, and what replacing them is worth."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from demur.gate.form.requested_form import form_problem
from demur.records import FloatArray, Prompt, Sample


def unusable_sentence(
    prompts: Sequence[Prompt], weak: Sequence[Sample], weak_quality: FloatArray, strong_quality: FloatArray
) -> str:
    """What checking the form of every weak answer recovers, as one sentence; "" where no request asks for a form.

    ``weak``: the answer that is graded of each prompt; qualities (n,) in [0, 1].
    """
    asked = np.array([prompt.request is not None for prompt in prompts], dtype=bool)
    if not asked.any():
        return ""
    problems = [
        form_problem(one.text, json.loads(prompt.request.body)) if prompt.request else ""
        for prompt, one in zip(prompts, weak, strict=True)
    ]
    unusable = np.array([bool(problem) for problem in problems], dtype=bool)
    if not unusable.any():
        return f"every weak answer to {asked.sum()} requests with tools or a response format has the form asked for"
    checked = float(np.where(unusable, strong_quality, weak_quality).mean())
    first = next(filter(None, problems))
    return (
        f"{unusable.sum()} of {asked.sum()} weak answers to requests with tools or a response format are of no use "
        f"(such as: {first}); the gateway sends them to the strong model ({unusable.mean():.0%} of all calls), which "
        f"lifts always weak from {weak_quality.mean():.3f} to {checked:.3f}; the routers here are measured without it"
    )
