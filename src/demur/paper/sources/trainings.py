"""What routers learn from: pairs of models with every source of supervision that is stored, and why others are not.

In domain the same pairs are what routers are measured on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import InputError
from demur.labels.beliefs.unknown import GUESSED, UnknownPrompt
from demur.labels.graded_targets import best_relaxation, preference_targets, sources_of
from demur.labels.scores.uncertainty import agreement, uncertainty
from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import exact_match
from demur.paper.outcome_files import Row, rows_of
from demur.paper.sources.own import GateInput, believed_pair, default_targets
from demur.paper.sources.peers import consensus_targets
from demur.prompts.grading import grade
from demur.records import FloatArray, Prompt, Sample

SAMPLES = "samples/nq_open_gpt35_llama2_7b_chat"
SAMPLED = ("llama-2-7b-chat", "gpt-3.5-turbo")  # weak, strong
LOCAL = ("smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct")
ALPACA = ("Mixtral-8x7B-Instruct-v0.1_concise", "gpt4_0613_concise")
CORRECT_ROUGE = 0.5
TIE_OF_SCORES = 0.05  # AlpacaEval scores closer than this are a tie
SCORED_ANSWERS = 1000  # that the cascade's scorer learns from: each is embedded with its answer, the slow part
DISCRETE = "discrete"
PRINTED = "entropy paper (Eq. 2, 3)"
PRINTED_NORMALISED = "entropy paper, length-normalised"
DEFAULT = "demur's default"  # calibrated where the samples have no texts, believed where they have
SMOOTHIE, CASCAL = "Smoothie", "CASCAL"  # label-free peers
ANSWER_WRONG = "weak answer wrong"  # FrugalGPT's label, 1 - its scorer's
SOURCES = (
    *(DEFAULT, "entropy hard", "entropy margin", PRINTED, PRINTED_NORMALISED, "agreement"),
    *(SMOOTHIE, CASCAL, "accuracy hard", "accuracy soft"),
    *("preference", "quality-gap det", "quality-gap prob", "quality-gap trans", "judge", ANSWER_WRONG),
)
PAIRS = ("nq-open", "human-gpt35", "human-chatgpt", "local")
_NO_JUDGE = "no judgements are stored, and asking for them takes one call per prompt: `demur label --from judge`"


@dataclass(frozen=True, eq=False)
class Training:
    """Questions with targets by source, (n,) each."""

    name: str
    questions: list[str]
    targets: Mapping[str, FloatArray]  # by a name of SOURCES
    lacking: Mapping[str, str]  # the other sources, and why
    quality: tuple[FloatArray, FloatArray]  # (n,) mean quality of weak and strong: what it is measured by in domain
    answers: list[str] | None = None  # one of the weak model's to each question; None where no texts are stored
    answer_quality: tuple[FloatArray, FloatArray] | None = None  # (n,) of that answer and of the strong model's one
    notes: tuple[str, ...] = ()
    unknown: tuple[UnknownPrompt, ...] = ()  # of the default labels: prompts whose samples cannot tell, ties in targets
    voters: tuple[list[str], list[str], list[str]] | None = None  # an answer of weak and two of strong, for Smoothie
    answered: GateInput | None = None  # what a gate reads; None where the samples have no texts
    entropies: Mapping[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)  # (n,) nats, of both models


def training(folder: Path, pair: str) -> Training:
    """A pair by its name in PAIRS. Raises InputError."""
    if pair == "nq-open":
        return sampled_pair(folder)
    if pair == "local":
        return local_pair(folder)
    return judged_pair(folder, pair.removeprefix("human-"))


def sampled_pair(folder: Path) -> Training:
    """NQ-Open with ten samples each of gpt-3.5-turbo and Llama-2-7b-chat."""
    rows = rows_of(folder, SAMPLES)
    rouge = _both(rows, SAMPLED, "rouge_l")
    weak, strong = ((side > CORRECT_ROUGE).astype(float) for side in rouge)
    entropies = sampled_entropies(rows)
    targets = sources_of(
        entropy=entropies[DISCRETE],
        printed={name: pair for name, pair in entropies.items() if name != DISCRETE},
        correct=(weak, strong),
        quality=rouge,
    )
    targets[ANSWER_WRONG] = 1.0 - weak.mean(axis=1)
    sizes = _both(rows, SAMPLED, "class_size")
    targets[DEFAULT] = default_targets(sizes, _both(rows, SAMPLED, "nll_sum"))
    guessed = np.concatenate(sizes, axis=1).max(axis=1) == 1
    unknown = tuple(
        UnknownPrompt(row.text("id"), row.text("question"), GUESSED)
        for row, one in zip(rows, guessed, strict=True)
        if one
    )
    untold = "the samples' texts are not stored"
    return Training(
        "NQ-Open, gpt-3.5 / Llama-2-7b",
        [row.text("question") for row in rows],
        targets,
        {
            "agreement": untold,
            SMOOTHIE: untold,
            CASCAL: untold,
            "preference": f"{untold}, the answers were not compared",
            "judge": untold,
        },
        (weak.mean(axis=1), strong.mean(axis=1)),
        notes=(
            f"NQ-Open, gpt-3.5 / Llama-2-7b: {_relax(*rouge)}, quality is ROUGE-L of ten samples. {len(unknown)} of "
            f"{len(rows):,} prompts are unknown to the default labels: all answers of either model differ (whether "
            "answers are equal across the models is not stored).",
        ),
        unknown=unknown,
        entropies=entropies,
    )


def sampled_entropies(rows: Sequence[Row]) -> dict[str, tuple[FloatArray, FloatArray]]:
    """(n,) of weak and strong by definition: the discrete form, and Eq. 2 as the authors' libraries compute it."""
    weak, strong = (
        np.maximum(0.0, -np.log(side / side.shape[1]).mean(axis=1)) for side in _both(rows, SAMPLED, "class_size")
    )
    found = {DISCRETE: (weak, strong)}
    for name, column in ((PRINTED, "eq2_raw"), (PRINTED_NORMALISED, "eq2_length_normalised")):
        low, high = _both(rows, SAMPLED, column)
        found[name] = low[:, 0], high[:, 0]
    return found


