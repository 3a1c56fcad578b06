"""By how much the forecast of what is saved, and what a ledger counts as saved, miss on prompts not seen in training.

Prompts are split at random, twenty times: four fifths stand for the training prompts, up to 80 others for new ones. A
new prompt's answer by the large model is expected to be as long as the mean of those to the three nearest training
prompts, as `demur replay` expects it, as those to the nearest one, as the mean of that prompt's kind, or as that of
all. What the calls that stay local save by that is compared with what they save by the prompts' own answers, and with
the 95 % interval that `demur replay` gives it. The small model costs nothing here.

A ledger sees the small model's answer, and takes the large one's to be as long times a ratio: of all training prompts,
or, as the gateway does, of those that the threshold leaves to the small model. Beside how far what it counts is off
stands how often its 95 % interval held what the large model's answers would have cost.

Of runs that are trained, scores are those of fits without the prompt, and a new prompt next to an unknown one is
unknown. With ``--stored`` the sets are outcomes of other pairs (`DEMUR_SHARED`): a kernel router learns by how much the
large model's quality is above the small one's, from 600 prompts and from 240.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from demur.config import load_run
from demur.evaluation.replay import saved_interval
from demur.evaluation.report.headline import learned_prompts
from demur.gate.router import Router
from demur.gateway.ledger.totals.bills import INTERVAL
from demur.labels.prompt_kinds import PromptKinds
from demur.methods.estimator import unit_rows
from demur.methods.kernel import KernelRidge
from demur.models.encoders.encoder import load_encoder
from demur.models.images.joined_encoder import embed
from demur.models.prices import CHARACTERS_PER_TOKEN
from demur.records import BoolArray, FloatArray, IntArray
from demur.routing.known.known_costs import LIKE
from demur.routing.known.length_ratios import length_ratio_at, length_ratios
from demur.runs.run import open_run
from environment import describe, on_one_thread, shared_rows

SPLITS, NEW, FOLDS = 20, 80, 5
TRAINED = (600, 240)  # prompts, of stored sets
SHARES = (0.3, 0.5, 0.7)
EXPECTED = (f"the {LIKE} nearest prompts", "the nearest prompt", "its kind", "all prompts")
RATIOS = ("ratio of all prompts", "ratio of those that stay local")
USD_IN, USD_OUT = 2.5, 10.0  # per million tokens, of stored sets whose answers have no price

Lengths = Sequence[Sequence[float]]  # tokens of each prompt's answers
Scores = Callable[[IntArray, IntArray, IntArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class Priced:
    """Prompts with what the large model's answer to each costs; ``scores`` of the old and the new ones of a split, from
    their numbers and the (m,) old one nearest to each new one."""

    name: str
    vectors: FloatArray  # (n, d) unit rows
    asked: FloatArray  # (n,) USD of the prompt
    answered: FloatArray  # (n,) USD of the answer
    kinds: IntArray  # (n,)
    scores: Scores
    trained: int
    tokens: tuple[Lengths, Lengths] | None  # of the small and of the large model
    usd_out: float  # a token of the large model


def of_run(folder: Path) -> Priced:
    """The prompts of a run that is trained."""
    router = Router.load(folder / "router").prompt_router
    texts, looked = learned_prompts(router)
    kinds = np.array((PromptKinds.from_record(router.record) or PromptKinds(())).of)
    with open_run(load_run(folder)) as run:
        ids = {prompt.text: prompt.id for prompt in run.prompts}
        sides = [[side[ids[text]] for text in texts] for side in (run.samples.weak, run.samples.strong)]
    price = router.cost("strong")
    if price is None or len(kinds) != len(texts):
        raise SystemExit(f"{folder}: the large model's price or the kinds of prompts are not recorded")
    small, large = ([[float(one.completion_tokens) for one in each] for each in side] for side in sides)
    lengths = np.array(list(map(np.mean, large)))
    asked = np.array([float(each[0].prompt_tokens) for each in sides[1]])
    scores = np.where(router.unknown_setting.settled_rows(looked.untold), np.inf, looked.scores)

    def of(old: IntArray, new: IntArray, nearest: IntArray) -> tuple[FloatArray, FloatArray]:
        return scores[old], np.where(np.isinf(scores[nearest]), np.inf, looked.scores[new])

    vectors = unit_rows(embed(router.encoder, texts))
    usd = (asked * price.usd_per_input_token, lengths * price.usd_per_output_token)
    return Priced(str(folder), vectors, *usd, kinds, of, len(texts), (small, large), price.usd_per_output_token)


def stored(
    name: str,
    texts: list[str],
    asked: FloatArray,
    answered: FloatArray,
    better: FloatArray,
    small: Lengths | None = None,
) -> Iterator[Priced]:
    """Outcomes of a pair; ``better``: by how much the large model's quality is above the small one's, at least 0."""
    vectors = unit_rows(embed(load_encoder("bge-small-6"), texts))

    def of(old: IntArray, new: IntArray, nearest: IntArray) -> tuple[FloatArray, FloatArray]:
        fold, held_out = np.arange(len(old)) % FOLDS, np.empty(len(old))
        for one in range(FOLDS):
            there = fold != one
            held_out[~there] = fitted(old[there])(vectors[old[~there]])
        return held_out, fitted(old)(vectors[new])

    def fitted(rows: IntArray) -> Callable[[FloatArray], FloatArray]:
        method = KernelRidge().fit(vectors[rows], better[rows])
        return lambda X: np.asarray(method.predict_proba(X)[:, 1])

    tokens = None if small is None else (small, [[one] for one in answered / USD_OUT])
    for trained in TRAINED:
        kinds, called = np.zeros(len(texts), int), f"{name}, {trained} prompts"
        yield Priced(called, vectors, asked, answered, kinds, of, trained, tokens, USD_OUT)


def stored_sets() -> Iterator[Priced]:
    """Short answers; answers of three lengths together; nine sets together, of two pairs; long answers."""
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    large, small = ([row["models"][name] for row in rows] for name in ("gpt-3.5-turbo", "llama-2-7b-chat"))
    tokens = np.array([np.mean(_nq_tokens(one)) for one in large])
    good = (np.mean(np.array([one["rouge_l"] for one in side]) > 0.5, axis=1) for side in (large, small))
    strong, weak = good
    texts, asked = [row["question"] for row in rows], np.full(len(rows), 15 * USD_IN)
    yield from stored("NQ-Open", texts, asked, tokens * USD_OUT, strong * (1 - weak), list(map(_nq_tokens, small)))

    parts = ("triviaqa", "gsm8k", "mmlu")
    rows = [row for part in parts for row in shared_rows(f"outcomes/pool9_{part}")[:700]]
    large, small = ([row["models"][name] for row in rows] for name in ("gpt-4o", "llama3.2-1b"))
    usd = (_field(large, "prompt_tokens") * USD_IN, _field(large, "completion_tokens") * USD_OUT)
    gain, tokens = _gain(_field(large, "correct"), _field(small, "correct")), _field(small, "completion_tokens")
    yield from stored("pool9", [row["text"] for row in rows], *usd, gain, tokens[:, None].tolist())

    rows = shared_rows("outcomes/paretobandit_val_k4")
    texts, scores = [row["question"] for row in rows], [row["scores"] for row in rows]
    for name in ("gemini-2.5-pro", "mistral-large-2512"):
        gain = _gain(_field(scores, name), _field(scores, "llama-3.1-8b-instruct"))
        yield from stored(name, texts, np.zeros(len(rows)), _field([row["usd"] for row in rows], name), gain)

    rows = shared_rows("preferences/alpacaeval_4models")
    large, small = ([row["models"][name] for row in rows] for name in ("gpt4_1106_preview", "gpt-3.5-turbo-1106"))
    tokens = _field(large, "length") / CHARACTERS_PER_TOKEN
    texts, asked = [row["instruction"] for row in rows], np.full(len(rows), 30 * USD_IN)
    shorter = _field(small, "length")[:, None] / CHARACTERS_PER_TOKEN
    gain = 1 - _field(small, "preference")
    yield from stored("AlpacaEval", texts, asked, tokens * USD_OUT, gain, shorter.tolist())

    questions = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")[::7]
    large, small = ([row["models"][name] for row in questions] for name in ("gpt-3.5-turbo", "llama-2-7b-chat"))
    strong, weak = (np.array([np.mean(np.array(one["rouge_l"]) > 0.5) for one in side]) for side in (large, small))
    tokens = np.append([np.mean(_nq_tokens(one)) for one in large], tokens[::3])
    texts, gain = [*(row["question"] for row in questions), *texts[::3]], np.append(strong * (1 - weak), gain[::3])
    lengths = [*map(_nq_tokens, small), *shorter[::3].tolist()]
    asked = np.full(len(texts), 20 * USD_IN)
    yield from stored("NQ-Open among AlpacaEval", texts, asked, tokens * USD_OUT, gain, lengths)


def _nq_tokens(answers: Mapping[str, Sequence[float]]) -> list[float]:
    total, mean = np.array(answers["nll_sum"]), np.array(answers["nll_mean"])
    return [float(one) for one in np.where(mean > 0, total / np.maximum(mean, 1e-9), 1.0)]


def _field(rows: Sequence[Mapping[str, Any]], name: str) -> FloatArray:
    return np.array([float(row[name]) for row in rows])


def _gain(large: FloatArray, small: FloatArray) -> FloatArray:
    return np.maximum(0.0, large - small)


def expected_usd(similar: IntArray, usd: FloatArray, kinds: IntArray) -> list[FloatArray]:
    """(m,) USD of new prompts' answers by each of EXPECTED; ``similar``, (m, n): training prompts, nearest first."""
    of_kind = np.array([usd[kinds == kind].mean() for kind in kinds])
    nearest = similar[:, 0]
    return [usd[similar[:, :LIKE]].mean(axis=1), usd[nearest], of_kind[nearest], np.full(len(similar), usd.mean())]


