"""Answers of two or three sentences without a result line: what labels and entropy are worth on them, beside the same
questions answered in a few words.

240 questions of `samples/local_pair` (NQ-Open, TriviaQA, PopQA), answered in sentences by SmolLM2-135M (weak) and
Qwen2.5-Coder-1.5B (strong), 5 samples, 80 tokens at most; they are in `data/long_answers.jsonl.gz`, with whether each
was cut. No rule was chosen on them: labels are the default kind's, on whole texts. The first 90 questions were kept for
choosing, the other 150 are what is reported.

Beside whole texts: each model states the final answer of its own texts in a few words (`demur.sampling.statements`, as
`demur label --state-answers on` asks), and what stands in its text is compared instead. The statements are in
`data/long_answers_stated.jsonl.gz`; ``--ask`` asks for those that are missing, with the two local models.

``--support``: labels of kind ``support`` (`demur.labels.scores.support`), six minutes of the entailment model.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from demur import cost_quality_curve
from demur.config import ModelConfig
from demur.evaluation.signals import auroc_draws
from demur.labels.beliefs.belief import PairShares, belief_weight, believed_gains, confirmed_slope, pair_shares
from demur.labels.scores.support import Supported, support_shares
from demur.labels.targets import gain_targets
from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import SAMPLED_SHARE, at_share, shipped_entailment
from demur.meaning.rules.final_answer import is_unread, stands_in
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.models.catalogue import cache_folder
from demur.models.local import endpoint_of, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.models.requests.cut_answers import CUT
from demur.prompts.grading import grade
from demur.records import BoolArray, FloatArray, Prompt, Sample
from demur.sampling.statements import STATED_TOKENS, ask_statements, stored_statements
from demur.statistics import auroc
from demur.store import Store
from environment import ROOT, describe, on_one_thread, shared_rows
from nq_open import embeddings

ANSWERS = ROOT / "benchmarks" / "data" / "long_answers.jsonl.gz"
STATED = ROOT / "benchmarks" / "data" / "long_answers_stated.jsonl.gz"
ASKED = {"weak": "smollm2-135m", "strong": "qwen2.5-coder-1.5b"}  # names of the catalogue
WEAK, STRONG = "smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct"
FOR_CHOOSING = 90
STATED_N = 5  # samples of each model whose final answers were asked for

Answers = list[list[str]]


def qualities(prompts: Sequence[Prompt], answers: Answers) -> FloatArray:
    """(n,) mean grade of each prompt's answers."""
    return np.array([np.mean([grade(p, a) for a in each]) for p, each in zip(prompts, answers, strict=True)])


def shares_of(prompts: Sequence[Prompt], strong: Answers, weak: Answers) -> tuple[PairShares, float]:
    """Shares of pairs of whole texts that mean the same, and the slope that sets the strong model's weight."""
    joint = [[*s, *w] for s, w in zip(strong, weak, strict=True)]
    entailment = at_share(shipped_entailment(), SAMPLED_SHARE)
    ids = meaning_clusters([p.text for p in prompts], joint, entailment=entailment).ids
    return pair_shares(ids), confirmed_slope(ids)


def stated_answers(row: dict[str, Any], stated: dict[str, Any], question: str, side: str) -> list[str] | None:
    """What is compared of a model's first `STATED_N` texts: the final answer that it states, else the text; None where
    it was not asked about all of them."""
    texts, statements = [text for text, _ in row[side]][:STATED_N], stated[side][:STATED_N]
    if any(one is None and is_unread(text, question) for text, one in zip(texts, statements, strict=True)):
        return None
    return [stands_in(one or "", text) or text for text, one in zip(texts, statements, strict=True)]


def kept_statements() -> dict[str, dict[str, Any]]:
    """What was stated before, by the question's id."""
    return {row["id"]: row for row in map(json.loads, gzip.decompress(STATED.read_bytes()).splitlines())}