def _both(rows: Sequence[Row], models: tuple[str, str], field: str) -> tuple[FloatArray, FloatArray]:
    """(n, samples) of weak and strong."""
    weak, strong = ([row.numbers("models", model, field) for row in rows] for model in models)
    for row, low, high in zip(rows, weak, strong, strict=True):
        if not len(low) == len(high) == len(weak[0]):
            raise InputError(
                f"{row.where}: {len(low)} and {len(high)} values of {field}, the first row has {len(weak[0])}; "
                "both models need as many samples everywhere"
            )
    return np.array(weak), np.array(strong)


def _relax(weak: FloatArray, strong: FloatArray) -> str:
    t = best_relaxation(weak, strong)
    return f"Hybrid LLM's t* = {t:.3f}" if t > 0 else "Hybrid LLM's t* = 0, so its trans labels equal prob"


def judged_pair(folder: Path, weak: str) -> Training:
    """NQ-Open answers of GPT-4 against ``weak`` (gpt35 or chatgpt), with a human judgement of each."""
    rows = [row for row in rows_of(folder, "outcomes/nq_open_human_judged") if not row.values.get("improper")]
    low, high = (np.array([row.number("human_correct", model) for row in rows]) for model in (weak, "gpt4"))
    targets = sources_of(correct=(low[:, None], high[:, None]))
    targets |= {"preference": preference_targets(low, high), ANSWER_WRONG: 1.0 - low}
    single = "one answer of each model is stored, no samples"
    sampled = (DEFAULT, SMOOTHIE, CASCAL, "entropy hard", "entropy margin", PRINTED, PRINTED_NORMALISED, "agreement")
    lacking = dict.fromkeys(sampled, single)
    return Training(
        f"NQ-Open, human-judged GPT-4 / {weak}",
        [row.text("question") for row in rows],
        targets,
        {**lacking, "judge": _NO_JUDGE},
        (low, high),
        [row.text("answer", weak) if row.has("answer", weak) else "" for row in rows],
        (low, high),
        (
            f"NQ-Open, human-judged GPT-4 / {weak}: one answer each, so accuracy and preference are one label, and "
            f"quality-gap prob is det; {_relax(low, high)}.",
        ),
    )


