"""Label sources, encoders and stages side by side: how much of the way to always-strong does each of them save?

Three pairs of models, 5-fold, APGR with 95 % bootstrap intervals over prompts. Quality is the mean correctness of the
samples, or of the very draft where a gate looks at it; it measures, and labels only the rows called true. Everything
else is label-free. The default kind was chosen among several dozen on these very sets, looking at their true labels
(docs/method.md). `--quick` leaves out the weak model's own hidden state, which takes a local model.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from demur import cost_quality_curve
from demur.config import ModelConfig
from demur.evaluation.report import figures
from demur.gate.gate import GateRows, fit_gate
from demur.gate.quality.extra_samples import SHARES, gain_for_the_money
from demur.gate.quality.two_stages import StagedScores, Use, apgr_gain, staged_curve, staged_scores, without_gate
from demur.methods import BY_NAME
from demur.methods.fit.cross_validate import held_out_scores
from demur.models.catalogue import cache_folder
from demur.models.local import running_endpoint
from demur.models.requests.client import EndpointClient
from demur.records import FloatArray
from demur.statistics import FOLDS, draw_counts, folds, mean_ranks, percentile_interval
from demur.store import Store
from environment import describe, shared_rows
from measured_pairs import BEST_TRUE, DEFAULT, PAPER, Pair, gsm8k, local_pair, nq_open
from nq_open import embeddings
from nq_open import held_out_scores as prompt_scores

METHODS = ("sw", "logistic", "kernel")
POOLINGS: tuple[Literal["mean"], Literal["last"]] = ("mean", "last")  # of the weak model's hidden state
USD = {"weak": (0.10e-6, 0.10e-6), "strong": (2.50e-6, 10.00e-6)}  # a token read and written: a 7B host, gpt-4o
SECONDS = {"weak": (0.05, 0.010), "strong": (0.60, 0.012)}  # to the first token, and a token: assumed, not measured


@dataclass(frozen=True)
class Folded:
    """A label kind's routers, one a fold: the scores of its training prompts (held out) and of its test prompts."""

    X: FloatArray
    y: FloatArray

    @cached_property
    def scores(self) -> list[tuple[np.ndarray, FloatArray, FloatArray]]:
        fold_of, found = folds(len(self.X)), []
        for fold in range(FOLDS):
            train = fold_of != fold
            router = BY_NAME["kernel"]().fit(self.X[train], self.y[train])
            before = held_out_scores(BY_NAME["kernel"](), self.X[train], self.y[train])
            found.append((train, before, router.predict_proba(self.X[~train])[:, 1]))
        return found

    @cached_property
    def prompt(self) -> FloatArray:
        """(n,) by routers that did not see the prompt."""
        found = np.empty(len(self.X))
        for train, _, after in self.scores:
            found[~train] = after
        return found


def staged(pair: Pair, routers: Folded, signals: FloatArray, *, alone: bool = False) -> tuple[StagedScores, int]:
    """The two-stage router as `demur train` makes it, fold by fold; ``alone``: the gate without the prompt's score.

    ``signals`` (k + 1, n, r, s) are what the gate reads. Also in how many folds the router itself says, label-free,
    that its gate pays.
    """
    first, steps = np.empty(len(pair.questions)), np.empty((len(signals), *pair.rows.gains.shape))
    spreads, bands, pays = [], [], 0
    for fold, (train, before, after) in enumerate(routers.scores):
        if alone:  # one score for all prompts, and a band as wide as it takes
            noise = np.random.default_rng(fold)
            before, after = (1e-3 * noise.normal(size=len(rows)) for rows in (before, after))
        gate, _ = fit_gate(GateRows(before, signals[:, train], pair.rows.gains[train]))
        gate = replace(gate, band=np.inf) if alone else gate
        found = staged_scores(gate, after, replace(pair.drafts, signals=signals[:, ~train]))
        first[~train], steps[:, ~train] = found.prompt, found.steps
        spreads.append(found.spreads)
        bands.append(found.band)
        pays += gate.verdict.pays
    return StagedScores(first, steps, np.mean(spreads, axis=0), float(np.mean(bands))), pays


