"""A judge that rates one answer from 1 to 10 (MT-Bench's single-answer grading, Zheng et al. 2023, appendix A).

The prompts are FastChat's (Apache-2.0): with a reference answer the mathematical one; of a second turn the judge sees
the whole conversation and rates its last answer. Replies without ``[[rating]]`` are counted and have no rating.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from demur.errors import InputError
from demur.event_loop import run_to_end
from demur.models.local import endpoint_of, parse_model
from demur.models.requests.useful_replies import Wanted
from demur.records import Progress, Prompt, Sample, SamplingSettings, no_progress
from demur.sampling.budget import Budget
from demur.sampling.local_servers import Turns, completer_of
from demur.sampling.sample import sample_prompts, stored_samples
from demur.store import Store

LEAST, MOST = 1.0, 10.0
SETTINGS = SamplingSettings(n=1, temperature=0.0, max_tokens=512)
FORM, BETTER = "holds a rating such as [[5]]", "a larger model judges better"
MORE = "and one that thinks first needs a larger judge_tokens in [test]"
_RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_IMPARTIAL = (
    "Please act as an impartial judge and evaluate the quality of the response provided by an AI assistant to the user "
    "question displayed below. "
)
_FACTORS = (
    "Your evaluation should consider factors such as the helpfulness, relevance, accuracy, depth, creativity, and "
    "level of detail of the response. "
)
_CORRECT = "Your evaluation should consider correctness and helpfulness. "
_GIVEN = "You will be given a reference answer and the assistant's answer. "
_SECOND = "Your evaluation should focus on the assistant's answer to the second user question. "
_EXPLAIN = "Begin your evaluation by providing a short explanation. "
_COMPARE = (
    "Begin your evaluation by comparing the assistant's answer with the reference answer. Identify and correct any "
    "mistakes. "
)
_FORMAT = (
    "Be as objective as possible. After providing your explanation, you must rate the response on a scale of 1 to "
    '10 by strictly following this format: "[[rating]]", for example: "Rating: [[5]]".'
)


@dataclass(frozen=True, slots=True)
class Rated:
    """A conversation whose last answer is to be rated; turns alternate; there are no references, or one per turn."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    references: tuple[str, ...] = ()


def rating_prompt(item: Rated) -> str:
    """The judge's whole prompt, instruction first."""
    referred = len(item.references) >= len(item.questions)
    second = _SECOND if len(item.questions) > 1 else ""
    asked = _CORRECT + _GIVEN + second + _COMPARE if referred else _FACTORS + second + _EXPLAIN
    head = f"[Instruction]\n{_IMPARTIAL}{asked}{_FORMAT}\n\n"
    if len(item.questions) == 1:
        reference = _between("Reference Answer", item.references[0]) if referred else ""
        answer = _between("Assistant's Answer", item.answers[0])
        return f"{head}[Question]\n{item.questions[0]}\n\n{reference}{answer}"
    reference = _talk("Reference Answer", item.questions, item.references) if referred else ""
    shown = _talk("Assistant A's Conversation with User", item.questions, item.answers, "Assistant A")
    return f"{head}{reference}{shown}"


def _between(what: str, text: str) -> str:
    return f"[The Start of {what}]\n{text}\n[The End of {what}]\n\n"


def _talk(what: str, questions: Sequence[str], answers: Sequence[str], who: str = "Reference answer") -> str:
    turns = [f"### User:\n{q}\n\n### {who}:\n{a}\n\n" for q, a in zip(questions, answers, strict=False)]
    return f"<|The Start of {what}|>\n\n{''.join(turns)}<|The End of {what}|>\n\n"


def rating_of(reply: str) -> float | None:
    """The last rating that a reply gives, from 1 to 10; None for another reply."""
    found = [float(one) for one in _RATING.findall(reply)]
    return found[-1] if found and LEAST <= found[-1] <= MOST else None


def ask_ratings(
    items: Sequence[Rated],
    judge: str,
    store: Store,
    *,
    budget: Budget | None = None,
    settings: SamplingSettings = SETTINGS,
    progress: Progress = no_progress,
) -> list[float | None]:
    """A rating of every item by a model that is named as `demur sample` takes it; replies are kept in the store.

    Raises EndpointError, BudgetError, and InputError where no reply holds a rating.
    """
    prompts = [Prompt(str(i), rating_prompt(item)) for i, item in enumerate(items)]
    wanted = Wanted(lambda _, one: rating_of(one.text) is not None, FORM, f"; {BETTER}, {MORE}")
    there = stored_samples(prompts, endpoint_of(parse_model(judge)), settings, store)

    async def ask() -> dict[str, list[Sample]]:
        async with completer_of(parse_model(judge), settings, Turns(), progress) as completer:
            return await sample_prompts(
                *(prompts, completer, completer.endpoint, settings, store),
                budget=budget,
                progress=progress,
                doing=f"rating by {completer.endpoint.model}",
                wanted=wanted,
            )

    found = there if all(there.values()) else run_to_end(ask())  # a local judge is started only to be asked
    replies = [found[prompt.id][0].text if found[prompt.id] else "" for prompt in prompts]
    ratings = [rating_of(reply) for reply in replies]
    if replies and not any(rating is not None for rating in ratings):
        raise InputError(
            f"none of {len(replies)} replies of the judge {judge} {FORM}, the first is {replies[0][-60:]!r}; {BETTER}"
        )
    return ratings