def local_pair(folder: Path) -> Training:
    """Our own samples of SmolLM2-135M and Qwen-1.5B, clustered by rules and exact match."""
    rows = rows_of(folder, "samples/local_pair")
    prompts = [Prompt(r.text("id"), r.text("question"), tuple(r.texts("answers"))) for r in rows]
    samples = [[_samples(row, model) for row in rows] for model in LOCAL]
    texts = [[[str(one["text"]) for one in answers] for answers in side] for side in samples]
    ids = meaning_clusters(
        [prompt.text for prompt in prompts],
        [weak + strong for weak, strong in zip(*texts, strict=True)],
        entailment=exact_match,
    ).ids
    n = len(texts[0][0])
    parts = (slice(n), slice(n, None))
    logprobs = [[[list(one["token_logprobs"]) for one in answers] for answers in side] for side in samples]

    def entropies(definition: str) -> tuple[FloatArray, FloatArray]:
        weak, strong = (
            np.array([uncertainty(one[part], tokens, definition) for one, tokens in zip(ids, side, strict=True)])
            for part, side in zip(parts, logprobs, strict=True)
        )
        return weak, strong

    graded = [
        np.array([[grade(p, text) for text in answers] for p, answers in zip(prompts, side, strict=True)])
        for side in texts
    ]
    greedy = [[row.text("models", model, "greedy", "text") for row in rows] for model in LOCAL]
    low, high = (np.array([grade(p, t) for p, t in zip(prompts, side, strict=True)]) for side in greedy)
    targets = sources_of(
        entropy=entropies("discrete"),
        printed={PRINTED: entropies("paper"), PRINTED_NORMALISED: entropies("paper_length_normalised")},
        gains=np.array([agreement(one[:n], one[n:]) for one in ids]),
        correct=(graded[0], graded[1]),
    )
    targets[ANSWER_WRONG] = 1.0 - low
    sides = [[_as_samples(answers) for answers in side] for side in samples]
    found, answered = believed_pair(prompts, sides[0], sides[1], graded[0])
    known = {row.id: row.target for row in found.preferences}
    targets[DEFAULT] = np.array([known.get(prompt.id, 0.5) for prompt in prompts])
    targets[CASCAL] = consensus_targets([np.concatenate([one[n:], one[:n]]) for one in ids])
    return Training(
        "local, Qwen-1.5B / SmolLM2",
        [prompt.text for prompt in prompts],
        targets,
        {"preference": "the answers were not compared", "judge": _NO_JUDGE},
        (graded[0].mean(axis=1), graded[1].mean(axis=1)),
        greedy[0],
        (low, high),
        (
            f"local, Qwen-1.5B / SmolLM2: {_relax(*graded)}, quality is graded 0 or 1. {len(found.unknown)} of "
            f"{len(prompts)} prompts are unknown to the default labels, and ties in its row.",
        ),
        found.unknown,
        ([one[0] for one in texts[0]], [one[0] for one in texts[1]], [one[1] for one in texts[1]]),
        answered,
    )


def _as_samples(answers: Sequence[Mapping[str, Any]]) -> list[Sample]:
    return [
        Sample(i, str(one["text"]), tuple(one["token_logprobs"]), "stop", 0, len(one["token_logprobs"]))
        for i, one in enumerate(answers)
    ]


def _samples(row: Row, model: str) -> list[Mapping[str, Any]]:
    found = row.at("models", model, "samples")
    if not isinstance(found, list) or not found:
        raise InputError(f"{row.where}: samples of {model} must be a list, at least one")
    if not all(isinstance(one, dict) and {"text", "token_logprobs"} <= one.keys() for one in found):
        raise InputError(f"{row.where}: a sample of {model} lacks its text or its token_logprobs")
    return found


def human_judged_answers(folder: Path) -> tuple[list[str], list[str], FloatArray]:
    """Questions, GPT-3.5's answers and whether a human found them right: what a cascade's scorer learns from."""
    judged = judged_pair(folder, "gpt35")
    if judged.answers is None:
        raise InputError("GPT-3.5's answers are not stored")
    few = slice(SCORED_ANSWERS)
    return judged.questions[few], judged.answers[few], 1.0 - judged.targets[ANSWER_WRONG][few]


def preferences(folder: Path) -> tuple[list[str], FloatArray]:
    """RouteLLM's supervision, as near as is stored: AlpacaEval's scores (GPT-4 / Mixtral) and human judgements."""
    rows = rows_of(folder, "preferences/alpacaeval_gpt4_mixtral")
    low, high = (np.array([row.number("scores", model) for row in rows]) for model in ALPACA)
    human = judged_pair(folder, "gpt35")
    y = np.concatenate([preference_targets(low, high, tie_below=TIE_OF_SCORES), human.targets["preference"]])
    return [*(row.text("question") for row in rows), *human.questions], y
