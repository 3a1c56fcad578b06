"""Label sources, encoders and stages side by side: how much of the way to always-strong does each of them save?

Three pairs of models, 5-fold, APGR with 95 % bootstrap intervals over prompts. Quality is the mean correctness of the
samples, or of the very draft where a gate looks at it; it measures, and labels only the rows called true. Everything
else is label-free. `--quick` leaves out the weak model's own hidden state, which takes a local model.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from demur import cost_quality_curve, drawing
from demur.catalogue import cache_folder
from demur.clustering import meaning_clusters
from demur.config import ModelConfig
from demur.drafts import Drafts, gate_rows, read_drafts
from demur.endpoints import EndpointClient
from demur.entailment import exact_match
from demur.gate import GateRows, fit_gate
from demur.grading import grade, numeric
from demur.local import opened
from demur.methods import BY_NAME
from demur.preferences import agreement_targets, confidence_targets, hard_targets, margin_targets
from demur.records import FloatArray, IntArray, Prompt, Sample
from demur.router import held_out_scores
from demur.store import Store
from demur.two_stages import StagedScores, apgr_gain, staged_curve, staged_scores
from demur.uncertainty import agreement, mean_nll, uncertainty
from environment import describe, shared_rows
from nq_open import both, correctness, discrete_entropy, embeddings
from staged_nq import nq_clusters

FOLDS, EXTRA = 5, 3
POOLINGS: tuple[Literal["mean"], Literal["last"]] = ("mean", "last")  # of the weak model's hidden state
PAPER, BEST_TRUE = "paper: hard SE labels", "true labels, soft"
USD = {"weak": (0.10e-6, 0.10e-6), "strong": (2.50e-6, 10.00e-6)}  # a token read and written: a 7B host, gpt-4o
SECONDS = {"weak": (0.05, 0.010), "strong": (0.60, 0.012)}  # to the first token, and a token: assumed, not measured


@dataclass(frozen=True)
class Pair:
    """One pair's prompts: what both models' samples say, and how right they are."""

    name: str
    questions: list[str]
    correct: FloatArray  # (n, samples) of the weak model
    strong: FloatArray  # (n,) quality of the strong model
    targets: Mapping[str, FloatArray]  # a label kind each, (n,)
    label_free: str  # the kind that teaches the two-stage policy
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
    """gpt-3.5-turbo and Llama-2-7b-chat; no texts, so no agreement, and memberships only as far as sizes tell them."""
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    weak_rows = [row["models"]["llama-2-7b-chat"] for row in rows]
    nlls = np.array([row["nll_mean"] for row in weak_rows])
    correct = (np.array([row["rouge_l"] for row in weak_rows]) > 0.5).astype(float)
    weak_se, strong_se = both(rows, discrete_entropy)
    weak, strong = both(rows, correctness)
    strong_nll = np.array([np.mean(row["models"]["gpt-3.5-turbo"]["nll_mean"]) for row in rows])
    clusters, identified = nq_clusters([row["class_size"] for row in weak_rows])
    samples = [[Sample(i, "text", (-nll,), "stop", 0, 0) for i, nll in enumerate(row)] for row in nlls]
    drafts = read_drafts(clusters, samples, EXTRA)
    rest = drafts.orders[:, :, EXTRA + 1 :]  # believed gain: from weak samples that no signal was read from
    rest_se = np.array(
        [[uncertainty(ids[o], None, "discrete") for o in orders] for ids, orders in zip(clusters, rest, strict=True)]
    )
    rest_nll = np.take_along_axis(nlls[:, None], rest, axis=2).mean(axis=2)
    shape = rest_se.shape
    gains = confidence_targets(
        rest_se.ravel(), np.repeat(strong_se, shape[1]), rest_nll.ravel(), np.repeat(strong_nll, shape[1])
    ).reshape(shape)
    pair = Pair(
        "NQ-Open, gpt-3.5-turbo / Llama-2-7b-chat",
        [row["question"] for row in rows],
        correct,
        strong,
        {
            PAPER: hard_targets(weak_se, strong_se),
            "soft margin of SE": margin_targets(weak_se, strong_se),
            "SE and tokens": confidence_targets(weak_se, strong_se, nlls.mean(axis=1), strong_nll),
            **true_targets(weak, strong),
        },
        "SE and tokens",
        drafts,
        GateRows(np.zeros(len(rows)), drafts.signals, gains),
    )
    yield pair
    yield replace(pair.only(identified), name=f"{pair.name}, memberships known ({identified.mean():.0%})")


def from_texts(
    name: str, prompts: Sequence[Prompt], weak: list[list[Sample]], strong: list[list[Sample]], numbers: bool = False
) -> Pair:
    """A pair whose answers are there as texts: everything as `demur label` and `demur train` do it."""
    questions = [prompt.text for prompt in prompts]
    texts = [[[one.text for one in answers] for answers in side] for side in (weak, strong)]
    ids = meaning_clusters(questions * 2, [*texts[0], *texts[1]], entailment=exact_match).ids
    joint = meaning_clusters(questions, [[*s, *w] for w, s in zip(*texts, strict=True)], entailment=exact_match).ids
    n, count = len(prompts), len(strong[0])
    known = weak[0][0].logprobs is not None
    definition = "rao_blackwell" if known else "discrete"
    se = [
        np.array(
            [uncertainty(i, [one.logprobs or () for one in a], definition) for i, a in zip(own, side, strict=True)]
        )
        for own, side in ((ids[:n], weak), (ids[n:], strong))
    ]
    nll = [np.array([np.mean([mean_nll(one.logprobs) for one in a]) for a in side]) for side in (weak, strong)]
    gains = np.array([agreement(i[count:], i[:count]) for i in joint])
    judge = numeric if numbers else grade
    right = [np.array([[judge(p, text) for text in a] for p, a in zip(prompts, side, strict=True)]) for side in texts]
    targets = {
        PAPER: hard_targets(se[0], se[1]),
        "soft margin of SE": margin_targets(se[0], se[1]),
        "agreement": agreement_targets(gains),
        **true_targets(right[0].mean(axis=1), right[1].mean(axis=1)),
    }
    if known:
        targets["SE and tokens"] = confidence_targets(se[0], se[1], nll[0], nll[1])
    drafts = read_drafts(ids[:n], weak, min(EXTRA, len(weak[0]) - 3))
    rows = gate_rows(np.zeros(n), drafts, joint, count)
    tokens = [np.array([np.mean([one.completion_tokens for one in a]) for a in side]) for side in (weak, strong)]
    return Pair(
        name, questions, right[0], right[1].mean(axis=1), targets, "agreement", drafts, rows,
        (tokens[0], tokens[1]) if known else None,
    )  # fmt: skip


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


def folds(n: int) -> IntArray:
    return np.random.default_rng(0).permutation(n) % FOLDS


def prompt_scores(X: FloatArray, y: FloatArray, method: str) -> FloatArray:
    """(n,) by routers that did not see the prompt."""
    fold_of, scores = folds(len(X)), np.empty(len(X))
    for fold in range(FOLDS):
        train = fold_of != fold
        scores[~train] = BY_NAME[method]().fit(X[train], y[train]).predict_proba(X[~train])[:, 1]
    return scores


def staged(pair: Pair, X: FloatArray, y: FloatArray, *, extra: int, alone: bool = False) -> tuple[StagedScores, int]:
    """The two-stage policy as `demur train` makes it, fold by fold; ``alone``: the gate without the prompt's score.

    Also in how many folds the policy itself says, label-free, that its gate pays.
    """
    fold_of = folds(len(X))
    first, steps = np.empty(len(X)), np.empty((extra + 1, *pair.rows.gains.shape))
    spreads, bands, pays = [], [], 0
    for fold in range(FOLDS):
        train = fold_of != fold
        router = BY_NAME["kernel"]().fit(X[train], y[train])
        before, after = held_out_scores(BY_NAME["kernel"](), X[train], y[train]), router.predict_proba(X[~train])[:, 1]
        if alone:  # one score for all prompts, and a band as wide as it takes
            noise = np.random.default_rng(fold)
            before, after = (1e-3 * noise.normal(size=len(rows)) for rows in (before, after))
        rows = rows_of(replace(pair.rows, signals=pair.rows.signals[: extra + 1]), train)
        gate, _ = fit_gate(replace(rows, prompt_scores=before))
        gate = replace(gate, band=np.inf) if alone else gate
        drafts = replace(pair.drafts, signals=pair.rows.signals[: extra + 1][:, ~train])
        found = staged_scores(gate, after, drafts)
        first[~train], steps[:, ~train] = found.prompt, found.steps
        spreads.append(found.spreads)
        bands.append(found.band)
        pays += gate.verdict.pays
    return StagedScores(first, steps, np.mean(spreads, axis=0), float(np.mean(bands))), pays


def print_labels(pair: Pair, encoders: Mapping[str, FloatArray]) -> None:
    """Prompt-only: label kinds x encoders, and what part of the true labels' gain over random each reaches."""
    print(f"\n{pair.name}: {len(pair.questions)} prompts, weak {pair.weak.mean():.3f}, strong {pair.strong.mean():.3f}")
    heads = f"{'CPT50':>7}{'CPT80':>7}{'APGR':>8}  95 % interval {'of true':>9}"
    print(f"  {'prompt-only: labels':<26}{'encoder':<14}{'router':<9}{heads}")
    for encoder, X in encoders.items():
        for method in ("sw", "logistic", "kernel"):
            curves = {
                kind: cost_quality_curve(prompt_scores(X, y, method), pair.weak, pair.strong)
                for kind, y in pair.targets.items()
            }
            best = curves[BEST_TRUE].apgr - 0.5
            for kind, curve in curves.items():
                low, high = curve.interval("apgr")
                print(
                    f"  {kind:<26}{encoder:<14}{method:<9}{100 * curve.cpt(0.5):>7.1f}{100 * curve.cpt(0.8):>7.1f}"
                    f"{curve.apgr:>8.3f}  [{low:.3f}, {high:.3f}]{(curve.apgr - 0.5) / best:>9.0%}",
                    flush=True,
                )


