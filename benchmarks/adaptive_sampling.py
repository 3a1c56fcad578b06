"""How much of what ten samples give is kept by two samples of every prompt and more of those that these leave open?

Share of the gain in APGR over random that is kept, against all samples that there are, with 95 % bootstrap intervals
over prompts: kernel router, 5-fold, on the true quality of all samples; beside it samples per prompt, and the slope
that the believed label estimates. Every rule reads the samples in the same drawn orders. Pairs of the same prompts
count as one. The rule and the estimate of the slope were chosen on the odd prompts of `samples/local_pair`; its even
prompts, the catalogue's models on other questions (`data/label_samples.jsonl.gz`, six samples) and NQ-Open (no texts:
calibrated labels, settled where either model's classes say so) confirm them. Texts mean the same where rules say so
(`exact_match`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from demur.labels.beliefs.belief import belief_weight, believed_gains, confirmed_slope, pair_shares, without_silence
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.sureness import calibrated_targets
from demur.labels.settled_prompts import is_settled
from demur.labels.targets import gain_targets
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.meaning.rules.declined_answers import says_nothing
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.prompts.grading import grade
from demur.records import FloatArray, IntArray, Prompt, Sample
from demur.statistics import interval, mean_ranks
from environment import describe, on_one_thread, shared_rows
from label_rules import local_samples, new_samples
from nq_open import STRONG, WEAK, both, correctness, embeddings
from staged_nq import nq_clusters, nq_sureness

FEWEST, MOST = 2, 5
Order = tuple[IntArray, IntArray]  # in which the strong and the weak model's samples are read


@dataclass(frozen=True)
class Pair:
    """Two models on the same prompts."""

    name: str
    texts: Sequence[str]
    joint: Sequence[IntArray]  # clusters over both models' samples, the strong ones first
    gains: FloatArray  # (n,) true quality gained by escalating
    targets: Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], tuple[FloatArray, float]]


def settled(joint: IntArray) -> bool:
    """The rule: either model agrees with itself."""
    return is_settled(joint)


def strong_settled(joint: IntArray) -> bool:
    """The strong model agrees with itself, whatever the weak one does."""
    return len(set(joint[: len(joint) // 2].tolist())) == 1


def settled_or_hopeless(joint: IntArray) -> bool:
    """Either model agrees with itself, or no answer with any other: such a prompt could not be told to be unknown."""
    return is_settled(joint) or len(set(joint.tolist())) == len(joint)


Rule = Callable[[IntArray], bool]  # do the first samples, as `drawn`, settle a prompt?
RULES: Mapping[str, tuple[Rule, int]] = {  # and how many samples the others get
    f"{FEWEST}..{MOST} (default)": (settled, MOST),
    f"{FEWEST}..4": (settled, 4),
    "the default, strong model alone": (strong_settled, MOST),
    "the default, or none equal": (settled_or_hopeless, MOST),
}


def drawn(joint: IntArray, order: Order, n: int) -> IntArray:
    """Clusters over the first n samples of either model, in that order."""
    strong, weak = np.split(joint, 2)
    return np.concatenate([strong[order[0][:n]], weak[order[1][:n]]])


def counts(pair: Pair, orders: Sequence[Order], rule: str | int, most: int) -> list[int]:
    """Samples of each prompt: a fixed number, or as many as a rule calls for."""
    if isinstance(rule, int):
        return [rule] * len(pair.joint)
    first = (drawn(ids, order, FEWEST) for ids, order in zip(pair.joint, orders, strict=True))
    settles, others = RULES[rule]
    return [FEWEST if settles(ids) else min(others, most) for ids in first]


def from_texts(name: str, prompts: Sequence[Prompt], weak: list[list[Sample]], strong: list[list[Sample]]) -> Pair:
    """Believed labels."""
    joint = [
        without_silence(ids, np.array([says_nothing(one.text) for one in (*s, *w)]))
        for ids, w, s in zip(
            joint_clusters(prompts, weak, strong, Meanings(exact_match)).ids, weak, strong, strict=True
        )
    ]
    right = [
        np.array([np.mean([grade(p, one.text) for one in a]) for p, a in zip(prompts, side, strict=True)])
        for side in (weak, strong)
    ]

    def targets(strong_read: Sequence[Sequence[int]], weak_read: Sequence[Sequence[int]]) -> tuple[FloatArray, float]:
        n = len(strong[0])
        read = [
            np.concatenate([ids[:n][list(s)], ids[n:][list(w)]])
            for ids, s, w in zip(joint, strong_read, weak_read, strict=True)
        ]
        slope = confirmed_slope(read)
        return gain_targets(believed_gains(pair_shares(read), belief_weight(slope))), slope

    return Pair(name, [prompt.text for prompt in prompts], joint, right[1] - right[0], targets)


def nq_open() -> Pair:
    """Calibrated sureness, since there are no texts; a prompt is settled where both models' classes agree."""
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    ids = {m: nq_clusters([row["models"][m]["class_size"] for row in rows])[0] for m in (WEAK, STRONG)}
    sums = {m: np.array([row["models"][m]["nll_sum"] for row in rows]) for m in (WEAK, STRONG)}
    joint = [np.concatenate([s, 1000 + w]) for s, w in zip(ids[STRONG], ids[WEAK], strict=True)]
    right = both(rows, correctness)

    def targets(strong_read: Sequence[Sequence[int]], weak_read: Sequence[Sequence[int]]) -> tuple[FloatArray, float]:
        sure = []
        for model, read in ((WEAK, weak_read), (STRONG, strong_read)):
            clusters = [one[list(chosen)] for one, chosen in zip(ids[model], read, strict=True)]
            widest = max(map(len, read))
            padded = np.array(
                [row[np.resize(list(chosen), widest)] for row, chosen in zip(sums[model], read, strict=True)]
            )
            sure.append(nq_sureness(clusters, padded))  # a settled prompt's samples stand for further ones
        return calibrated_targets(*sure), float("nan")

    name = f"NQ-Open: {WEAK} -> {STRONG}"
    return Pair(name, [row["question"] for row in rows], joint, right[1] - right[0], targets)