def read_stated(rows: Sequence[dict[str, Any]], questions: Sequence[str]) -> dict[int, dict[str, list[str]]]:
    """`stated_answers` of both models by the place of the question, where both were asked."""
    known = kept_statements()
    found = {}
    for place, (row, question) in enumerate(zip(rows, questions, strict=True)):
        both = {side: stated_answers(row, known[row["id"]], question, side) for side in ASKED}
        if place >= FOR_CHOOSING and None not in both.values():
            found[place] = {side: answers for side, answers in both.items() if answers is not None}
    return found


async def ask_side(rows: Sequence[dict[str, Any]], questions: Sequence[str], side: str, store: Store) -> None:
    """Ask one model for the final answers of its texts that no rule reads."""
    known = kept_statements()
    texts = [
        (question, text)
        for row, question in zip(rows, questions, strict=True)
        for (text, _), stated in zip(row[side][:STATED_N], known[row["id"]][side], strict=False)
        if stated is None and is_unread(text, question)
    ]
    config = ModelConfig(ASKED[side], timeout_seconds=600)
    async with (
        running_endpoint(config, parallel=1, max_tokens=STATED_TOKENS) as endpoint,
        EndpointClient(endpoint) as client,
    ):
        await ask_statements(texts, client, endpoint, store, stands=stands_in)


def ask(rows: Sequence[dict[str, Any]], questions: Sequence[str]) -> None:
    """Ask both models about the questions that are reported, through a store in demur's cache, and write what they
    stated beside the answers."""
    reported, known = (rows[FOR_CHOOSING:], questions[FOR_CHOOSING:]), kept_statements()
    with Store(cache_folder().parent / "long_answers.sqlite") as store:

        async def both() -> None:
            await asyncio.gather(*(ask_side(*reported, side, store) for side in ASKED))

        asyncio.run(both())
        lines = []
        for row, question in zip(rows, questions, strict=True):
            stated = {}
            for side, model in ASKED.items():
                texts = [(question, text) for text, _ in row[side]]
                found = stored_statements(texts, endpoint_of(ModelConfig(model)), store)
                before = known[row["id"]][side]
                stated[side] = [one or found.get(text) for text, one in zip(texts, before, strict=True)]
            lines.append(json.dumps({"id": row["id"], **stated}, ensure_ascii=False) + "\n")
    STATED.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def report(
    name: str, X: FloatArray, rows: BoolArray, shares: PairShares, slope: float, low: FloatArray, high: FloatArray
) -> None:
    """A line: APGR of the 5-fold router on the labels with its interval, and AUROC of either model's consistency."""
    targets = gain_targets(believed_gains(shares, belief_weight(slope)))[rows]
    curve = cost_quality_curve(held_out_scores(KernelRidge(), X[rows], targets), low[rows], high[rows])
    start, end = curve.interval("apgr")
    strong, weak = auroc(-shares.strong[rows], high[rows]), auroc(-shares.weak[rows], low[rows])
    print(f"{name:<44}{curve.apgr:>7.3f} [{start:.3f}, {end:.3f}]{strong:>10.3f}{weak:>8.3f}", flush=True)