class Resampled:
    """Draws of a pair's prompts; what a score catches of each is a product, its ranks held fixed."""

    def __init__(self, pair: Pair) -> None:
        self.gains = pair.strong - pair.weak
        self.counts = np.array(list(draw_counts(len(pair.questions))), dtype=np.float32)

    def caught(self, scores: FloatArray) -> FloatArray:
        """(resamples,) gain over random, summed."""
        return np.asarray(self.counts @ (self.gains * (mean_ranks(scores) - 0.5)))

    def apgr(self, scores: FloatArray) -> tuple[float, float]:
        """95 % interval."""
        return _middle(0.5 + self.caught(scores) / (self.counts @ self.gains))

    def share(self, scores: FloatArray, best: FloatArray) -> tuple[float, float]:
        """95 % interval of the part of the best one's gain over random."""
        return _middle(self.caught(scores) / self.caught(best))


def _middle(values: FloatArray) -> tuple[float, float]:
    low, high = percentile_interval(values)
    return float(low), float(high)


def print_labels(pair: Pair, encoders: Mapping[str, FloatArray], methods: Sequence[str]) -> None:
    """Prompt-only: label kinds x encoders, and what part of the true labels' gain over random each reaches."""
    print(f"\n{pair.name}: {len(pair.questions)} prompts, weak {pair.weak.mean():.3f}, strong {pair.strong.mean():.3f}")
    heads = f"{'CPT50':>7}{'CPT80':>7}{'APGR':>8}  95 % interval   of true labels' gain"
    print(f"  {'prompt-only: labels':<20}{'encoder':<14}{'router':<9}{heads}")
    drawn = Resampled(pair)
    for encoder, X in encoders.items():
        for method in methods if encoder in ("minilm", "bge-small") else ("kernel",):
            scores = {kind: prompt_scores(method, X, y) for kind, y in pair.targets.items()}
            best = cost_quality_curve(scores[BEST_TRUE], pair.weak, pair.strong).apgr - 0.5
            for kind, found in scores.items():
                curve = cost_quality_curve(found, pair.weak, pair.strong)
                (low, high), (least, most) = drawn.apgr(found), drawn.share(found, scores[BEST_TRUE])
                print(
                    f"  {kind:<22}{encoder:<14}{method:<9}{100 * curve.cpt(0.5):>5.1f}{100 * curve.cpt(0.8):>7.1f}"
                    f"{curve.apgr:>8.3f}  [{low:.3f}, {high:.3f}]  {(curve.apgr - 0.5) / best:>5.0%}"
                    f" [{least:.0%}, {most:.0%}]",
                    flush=True,
                )


def print_stages(pair: Pair, routers: Folded) -> None:
    """Prompt-only, the gate alone and both, label-free, with the paired gain over prompt-only."""
    print(
        f"  {'stages (default labels, bge, kernel)':<37}{'APGR':>6}  gain over prompt-only    checked  extra  verdict"
    )
    base = np.repeat(routers.prompt[:, None], pair.draft_quality.shape[1], axis=1)
    strong = np.broadcast_to(pair.strong[:, None], base.shape)
    print(
        f"  {'prompt only':<36}{staged_curve(unchecked_as(pair, routers), pair.draft_quality, pair.strong).apgr:>7.3f}"
    )
    signals = pair.rows.signals
    most = len(signals) - 1
    kinds = [("gate only", signals, True)]
    kinds += [(f"two stages, at most {k} extra samples", signals[: k + 1], False) for k in range(most + 1)]
    if pair.rows.heads is not None:
        kinds.append(("two stages, a stream's first tokens", pair.rows.heads[None], False))
    for name, read, by_itself in kinds:
        scores, pays = staged(pair, routers, read, alone=by_itself)
        found = staged_curve(scores, pair.draft_quality, pair.strong)
        gain, low, high = apgr_gain(scores.final, base, pair.draft_quality, strong)
        used = [scores.use(float(t)) for t in np.quantile(scores.final, np.linspace(0.1, 0.9, 9))]
        checked, more = (np.mean([getattr(u, part).mean() for u in used]) for part in ("checked", "extra"))
        verdict = "" if by_itself else f"pays in {pays} of {FOLDS}"
        print(
            f"  {name:<36}{found.apgr:>7.3f}  {gain:+.3f} [{low:+.3f}, {high:+.3f}]{checked:>10.0%}{more:>7.2f}"
            f"  {verdict}",
            flush=True,
        )


