"""Three pairs of real models as arrays: what their samples teach without labels, and how right they are.

Label kinds and what a gate reads are made by the functions of `demur label` and `demur train`; only NQ-Open, whose
samples have no texts, hands them class sizes and log-probs. True labels stand beside, to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demur.config import LabelConfig
from demur.gate.drafts import Drafts, gate_rows, read_drafts
from demur.gate.gate import GateRows
from demur.labels.from_samples import label_prompts
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.sureness import calibrated_targets
from demur.labels.targets import hard_targets, margin_targets
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.prompts.grading import grade, numeric
from demur.records import FloatArray, Preference, Prompt, Sample
from demur.sampling.pair import PairSamples
from environment import shared_rows
from nq_open import STRONG, WEAK, both, correctness, label_kinds
from staged_nq import nq_clusters, nq_sureness

EXTRA = 3
PAPER, DEFAULT, BEST_TRUE = "paper: hard SE labels", "default", "true labels, soft"
KINDS = {
    PAPER: "hard",
    "soft margin of SE": "margin",
    "calibrated": "calibrated",
    "combined": "combined",
    DEFAULT: "believed",
}


@dataclass(frozen=True)
class Pair:
    """One pair's prompts: what both models' samples say, and how right they are."""

    name: str
    questions: list[str]
    correct: FloatArray  # (n, samples) of the weak model
    strong: FloatArray  # (n,) quality of the strong model
    targets: Mapping[str, FloatArray]  # a label kind each, (n,)
    drafts: Drafts
    rows: GateRows  # of all prompts, with empty prompt scores
    tokens: tuple[FloatArray, FloatArray] | None = None  # mean answer tokens (n,) of weak and strong

    @property
    def weak(self) -> FloatArray:
        return np.asarray(self.correct.mean(axis=1))

    @property
    def draft_quality(self) -> FloatArray:
        return np.take_along_axis(self.correct, self.drafts.orders[:, :, 0], axis=1)

    def only(self, kept: np.ndarray) -> Pair:
        drafts = replace(self.drafts, orders=self.drafts.orders[kept], signals=self.drafts.signals[:, kept])
        return replace(
            self,
            questions=[q for q, keep in zip(self.questions, kept, strict=True) if keep],
            correct=self.correct[kept],
            strong=self.strong[kept],
            targets={kind: y[kept] for kind, y in self.targets.items()},
            drafts=drafts,
            rows=rows_of(self.rows, kept),
            tokens=None,
        )


def rows_of(rows: GateRows, chosen: np.ndarray) -> GateRows:
    heads = None if rows.heads is None else rows.heads[chosen]
    return GateRows(rows.prompt_scores[chosen], rows.signals[:, chosen], rows.gains[chosen], heads)


def true_targets(weak: FloatArray, strong: FloatArray) -> dict[str, FloatArray]:
    return {"true labels, hard": hard_targets(1 - weak, 1 - strong, tau=0.0), BEST_TRUE: margin_targets(-weak, -strong)}


def nq_open() -> Iterator[Pair]:
    """gpt-3.5-turbo and Llama-2-7b-chat; no texts, so no agreement, and memberships only as far as sizes tell them.

    The default is calibrated sureness then. A draft's gain is calibrated, too, from the samples that nothing was read
    from: no strong answer can be compared with it.
    """
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    kinds = label_kinds(rows)
    models = {name: [row["models"][name] for row in rows] for name in (WEAK, STRONG)}
    sums = {name: np.array([row["nll_sum"] for row in found]) for name, found in models.items()}
    means = np.array([row["nll_mean"] for row in models[WEAK]])
    clusters, identified = nq_clusters([row["class_size"] for row in models[WEAK]])
    drafts = read_drafts(clusters, [[sample(i, "text", (-x,)) for i, x in enumerate(row)] for row in means], EXTRA)
    rest = drafts.orders[:, :, EXTRA + 1 :]
    r = rest.shape[1]
    unread = nq_sureness(
        [ids[order] for ids, orders in zip(clusters, rest, strict=True) for order in orders],
        np.take_along_axis(sums[WEAK][:, None], rest, axis=2).reshape(len(rows) * r, -1),
    )
    strong_clusters, _ = nq_clusters([row["class_size"] for row in models[STRONG]])
    strong = nq_sureness(strong_clusters, sums[STRONG])
    repeated = replace(
        strong,
        entropy=np.repeat(strong.entropy, r),
        consistency=np.repeat(strong.consistency, r),
        coverage=np.repeat(strong.coverage, r) if strong.coverage is not None else None,
    )
    gains = calibrated_targets(unread, repeated).reshape(len(rows), r)
    weak_quality, strong_quality = both(rows, correctness)
    lengths = [sums[WEAK] / means, sums[STRONG] / np.array([row["nll_mean"] for row in models[STRONG]])]
    pair = Pair(
        "NQ-Open, gpt-3.5-turbo / Llama-2-7b-chat",
        [row["question"] for row in rows],
        (np.array([row["rouge_l"] for row in models[WEAK]]) > 0.5).astype(float),
        strong_quality,
        {
            PAPER: kinds["discrete SE, hard (tau .1)"],
            "soft margin of SE": kinds["discrete SE, soft margin"],
            DEFAULT: kinds["calibrated (default)"],
            **true_targets(weak_quality, strong_quality),
        },
        drafts,
        GateRows(np.zeros(len(rows)), drafts.signals, gains),
        (np.nan_to_num(lengths[0], nan=1.0).mean(axis=1), np.nan_to_num(lengths[1], nan=1.0).mean(axis=1)),
    )
    yield pair
    yield replace(pair.only(identified), name=f"{pair.name}, memberships known ({identified.mean():.0%})")


def _of_every(prompts: Sequence[Prompt], rows: Sequence[Preference]) -> FloatArray:
    """(n,) targets; a prompt whose samples cannot tell is a tie, so that every kind is measured on the same prompts."""
    known = {row.id: row.target for row in rows}
    return np.array([known.get(prompt.id, 0.5) for prompt in prompts])


def from_texts(
    name: str, prompts: Sequence[Prompt], weak: list[list[Sample]], strong: list[list[Sample]], numbers: bool = False
) -> Pair:
    """A pair whose answers are there as texts: everything as `demur label` and `demur train` do it."""
    samples = PairSamples(*({p.id: a for p, a in zip(prompts, side, strict=True)} for side in (weak, strong)))
    targets, meanings = {}, Meanings(exact_match)
    for shown, kind in KINDS.items():
        config = LabelConfig(kind=kind, entailment="exact")
        found = label_prompts(prompts, samples, meanings, config, weak="weak", strong="strong")
        targets[shown] = _of_every(prompts, found.preferences)
    agreed = label_prompts(
        prompts, samples, meanings, LabelConfig("agreement", entailment="exact"), weak="weak", strong="strong"
    )
    targets["agreement"] = _of_every(prompts, agreed.preferences)
    questions = [prompt.text for prompt in prompts]
    own = meanings(questions, [[one.text for one in a] for a in weak]).ids
    joint = joint_clusters(prompts, weak, strong, meanings).ids
    drafts = read_drafts(own, weak, min(EXTRA, len(weak[0]) - 1))
    rows = gate_rows(np.zeros(len(prompts)), drafts, joint, [len(a) for a in strong])
    judge = numeric if numbers else grade
    right = [
        np.array([[judge(p, one.text) for one in a] for p, a in zip(prompts, side, strict=True)])
        for side in (weak, strong)
    ]
    tokens = [np.array([np.mean([one.completion_tokens for one in a]) for a in side]) for side in (weak, strong)]
    return Pair(
        name,
        questions,
        right[0],
        right[1].mean(axis=1),
        targets | true_targets(right[0].mean(axis=1), right[1].mean(axis=1)),
        drafts,
        rows,
        (tokens[0], tokens[1]) if rows.heads is not None else None,
    )


def local_pair() -> Iterator[Pair]:
    """Qwen2.5-Coder-1.5B and SmolLM2-135M, our own samples with texts and log-probs."""
    everything = shared_rows("samples/local_pair")
    for name, rows in (
        ("local pair", everything),
        ("local pair without arithmetic", [row for row in everything if row["source"] != "mawps"]),
    ):
        weak, strong = (
            [
                [sample(i, one["text"], one["token_logprobs"]) for i, one in enumerate(row["models"][m]["samples"])]
                for row in rows
            ]
            for m in ("smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct")
        )
        prompts = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows]
        yield from_texts(f"{name}, Qwen-1.5B / SmolLM2-135M", prompts, weak, strong)


def gsm8k() -> Iterator[Pair]:
    """GPT-4 and Llama-2-13B, final answers of program prompts: three samples of each of two, of both models."""
    styles = ("pot1", "pot2")
    rows = [
        row
        for row in shared_rows("samples/gsm8k_gpt4_llama2_13b")
        if all(len(row["samples"].get(f"{m}|{s}", ())) >= 3 for m in ("gpt-4", "llama-2-13b") for s in styles)
    ]
    answers = {
        m: [[text for s in styles for text in row["samples"][f"{m}|{s}"][:3]] for row in rows]
        for m in ("llama-2-13b", "gpt-4")
    }
    weak, strong = ([[sample(i, one, None) for i, one in enumerate(texts)] for texts in a] for a in answers.values())
    prompts = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows]
    yield from_texts("GSM8K, GPT-4 / Llama-2-13B", prompts, weak, strong, numbers=True)


def sample(index: int, text: str | None, logprobs: Sequence[float] | None) -> Sample:
    tokens = None if logprobs is None else tuple(logprobs)
    return Sample(index, text or "", tokens, "stop", 0, len(logprobs or ()))
