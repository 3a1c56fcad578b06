"""Does a router do harm on prompts of another kind? Trained on one set, measured on others, APGR with 95 % intervals.

The rule that `demur.routing.known.known_lengths` holds was chosen on the rows marked "chosen on": routers of NQ-Open on
MT-Bench, GSM8K and MMLU, of the local pair on the same, and of three sets of the local pair on the fourth. The rows
marked "confirmed on" were computed once, after the rule was fixed: 800 random prompts of LLMRouter's 14 sets, its
weakest model against its strongest. Of GSM8K 600 and of MMLU 1,000 fixed random prompts are taken. The routers are
label-free; quality only measures. ``--served`` prints what the same routers, saved with ``unlike = "unknown"``, say of
the other sets: how many prompts go to the strong model as unlike any training prompt, and what of the gap is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demur import cost_quality_curve
from demur.gate.gate import GateRows, fit_gate
from demur.gate.quality.two_stages import apgr_gain, staged_scores
from demur.methods import BY_NAME, KernelRidge
from demur.methods.fit.cross_validate import held_out_scores
from demur.records import FloatArray
from demur.routing.known.known_lengths import KnownLengths
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from environment import describe, shared_rows
from measured_pairs import DEFAULT, Pair, local_pair, nq_open
from nq_open import embeddings
from outcomes import outcomes

TAKEN = {"mt_bench": 72, "gsm8k": 600, "mmlu": 1000}
CONFIRMED = 800
SERVED_SHARE = 0.3  # of strong calls on the training prompts
WIDTHS = (1.0, 2.0, np.inf)  # of the gate's band


@dataclass(frozen=True)
class Graded:
    """Prompts with both models' quality, (n,) each."""

    name: str
    questions: list[str]
    weak: FloatArray
    strong: FloatArray

    def only(self, kept: np.ndarray) -> Graded:
        return Graded(self.name, [self.questions[i] for i in kept], self.weak[kept], self.strong[kept])


@dataclass(frozen=True)
class Trained:
    """A router of some prompts, and their scores by fits that did not see them."""

    questions: list[str]
    X: FloatArray
    y: FloatArray
    held: FloatArray

    @classmethod
    def on(cls, questions: list[str], X: FloatArray, y: FloatArray) -> Trained:
        return cls(questions, X, y, held_out_scores(BY_NAME["kernel"](), X, y))

    def score(self, X: FloatArray) -> FloatArray:
        return np.asarray(BY_NAME["kernel"]().fit(self.X, self.y).predict_proba(X)[:, 1])

    @property
    def lengths(self) -> KnownLengths:
        found = KnownLengths.of(self.questions, self.held)
        assert found is not None
        return found


def chosen_on() -> Iterator[Graded]:
    for name, count in TAKEN.items():
        questions, weak, strong = outcomes(name)
        yield Graded(name, questions, weak, strong).only(np.random.default_rng(0).permutation(len(questions))[:count])


def confirmed_on() -> Graded:
    rows = shared_rows("outcomes/llmrouter_9models")
    names = sorted(rows[0]["scores"])
    scores = np.array([[float(row["scores"][name]) for name in names] for row in rows])
    order = scores.mean(axis=0).argsort()
    weak, strong = names[order[0]], names[order[-1]]
    found = Graded(
        f"LLMRouter, {strong} / {weak}", [row["question"] for row in rows], scores[:, order[0]], scores[:, order[-1]]
    )
    return found.only(np.random.default_rng(0).permutation(len(rows))[:CONFIRMED])


def apgr(scores: FloatArray, weak: FloatArray, strong: FloatArray) -> str:
    curve = cost_quality_curve(scores, weak, strong)
    low, high = curve.interval("apgr")
    return f"{curve.apgr:.3f} [{low:.3f}, {high:.3f}]"


def line(name: str, router: Trained, scores: FloatArray, graded: Graded) -> None:
    """The method's own scores, the product's, and length alone."""
    far = ~router.lengths.are_known(graded.questions)
    sides = graded.weak, graded.strong
    product = router.lengths.score(scores, graded.questions)
    length = np.array(list(map(len, graded.questions)), dtype=float)
    shown = "".join(f"{apgr(one, *sides):>23}" for one in (scores, product, length))
    print(f"{name:<58}{len(far):>6}{far.mean():>7.0%}{shown}", flush=True)


@dataclass(frozen=True)
class Kept:
    """The encoder, each text embedded once."""

    spec: str

    @property
    def identity(self) -> str:
        return self.spec

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        return embeddings(list(texts), self.spec)