def unchecked_as(pair: Pair, routers: Folded) -> StagedScores:
    """The router alone, as scores of every draft."""
    found = without_gate(routers.prompt)
    return replace(found, steps=np.repeat(found.steps, pair.draft_quality.shape[1], axis=2))


@figures.in_style
def headline(pair: Pair, X: FloatArray, routers: Folded) -> Any:
    """Quality against calls to the large model: the paper's labels with SW, demur, and what right answers would give.

    In words that a reader of the README's first screen knows.
    """
    figure, axes = figures.axes_of(7.2, 4.4)
    ends = [float(pair.weak.mean()), float(pair.strong.mean())]
    axes.plot([0, 100], ends, color=figures.INK, lw=1, ls="--", label="random")
    scores, _ = staged(pair, routers, pair.rows.signals)
    lines = {
        "the paper's labels and router": prompt_scores("sw", X, pair.targets[PAPER]),
        "demur, from the prompt alone": routers.prompt,
        "taught with right answers": prompt_scores("kernel", X, pair.targets[BEST_TRUE]),
    }
    curves = {name: cost_quality_curve(score, pair.weak, pair.strong) for name, score in lines.items()}
    curves["demur, which also checks the small model's answer"] = staged_curve(scores, pair.draft_quality, pair.strong)
    shares = np.linspace(0, 1, 201)
    for colour, (name, curve) in zip(figures.PALETTE, curves.items(), strict=False):
        quality = np.interp(shares, curve.strong_shares, curve.qualities)
        ours, style = "checks" in name, ":" if "right answers" in name else "-"
        axes.plot(100 * shares, quality, color=colour, lw=2.6 if ours else 1.3, ls=style, label=name)
    axes.set(xlabel="calls to the large model (%)", ylabel="share of right answers", xlim=(-2, 102))
    axes.legend(frameon=False, loc="lower right")
    return figure


def print_front(pair: Pair, routers: Folded) -> None:
    """Quality against USD, tokens and latency a prompt: random, prompt-only, gate-only and two stages."""
    assert pair.tokens is not None
    read = np.array([len(q) / 4 + 200 for q in pair.questions])  # a few-shot template of 200 tokens
    policies = {
        "prompt only": unchecked_as(pair, routers),
        "gate only": staged(pair, routers, pair.rows.signals, alone=True)[0],
        "two stages": staged(pair, routers, pair.rows.signals)[0],
    }
    policies = {"random": without_gate(np.random.default_rng(0).random(len(read)))} | policies
    print(f"  prices and speeds are assumed: USD per token {USD}, seconds {SECONDS}")
    print(f"  {'front':<14}{'strong':>8}{'quality':>9}{'USD/1,000':>11}{'read':>8}{'written':>9}{'seconds':>9}")
    for name, scores in policies.items():
        for share in (0.1, 0.3, 0.5, 0.7):
            use = scores.use(float(np.quantile(scores.final, 1 - share)))
            print(f"  {name:<14}{use.strong.mean():>8.0%}{_front_cells(pair, use, read)}")
    for name in ("gate only", "two stages"):
        uses = [policies[name].use(float(t)) for t in np.quantile(policies[name].final, SHARES)]
        gains = pair.strong[:, None] - pair.draft_quality
        gain, low, high = gain_for_the_money(uses, routers.prompt, gains, *(_usd(pair, read, m) for m in (0, 1)))
        print(f"  {name}, quality over prompt only for the same USD: {gain:+.4f} [{low:+.4f}, {high:+.4f}]")