def stated_table(
    rows: Sequence[dict[str, Any]],
    prompts: Sequence[Prompt],
    X: FloatArray,
    long: dict[str, Answers],
    short: dict[str, Answers],
) -> None:
    """The same lines on the first samples of the questions of which both models have stated all final answers."""
    stated = read_stated(rows, [prompt.text for prompt in prompts])
    places = np.array(sorted(stated))
    asked, told = [prompts[i] for i in places], np.ones(len(places), dtype=bool)
    print(f"first {STATED_N} samples, {len(places)} of the 150 questions")
    draws = []
    for name, kinds in (
        ("in sentences, whole texts", (long, long)),
        ("in sentences, final answers stated", (stated, long)),
        ("in a few words", (short, short)),
    ):
        compared, graded = (
            {side: [_first(kind, side, i) for i in places] for side in ("weak", "strong")} for kind in kinds
        )
        low, high = (qualities(asked, graded[side]) for side in ("weak", "strong"))
        shares, slope = shares_of(asked, compared["strong"], compared["weak"])
        report(name, X[places], told, shares, slope, low, high)
        draws.append(auroc_draws(-shares.strong, high))
        print(f"{'':<69}[{', '.join(f'{end:.3f}' for end in np.nanquantile(draws[-1], [0.025, 0.975]))}]")
    for name, other in (("whole texts", draws[0]), ("a few words", draws[2])):
        low, high = np.nanquantile(draws[1] - other, [0.025, 0.975])
        print(f"AUROC of the strong model, stated less {name}: 95 % of draws in [{low:+.3f}, {high:+.3f}]")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--support", action="store_true", help="sentence support as well (some six minutes)")
    parser.add_argument("--stated", action="store_true", help="only what stating final answers changes")
    parser.add_argument("--ask", action="store_true", help="ask the local pair for statements that are missing")
    wanted = parser.parse_args()
    print(describe())
    rows = [json.loads(line) for line in gzip.decompress(ANSWERS.read_bytes()).decode().splitlines()]
    known = {row["id"]: row for row in shared_rows("samples/local_pair")}
    prompts = [Prompt(row["id"], known[row["id"]]["question"], tuple(known[row["id"]]["answers"])) for row in rows]
    long = {side: [[text for text, _ in row[side]] for row in rows] for side in ("weak", "strong")}
    short = {
        side: [[one["text"] for one in known[row["id"]]["models"][model]["samples"]] for row in rows]
        for side, model in (("weak", WEAK), ("strong", STRONG))
    }
    questions = [prompt.text for prompt in prompts]
    if wanted.ask:
        ask(rows, questions)
    X = embeddings(questions, "bge-small")
    held = np.arange(len(rows)) >= FOR_CHOOSING
    print(f"{'5-fold, label-free':<44}{'APGR':>7}{'95 %':>17}{'AUROC of consistency: strong':>12}{'weak':>8}")
    if wanted.stated:
        stated_table(rows, prompts, X, long, short)
        return
    for name, answers in (("in sentences, whole texts", long), ("in a few words", short)):
        low, high = (qualities(prompts, answers[side]) for side in ("weak", "strong"))
        shares, slope = shares_of(prompts, answers["strong"], answers["weak"])
        for part, which in (("150 questions", held), ("all 240", np.ones(len(rows), dtype=bool))):
            report(f"{name}, {part}", X, which, shares, slope, low, high)
            curve = cost_quality_curve(
                held_out_scores(KernelRidge(), X[which], np.clip(0.5 + (high - low) / 2, 0, 1)[which]),
                low[which],
                high[which],
            )
            print(f"{'':<4}{'true labels, ' + part:<40}{curve.apgr:>7.3f}")
    if wanted.support:
        texts = {side: [samples_of(row[side]) for row in rows[FOR_CHOOSING:]] for side in ("weak", "strong")}
        low, high = (qualities(prompts, long[side])[held] for side in ("weak", "strong"))
        entailment = at_share(shipped_entailment(), SAMPLED_SHARE)
        shares = support_shares(questions[FOR_CHOOSING:], texts["weak"], texts["strong"], entailment)
        slope = Supported(np.ones(len(low), dtype=bool), shares).slope
        told = np.ones(len(low), dtype=bool)
        report("in sentences, sentence support, 150 questions", X[held], told, shares, slope, low, high)


def samples_of(answers: Sequence[tuple[str, bool]]) -> list[Sample]:
    """Texts and whether each was cut, as samples."""
    return [Sample(i, text, None, CUT if cut else "stop", 0, 0) for i, (text, cut) in enumerate(answers)]


def _first(answers: Any, side: str, place: int) -> list[str]:
    """A model's first samples for one question, of answers by model or by question."""
    found: list[str] = answers[side][place] if side in answers else answers[place][side]
    return found[:STATED_N]


if __name__ == "__main__":
    on_one_thread()
    main()