def threshold_of(scores: FloatArray, share: float) -> float:
    """Halfway between two scores, as calibration sets it."""
    below, above = np.sort(scores)[round((1 - share) * len(scores)) - 1 :][:2]
    return float(below if np.isinf(above) else (below + above) / 2) if below < above else float(np.nextafter(below, 2))


def misses(of: Priced) -> tuple[FloatArray, FloatArray]:
    """(splits, shares, expectations) forecast less true saving, in percentage points, and whether the interval of the
    first expectation holds the true one, (splits, shares)."""
    found, held = [], []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(of.vectors))
        new, old = np.split(order, [min(NEW, len(order) // 5)])
        old = old[: of.trained]
        similar = np.argsort(-(of.vectors[new] @ of.vectors[old].T), axis=1)
        of_old, of_new = of.scores(old, new, old[similar[:, 0]])
        expected = expected_usd(similar, of.answered[old], of.kinds[old])
        for share in SHARES:
            local = of_new < threshold_of(of_old, share)

            def saved(usd: FloatArray, local: BoolArray = local) -> float:
                return 100 * float(usd[local].sum() / usd.sum())

            true = saved(of.asked[new] + of.answered[new])
            found += [saved(of.asked[new] + each) - true for each in expected]
            usd = of.asked[new] + expected[0]
            ends = saved_interval(np.where(local, 0.0, usd), usd)
            held.append(ends is not None and 100 * ends[0] <= true <= 100 * ends[1])
    shape = (SPLITS, len(SHARES))
    return np.array(found).reshape(*shape, len(EXPECTED)), np.array(held, dtype=bool).reshape(shape)


def ledger_misses(of: Priced) -> tuple[FloatArray, BoolArray]:
    """(splits, shares, 2) what a ledger counts as saved less what was, in percentage points, by the ratio of all
    prompts and by that of the prompts that stay local; and whether the interval held it."""
    assert of.tokens is not None
    found, held = [], []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(of.vectors))
        new, old = np.split(order, [min(NEW, len(order) // 5)])
        old = old[: of.trained]
        of_old, of_new = of.scores(old, new, old[np.argmax(of.vectors[new] @ of.vectors[old].T, axis=1)])
        record = length_ratios(of_old, *([side[i] for i in old] for side in of.tokens))
        small = of.usd_out * np.array([of.tokens[0][i][0] for i in new])
        for share in SHARES:
            threshold = threshold_of(of_old, share)
            local = of_new < threshold
            rest, asked = (of.asked + of.answered)[new][~local].sum(), of.asked[new][local].sum()
            true = of.answered[new][local].sum()
            for used in (None, threshold):
                ratio = length_ratio_at(record, used)
                assert ratio is not None
                guess = ratio.ratio * small[local]
                error = np.hypot(ratio.error * small[local].sum(), np.sqrt(np.sum((ratio.spread * guess) ** 2)))
                counted = [(asked + one) / (asked + one + rest) for one in (guess.sum(), true)]
                found.append(100 * (counted[0] - counted[1]))
                held.append(abs(guess.sum() - true) <= INTERVAL * error)
    shape = (SPLITS, len(SHARES), 2)
    return np.array(found).reshape(shape), np.array(held, dtype=bool).reshape(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs that are trained")
    parser.add_argument("--stored", action="store_true", help="also outcomes of other pairs")
    given = parser.parse_args()
    on_one_thread()
    print(describe())
    for of in chain(map(of_run, given.runs), stored_sets() if given.stored else ()):
        off, held = misses(of)
        print(f"\n{of.name}: forecast less true saving in percentage points, mean (root mean square), {SPLITS} splits")
        for at, share in enumerate(SHARES):
            shown = (
                f"{name} {values.mean():+.1f} ({np.sqrt((values**2).mean()):.1f})"
                for name, values in zip(EXPECTED, off[:, at].T, strict=True)
            )
            print(f"  strong share {share:.0%}: {'; '.join(shown)}; within the interval {held[:, at].mean():.0%}")
        if of.tokens is None:
            continue
        counted, within = ledger_misses(of)
        for at, name in enumerate(RATIOS):
            values, inside = counted[:, :, at], within[:, :, at].mean()
            means = ", ".join(f"{one:+.1f}" for one in values.mean(axis=0))
            root = np.sqrt((values**2).mean())
            print(f"  a ledger, {name}: {means} ({root:.1f}); within the interval {inside:.0%}")


if __name__ == "__main__":
    main()