def served(name: str, pair: Pair, y: FloatArray, sets: Sequence[Graded], encoder: str) -> None:
    """Of every set: prompts that are unlike the training prompts, and strong share and gap kept where these are decided
    by their score, and where they are unknown; the threshold is that of a strong share of .3 on the training prompts.
    """
    training = [TrainingPrompt(text, float(t), None, None) for text, t in zip(pair.questions, y, strict=True)]
    record = {"unlike": "unknown"}
    router = train_router(Kept(encoder), KernelRidge(), training, weak="weak", strong="strong", record=record)
    threshold = float(np.quantile(router.training_scores, 1 - SERVED_SHARE))
    for graded in (Graded(name, pair.questions, pair.weak, pair.strong), *sets):
        looked = router.look_at_vectors(embeddings(graded.questions, encoder), graded.questions)
        by_score = looked.scores >= threshold
        sent = by_score | looked.unknown
        gap = graded.strong.mean() - graded.weak.mean()
        kept = [((graded.strong - graded.weak) * way).mean() / gap for way in (by_score, sent)]
        print(
            f"{name + ', ' + graded.name:<58}{len(sent):>6}{looked.unknown.mean():>7.0%}"
            f"{by_score.mean():>12.0%}{kept[0]:>7.2f}{sent.mean():>12.0%}{kept[1]:>7.2f}",
            flush=True,
        )
    first = next(i for i, unlike in enumerate(looked.unknown) if unlike)
    made = router.decide(float(looked.scores[first]), threshold=2.0, familiar=False, untold=looked.untold[first])
    print(f"  of one of them: {made.role}: {made.reason}")


def leave_one_set_out(pair: Pair, X: FloatArray, sets: np.ndarray) -> None:
    """The fourth set by routers of three; then the gate's, with its band as learned, doubled, and without limit."""
    y, gains = pair.targets[DEFAULT], []
    for one in np.unique(sets):
        train = sets != one
        kept = pair.only(~train)
        router = Trained.on(pair.only(train).questions, X[train], y[train])
        own = router.score(X[~train])
        line(
            f"local pair, chosen on {one} (left out)", router, own, Graded(one, kept.questions, kept.weak, kept.strong)
        )
        gate, _ = fit_gate(GateRows(router.held, pair.rows.signals[:, train], pair.rows.gains[train]))
        before = router.lengths.score(own, kept.questions)
        strong = np.repeat(kept.strong[:, None], kept.draft_quality.shape[1], axis=1)
        alone = np.repeat(before[:, None], strong.shape[1], axis=1)
        gains.append(
            [
                apgr_gain(
                    staged_scores(replace(gate, band=width * gate.band), before, kept.drafts).final,
                    *(alone, kept.draft_quality, strong),
                )
                for width in WIDTHS
            ]
        )
    print("\ntwo stages over the prompt alone, APGR, the left-out set; band as learned, doubled, without limit")
    for one, found in zip(np.unique(sets), gains, strict=True):
        print(f"{one:<20}" + "".join(f"{g:>+10.3f} [{low:+.3f}, {high:+.3f}]" for g, low, high in found))
    print(f"{'mean':<20}" + "".join(f"{mean:>+10.3f}{'':17}" for mean in np.array(gains)[:, :, 0].mean(axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="bge-small")
    parser.add_argument("--served", action="store_true", help="what routers say of unlike prompts")
    asked = parser.parse_args()
    encoder = asked.encoder
    print(describe())
    if asked.served:
        print(f"{'':<58}{'n':>6}{'unlike':>7}{'by score: strong, kept':>19}{'unknown: strong, kept':>19}")
        others = [*chosen_on(), confirmed_on()]
        for name, pair in (("NQ-Open", next(nq_open())), ("local pair", next(local_pair()))):
            served(name, pair, pair.targets[DEFAULT], others, encoder)
        return
    print(f"{'':<58}{'n':>6}{'far':>7}{'method alone':>23}{'as served':>23}{'length alone':>23}")
    nq, local = next(nq_open()), next(local_pair())
    routers = {
        name: (pair, Trained.on(pair.questions, embeddings(pair.questions, encoder), pair.targets[DEFAULT]))
        for name, pair in (("NQ-Open", nq), ("local pair", local))
    }
    for name, (pair, router) in routers.items():
        line(f"{name}, 5-fold", router, router.held, Graded(name, pair.questions, pair.weak, pair.strong))
    for kind, every in (("chosen on", [*chosen_on()]), ("confirmed on", [confirmed_on()])):
        for graded in every:
            X = embeddings(graded.questions, encoder)
            for name, (_, router) in routers.items():
                line(f"{name}, {kind} {graded.name}", router, router.score(X), graded)
    sets = np.array([row["source"] for row in shared_rows("samples/local_pair")])
    leave_one_set_out(local, routers["local pair"][1].X, sets)


if __name__ == "__main__":
    main()