def text_pairs(samples: tuple[Sequence[Prompt], Mapping[str, list[list[Sample]]]], rows: slice) -> Iterator[Pair]:
    """Every pair of models on some of the prompts, the better one as the strong model."""
    prompts, sides = samples[0][rows], {model: side[rows] for model, side in samples[1].items()}
    quality = {
        model: np.mean([grade(p, one.text) for p, a in zip(prompts, side, strict=True) for one in a])
        for model, side in sides.items()
    }
    for weak, strong in combinations(sorted(sides, key=lambda model: quality[model]), 2):
        yield from_texts(f"{weak} -> {strong}", prompts, sides[weak], sides[strong])


def measure(pair: Pair, draws: int) -> dict[str | int, tuple[float, float, FloatArray]]:
    """Rule -> samples per prompt, slope, and (n,) true gain that the router catches above random."""
    most = len(pair.joint[0]) // 2
    vectors = embeddings(list(pair.texts), "bge-small")
    random = np.random.default_rng(0)
    found: dict[str | int, list[tuple[float, float, FloatArray]]] = {}
    for _ in range(draws):
        orders = [(random.permutation(most), random.permutation(most)) for _ in pair.joint]
        rules: list[str | int] = [FEWEST, MOST, *([most] if most > MOST else []), *RULES]
        for rule in rules:
            n = counts(pair, orders, rule, most)
            strong, weak = ([order[side][:k].tolist() for order, k in zip(orders, n, strict=True)] for side in (0, 1))
            targets, slope = pair.targets(strong, weak)
            ranks = mean_ranks(held_out_scores(KernelRidge(), vectors, targets))
            found.setdefault(rule, []).append((float(np.mean(n)), slope, pair.gains * (ranks - 0.5)))
    return {
        rule: (
            float(np.mean([one[0] for one in each])),
            float(np.mean([one[1] for one in each])),
            np.mean([one[2] for one in each], axis=0),
        )
        for rule, each in found.items()
    }


def share_of(part: FloatArray, whole: FloatArray, rows: IntArray) -> float:
    """Of the whole's sum over those rows."""
    return float(part[rows].sum() / whole[rows].sum())


def show(title: str, pairs: Sequence[Pair], draws: int) -> None:
    """All pairs of the same prompts as one."""
    measured = [measure(pair, draws) for pair in pairs]
    whole = len(pairs[0].joint[0]) // 2
    rules = list(measured[0])
    caught = {rule: np.sum([one[rule][2] for one in measured], axis=0) for rule in rules}
    gap = float(np.sum([pair.gains.mean() for pair in pairs]))
    print(f"\n{title}: {len(pairs)} pairs, {len(pairs[0].texts)} prompts, {whole} samples each at most")
    print(f"{'samples':<32}{'per prompt':>11}{'APGR':>8}{'gain kept':>11}   95 % interval     slopes")
    rows = np.arange(len(pairs[0].texts))
    for rule in rules:
        share = partial(share_of, caught[rule], caught[whole])
        low, high = interval(rows, share)
        n = np.mean([one[rule][0] for one in measured])
        slopes = " ".join(f"{one[rule][1]:.2f}" for one in measured)
        print(
            f"{rule!s:<32}{n:>11.2f}{0.5 + caught[rule].mean() / gap:>8.3f}{share(rows):>11.3f}"
            f"   [{low:.3f}, {high:.3f}]   {slopes}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2, help="orders of the samples that are averaged")
    parser.add_argument("--only", choices=("chosen", "even", "new", "nq"), help="one group of pairs")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    wanted = (options.only,) if options.only else ("chosen", "even", "new", "nq")
    groups: Mapping[str, tuple[str, Callable[[], list[Pair]]]] = {
        "chosen": ("CHOSEN ON local pairs, odd prompts", lambda: [*text_pairs(local_samples(), slice(1, None, 2))]),
        "even": ("confirmed on local pairs, even prompts", lambda: [*text_pairs(local_samples(), slice(0, None, 2))]),
        "new": ("confirmed on the catalogue's pairs", lambda: [*text_pairs(new_samples(), slice(None))]),
        "nq": ("confirmed on NQ-Open", lambda: [nq_open()]),
    }
    for group in wanted:
        title, pairs = groups[group]
        show(title, pairs(), options.draws)


if __name__ == "__main__":
    main()
