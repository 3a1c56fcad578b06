"""A model's report on its own answer: P(true) and verbalised confidence (Kadavath et al. 2022).

Each needs one more short call per prompt; replies are kept in the store. They are measured by `demur signals`, and are
not used as labels, because two models' scales do not compare.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from demur.config import ModelConfig
from demur.models.local import running_endpoint
from demur.models.requests.client import EndpointClient
from demur.models.requests.useful_replies import UselessRepliesError, Wanted
from demur.records import FloatArray, Progress, Prompt, Sample, SamplingSettings, no_progress
from demur.sampling.budget import Budget
from demur.sampling.sample import sample_prompts
from demur.store import Store

P_TRUE_PROMPT = (
    "Question: {question}\nBrainstormed answers:\n{samples}\nPossible answer: {answer}\n"
    "Is the possible answer:\n(A) True\n(B) False\nReply with A or B and nothing else. The possible answer is:"
)  # Kadavath et al. 2022, section 4; the last line for models that chat
VERBALISED_PROMPT = (
    "Question: {question}\nAnswer: {answer}\nHow likely is the answer to be right? "
    "Reply with one number from 0 to 100 and nothing else."
)
SETTINGS = {
    "p_true": SamplingSettings(n=1, temperature=0.0, max_tokens=2),
    "verbalised": SamplingSettings(n=1, temperature=0.0, max_tokens=8),
}


async def asked_about(
    prompts: Sequence[Prompt],
    samples: Mapping[str, Sequence[Sample]],
    model: ModelConfig,
    store: Store,
    *,
    budget: Budget | None = None,
    progress: Progress = no_progress,
) -> dict[str, FloatArray]:
    """Definition -> (n,) uncertainty about each prompt's first answer, in [0, 1]; nan where the reply says nothing.

    A model none of whose first replies says anything is asked no more, and has nan throughout.
    Raises EndpointError and BudgetError.
    """
    forms = {"p_true": P_TRUE_PROMPT, "verbalised": VERBALISED_PROMPT}
    read = {"p_true": p_true, "verbalised": verbalised_confidence}
    found = {}
    async with running_endpoint(model, parallel=1, progress=progress) as endpoint, EndpointClient(endpoint) as client:
        for name, form in forms.items():
            questions = [Prompt(one.id, _fill(form, one.text, samples[one.id])) for one in prompts]
            try:
                replies = await sample_prompts(
                    *(questions, client, endpoint, SETTINGS[name], store),
                    budget=budget,
                    progress=progress,
                    doing=f"asking {endpoint.model} for {name}",
                    wanted=Wanted(partial(_says_something, read[name]), "says how sure it is"),
                )
            except UselessRepliesError:
                replies = {one.id: [] for one in prompts}
            found[name] = np.array([read[name](*replies[one.id][:1]) if replies[one.id] else np.nan for one in prompts])
    return found


def _says_something(read: Callable[[Sample], float], _: Prompt, reply: Sample) -> bool:
    return not math.isnan(read(reply))


def _fill(form: str, question: str, samples: Sequence[Sample]) -> str:
    parts = {"question": question, "answer": samples[0].text, "samples": "\n".join(one.text for one in samples)}
    return re.sub(r"\{(\w+)\}", lambda hole: parts[hole.group(1)], form)


def p_true(reply: Sample) -> float:
    """1 - P(the answer is true), from the log-probs (nats) of a reply of A or B; nan for another reply or without."""
    found = re.match(r"\W*(a|b|true|false)\b", reply.text.strip().casefold())
    if not found or reply.logprobs is None:
        return float("nan")
    said = math.exp(sum(reply.logprobs))  # of "(A" both tokens; what is not said counts for the other letter
    return 1.0 - said if found.group(1) in ("a", "true") else said


def verbalised_confidence(reply: Sample) -> float:
    """1 - stated confidence (a percentage at the start of the reply); nan when there is none."""
    found = re.match(r"\D{0,20}(\d{1,3}(?:\.\d+)?)", reply.text.strip())
    return 1.0 - float(found.group(1)) / 100 if found and float(found.group(1)) <= 100 else float("nan")