def print_stages(pair: Pair, X: FloatArray) -> None:
    """Prompt-only, the gate alone and both, label-free, with the paired gain over prompt-only."""
    y = pair.targets[pair.label_free]
    print(f"  {'stages (bge-small, kernel)':<36}{'APGR':>8}  gain over prompt-only     checked  extra  verdict")
    base = np.repeat(prompt_scores(X, y, "kernel")[:, None], pair.draft_quality.shape[1], axis=1)
    strong = np.broadcast_to(pair.strong[:, None], base.shape)
    n = len(pair.questions)
    curve = cost_quality_curve(
        base.ravel(), pair.draft_quality.ravel(), strong.ravel(), groups=np.repeat(np.arange(n), base.shape[1])
    )
    print(f"  {'prompt only':<36}{curve.apgr:>8.3f}")
    most = len(pair.rows.signals) - 1
    for name, extra, alone in (
        ("gate only", most, True), *((f"two stages, at most {k} extra samples", k, False) for k in range(most + 1)),
    ):  # fmt: skip
        scores, pays = staged(pair, X, y, extra=extra, alone=alone)
        found = staged_curve(scores, pair.draft_quality, pair.strong)
        gain, low, high = apgr_gain(scores.final, base, pair.draft_quality, strong)
        used = [scores.use(float(t)) for t in np.quantile(scores.final, np.linspace(0.1, 0.9, 9))]
        checked, more = (np.mean([getattr(u, part).mean() for u in used]) for part in ("checked", "extra"))
        verdict = "" if alone else f"pays in {pays} of {FOLDS}"
        print(
            f"  {name:<36}{found.apgr:>8.3f}  {gain:+.3f} [{low:+.3f}, {high:+.3f}]"
            f"{checked:>12.0%}{more:>7.2f}  {verdict}",
            flush=True,
        )