def _usd(pair: Pair, read: FloatArray, side: int) -> FloatArray:
    """(n,) of one answer of the weak (0) or strong (1) model."""
    assert pair.tokens is not None
    price = list(USD.values())[side]
    return np.asarray(read * price[0] + pair.tokens[side] * price[1])


def _front_cells(pair: Pair, use: Use, read: FloatArray) -> str:
    assert pair.tokens is not None
    written = dict(zip(("weak", "strong"), pair.tokens, strict=True))
    quality = np.where(use.strong, pair.strong[:, None], pair.draft_quality).mean()
    usd = use.cost(*(_usd(pair, read, side) for side in (0, 1))).mean()
    seconds = use.cost(*(SECONDS[m][0] + written[m] * SECONDS[m][1] for m in written)).mean()
    tokens = use.cost(read, read).mean(), use.cost(*pair.tokens).mean()
    return f"{quality:>9.4f}{1000 * usd:>11.4f}{tokens[0]:>8.1f}{tokens[1]:>9.1f}{seconds:>9.3f}"


def print_transfer(pair: Pair, X: FloatArray) -> None:
    """The same NQ-Open labels, judged by people's verdicts on other models' answers to the same questions."""
    judged = {row["question"]: row for row in shared_rows("outcomes/nq_open_human_judged") if not row.get("improper")}
    print("  transfer to human verdicts (kernel, bge-small)")
    for weak_name, strong_name in (("gpt35", "gpt4"), ("chatgpt", "gpt4")):
        kept = np.array([q in judged for q in pair.questions])
        rows = [judged[q] for q in pair.questions if q in judged]
        weak, strong = (np.array([float(row["human_correct"][m]) for row in rows]) for m in (weak_name, strong_name))
        for kind in (PAPER, "soft margin of SE", DEFAULT, BEST_TRUE):
            curve = cost_quality_curve(prompt_scores("kernel", X, pair.targets[kind])[kept], weak, strong)
            low, high = curve.interval("apgr")
            print(f"  {strong_name} / {weak_name:<9}{kind:<26}{curve.apgr:>8.3f}  [{low:.3f}, {high:.3f}]")


def hidden_state(texts: list[str], pooling: Literal["mean", "last"], model: str = "smollm2-135m") -> FloatArray:
    """The weak model's own reading of the prompt: llama.cpp's embedding of it, kept in demur's cache."""
    identity = f"hidden state of {model}, {pooling}"

    async def ask(missing: list[str]) -> dict[str, FloatArray]:
        async with (
            running_endpoint(ModelConfig(model), parallel=1, pooling=pooling) as endpoint,
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
    parser.add_argument("--figure", type=Path, help="draw the curves of NQ-Open there (PNG), and stop")
    options = parser.parse_args()
    print(describe())
    if options.figure:
        pair = next(iter(nq_open()))
        X = embeddings(pair.questions, "bge-small")
        figures.save(headline(pair, X, Folded(X, pair.targets[DEFAULT])), options.figure)
        return
    for source in (nq_open, local_pair, gsm8k):
        for at, pair in enumerate(source()):
            encoders = {name: embeddings(pair.questions, name) for name in ("minilm", "bge-small")}
            if source is local_pair and not options.quick:
                hidden = {f"weak {pooling}": hidden_state(pair.questions, pooling) for pooling in POOLINGS}
                both = {f"bge+{name}": np.hstack([encoders["bge-small"], X]) / np.sqrt(2) for name, X in hidden.items()}
                encoders |= hidden | both
            known_only = source is nq_open and at == 1
            print_labels(
                pair, {"bge-small": encoders["bge-small"]} if known_only else encoders, METHODS[2 * known_only :]
            )
            routers = Folded(encoders["bge-small"], pair.targets[DEFAULT])
            print_stages(pair, routers)
            if source is nq_open and at == 0:
                print_transfer(pair, encoders["bge-small"])
            if pair.tokens is not None:
                print_front(pair, routers)


if __name__ == "__main__":
    main()