@drawing.in_style
def headline(pair: Pair, X: FloatArray) -> Any:
    """Quality against calls to the strong model: the paper's recipe, demur's two stages, and what true labels give."""
    figure, axes = drawing.axes_of(7.2, 4.4)
    ends = [float(pair.weak.mean()), float(pair.strong.mean())]
    axes.plot([0, 100], ends, color=drawing.INK, lw=1, ls="--", label="random")
    scores, _ = staged(pair, X, pair.targets[pair.label_free], extra=len(pair.rows.signals) - 1)
    lines = {
        "the paper's recipe: hard labels, SW": prompt_scores(X, pair.targets[PAPER], "sw"),
        "label-free, prompt only": prompt_scores(X, pair.targets[pair.label_free], "kernel"),
        "true labels, prompt only": prompt_scores(X, pair.targets[BEST_TRUE], "kernel"),
    }
    curves = {name: cost_quality_curve(score, pair.weak, pair.strong) for name, score in lines.items()}
    curves["label-free, two stages"] = staged_curve(scores, pair.draft_quality, pair.strong)
    shares = np.linspace(0, 1, 201)
    for colour, (name, curve) in zip(drawing.PALETTE, curves.items(), strict=False):
        quality = np.interp(shares, curve.strong_shares, curve.qualities)
        ours = "two stages" in name
        style = ":" if "true" in name else "-"
        axes.plot(
            100 * shares, quality, color=colour, lw=2.6 if ours else 1.3, ls=style, label=f"{name} ({curve.apgr:.3f})"
        )
    axes.set(xlabel="calls to the strong model (%)", ylabel="mean quality", xlim=(-2, 102))
    axes.legend(frameon=False, loc="lower right", title="APGR")
    return figure


def print_front(pair: Pair, X: FloatArray) -> None:
    """Quality against USD, tokens and latency a prompt: prompt-only, gate-only, two stages and random."""
    assert pair.tokens is not None
    weak_tokens, strong_tokens = (tokens[:, None] for tokens in pair.tokens)
    y = pair.targets[pair.label_free]
    most = len(pair.rows.signals) - 1
    policies = {
        "prompt only": staged(pair, X, y, extra=0)[0],
        "gate only": staged(pair, X, y, extra=most, alone=True)[0],
        "two stages": staged(pair, X, y, extra=most)[0],
    }
    policies["prompt only"] = replace(
        policies["prompt only"], band=-1.0, steps=np.repeat(policies["prompt only"].prompt[None, :, None], 4, axis=2)
    )
    read = np.array([len(q) / 4 + 200 for q in pair.questions])[:, None]  # a few-shot template of 200 tokens
    print(f"  prices and speeds are assumed: USD a token {USD}, seconds {SECONDS}")
    print(f"  {'front':<14}{'strong':>8}{'quality':>9}{'USD/1,000':>11}{'tokens':>8}{'seconds':>9}")
    for name, scores in policies.items():
        for share in (0.1, 0.3, 0.5, 0.7):
            use = scores.use(float(np.quantile(scores.final, 1 - share)))
            drafts = (use.checked | ~use.strong) + use.extra
            quality = np.where(use.strong, pair.strong[:, None], pair.draft_quality).mean()
            usd = drafts * (read * USD["weak"][0] + weak_tokens * USD["weak"][1])
            usd = usd + use.strong * (read * USD["strong"][0] + strong_tokens * USD["strong"][1])
            written = drafts * weak_tokens + use.strong * strong_tokens
            seconds = drafts * (SECONDS["weak"][0] + weak_tokens * SECONDS["weak"][1])
            seconds = seconds + use.strong * (SECONDS["strong"][0] + strong_tokens * SECONDS["strong"][1])
            print(
                f"  {name:<14}{use.strong.mean():>8.0%}{quality:>9.4f}{1000 * usd.mean():>11.4f}{written.mean():>8.1f}"
                f"{seconds.mean():>9.3f}"
            )


def print_transfer(pair: Pair, X: FloatArray) -> None:
    """The same NQ-Open labels, judged by people's verdicts on other models' answers to the same questions."""
    judged = {row["question"]: row for row in shared_rows("outcomes/nq_open_human_judged") if not row.get("improper")}
    print("  transfer to human verdicts (kernel, bge-small)")
    for weak_name, strong_name in (("gpt35", "gpt4"), ("chatgpt", "gpt4")):
        kept = np.array([q in judged for q in pair.questions])
        rows = [judged[q] for q in pair.questions if q in judged]
        weak, strong = (np.array([float(row["human_correct"][m]) for row in rows]) for m in (weak_name, strong_name))
        for kind in (PAPER, "soft margin of SE", "SE and tokens", BEST_TRUE):
            curve = cost_quality_curve(prompt_scores(X, pair.targets[kind], "kernel")[kept], weak, strong)
            low, high = curve.interval("apgr")
            print(f"  {strong_name} / {weak_name:<9}{kind:<26}{curve.apgr:>8.3f}  [{low:.3f}, {high:.3f}]")


def hidden_state(texts: list[str], pooling: Literal["mean", "last"], model: str = "smollm2-135m") -> FloatArray:
    """The weak model's own reading of the prompt: llama.cpp's embedding of it, kept in demur's cache."""
    identity = f"hidden state of {model}, {pooling}"

    async def ask(missing: list[str]) -> dict[str, FloatArray]:
        async with (
            opened(ModelConfig(model), parallel=1, threads=2, pooling=pooling) as endpoint,
            EndpointClient(endpoint) as client,
        ):
            rows = [await client.embed(missing[i : i + 8]) for i in range(0, len(missing), 8)]
        return dict(zip(missing, np.concatenate(rows).astype(np.float32), strict=True))

    with Store(Path(cache_folder()).parent / "benchmarks.sqlite") as store:
        known = store.embeddings(identity, texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            fresh = asyncio.run(ask(missing))
            store.add_embeddings(identity, fresh)
            known = known | fresh
    X = np.stack([known[text] for text in texts])
    return np.asarray(X / np.linalg.norm(X, axis=1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the weak model's hidden state")
    parser.add_argument("--figure", type=Path, help="draw the curves of NQ-Open there (PNG)")
    options = parser.parse_args()
    print(describe())
    for source in (nq_open, local_pair, gsm8k):
        for at, pair in enumerate(source()):
            encoders = {name: embeddings(pair.questions, name) for name in ("minilm", "bge-small")}
            if source is local_pair and not options.quick:
                hidden = {f"weak {pooling}": hidden_state(pair.questions, pooling) for pooling in POOLINGS}
                both = {f"bge+{name}": np.hstack([encoders["bge-small"], X]) / np.sqrt(2) for name, X in hidden.items()}
                encoders |= hidden | both
            print_labels(pair, encoders)
            print_stages(pair, encoders["bge-small"])
            if source is nq_open and at == 0:
                print_transfer(pair, encoders["bge-small"])
                if options.figure:
                    drawing.save(headline(pair, encoders["bge-small"]), options.figure)
            if pair.tokens is not None:
                print_front(pair, encoders["bge-small"])


if __name__ == "__main__":
    main()
