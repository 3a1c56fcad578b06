"""Learning from traffic on streams of stored samples: what is learned from nothing, shifts, budgets, poison, promises.

Streams are drawn from NQ-Open (gpt-3.5-turbo over Llama-2-7b-chat, no texts: labels of sureness) and from
`samples/local_pair` (labels of believed gain, rules and equal texts decide meaning); budgets from
`outcomes/paretobandit_val_k4`. Every figure is the mean over runs with fixed seeds and its 95 % interval.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from demur.labels.beliefs.belief import belief_weight, believed_gains, confirmed_slope, pair_shares
from demur.labels.beliefs.believed_gain import believed_area
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.sureness import Sureness, calibrated_targets
from demur.labels.targets import gain_targets
from demur.learning.promotion import CHANCE, KINDS, Looks, better_by_kind, compare
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.measure.drift import Watch
from demur.measure.pace import Pace
from demur.measure.watched_promise import WatchedPromise
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge, group_means, nearest
from demur.records import FloatArray, IntArray, Prompt
from demur.statistics import interval
from environment import describe, on_one_thread, shared_rows
from measured_pairs import sample
from nq_open import STRONG, WEAK, both, correctness, embeddings
from staged_nq import nq_clusters, nq_sureness

SAMPLES = 4  # per prompt and model, of what is learned
EVERY = 50  # new labels between two candidates
ARITHMETIC = "mawps"
KEPT = ("entropy", "consistency", "coverage")  # of every prompt, by its own samples alone
BEFORE, RELEARNED = 400, 600  # prompts of one meaning, and of another after them
POISONED, HONEST = 400, 400  # prompts whose labels are shuffled, and before them in some runs
# ParetoBandit's published ceilings (USD per request), arXiv 2604.00136.
CEILINGS = (2.929e-5, 8.288e-5, 2.345e-4, 6.637e-4, 1.878e-3, 5.314e-3, 1.504e-2)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)  # of strong calls
ARMS = ("llama-3.1-8b-instruct", "mistral-large-2512", "gemini-2.5-pro")


@dataclass(frozen=True)
class Stream:
    """Prompts that may arrive, and what the samples of any of them make one believe."""

    name: str
    vectors: FloatArray  # (n, d)
    targets: Callable[[IntArray], FloatArray]  # of chosen prompts together, from SAMPLES samples of each
    gains: FloatArray  # (n,) believed, from all samples
    groups: Sequence[str]


def nq_stream() -> Stream:
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    models = (WEAK, STRONG)
    clusters = {model: nq_clusters([row["models"][model]["class_size"] for row in rows])[0] for model in models}
    sums = {model: np.array([row["models"][model]["nll_sum"] for row in rows]) for model in models}

    def sureness(n: int) -> list[Sureness]:
        return [nq_sureness([ids[:n] for ids in clusters[model]], sums[model][:, :n]) for model in models]

    first = sureness(SAMPLES)

    def targets(chosen: IntArray) -> FloatArray:
        weak, strong = (replace(one, **{name: getattr(one, name)[chosen] for name in KEPT}) for one in first)
        return calibrated_targets(weak, strong)

    everything = 2 * calibrated_targets(*sureness(10)) - 1
    vectors = embeddings([row["question"] for row in rows], "bge-small")
    return Stream("NQ-Open", vectors, targets, everything, ["nq"] * len(rows))


def local_stream() -> Stream:
    rows = shared_rows("samples/local_pair")
    names = list(rows[0]["models"])
    weak, strong = (
        next(name for name in names if name.startswith(start)) for start in ("smollm2", "qwen2.5-coder-1.5")
    )
    prompts = [Prompt(row["id"], row["question"]) for row in rows]
    answers = {
        model: [[sample(i, one["text"], None) for i, one in enumerate(row["models"][model]["samples"])] for row in rows]
        for model in (weak, strong)
    }
    joint = joint_clusters(prompts, answers[weak], answers[strong], Meanings(exact_match)).ids

    def believed(chosen: IntArray, n: int) -> FloatArray:
        ids = [np.concatenate([joint[i][:n], joint[i][10 : 10 + n]]) for i in chosen]
        return believed_gains(pair_shares(ids), belief_weight(confirmed_slope(ids)))

    vectors = embeddings([row["question"] for row in rows], "bge-small")
    everything = believed(np.arange(len(rows)), 10)
    groups = [row["source"] for row in rows]
    return Stream("local pair", vectors, lambda chosen: gain_targets(believed(chosen, SAMPLES)), everything, groups)


@dataclass
class Learner:
    """What `demur learn` does, without models and files: labels, candidates, comparisons, promotions."""

    stream: Stream
    learned: list[int]
    serving: KernelRidge | None = None
    trained_on: int = 0
    held_out: FloatArray | None = None
    compared: int = 0
    looks: Looks = field(default_factory=Looks)

    def see(self, prompt: int) -> None:
        """A prompt is sampled; a candidate is tried with every so many."""
        self.learned.append(prompt)
        if len(self.learned) - self.compared >= EVERY:
            self.compared = len(self.learned)
            self.refit()

    def refit(self) -> None:
        chosen = np.array(self.learned)
        X, y = self.stream.vectors[chosen], self.stream.targets(chosen)
        if len(np.unique(y)) < 2:
            return
        recent, gains, now = np.arange(len(y)) >= self.trained_on, 2 * y - 1, None
        level = CHANCE
        kinds, scores = 1, held_out_scores(KernelRidge(), X, y)
        if self.serving is not None:
            by_kind = held_out_scores(KernelRidge(kinds=KINDS), X, y)
            if better_by_kind(scores, by_kind, gains, recent):
                kinds, scores = KINDS, by_kind
            now = self.serving.predict_proba(X)[:, 1]
            now[: self.trained_on] = self.held_out
        else:
            level = self.looks.level(len(y))
            self.looks = self.looks.after(len(y))
        if compare(scores, now, gains, recent, vectors=X, level=level).better:
            self.serving = KernelRidge(kinds=kinds).fit(X, y)
            self.trained_on, self.held_out = len(chosen), scores

    def scores(self, prompts: IntArray) -> FloatArray | None:
        return None if self.serving is None else self.serving.predict_proba(self.stream.vectors[prompts])[:, 1]


def shown(values: Sequence[float]) -> str:
    low, high = interval(np.array(values))
    return f"{np.mean(values):.4f} [{low:.4f}, {high:.4f}]"


def from_nothing(stream: Stream, runs: int, looks: Sequence[int]) -> None:
    """Share of the believed gain of a router trained on all prompts (ten samples each), on prompts held out."""
    n = len(stream.gains)
    held = min(1000, n // 4)
    reached: dict[int, list[float]] = {look: [] for look in looks}
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(n)
        asked, arriving = order[:held], order[held:]
        full = KernelRidge().fit(stream.vectors[arriving], (1 + stream.gains[arriving]) / 2)
        most = believed_area(full.predict_proba(stream.vectors[asked])[:, 1], stream.gains[asked])
        learner = Learner(stream, [])
        for seen, prompt in enumerate(arriving[: max(looks)], start=1):
            learner.see(int(prompt))
            if seen in reached:
                scores = learner.scores(asked)
                reached[seen].append(0.0 if scores is None else believed_area(scores, stream.gains[asked]) / most)
    for look, values in reached.items():
        promoted = np.mean(np.array(values) != 0)
        print(f"  {stream.name}: {look:>5} prompts seen: {shown(values)} of it; a router serves in {promoted:.0%}")


def shift(stream: Stream, runs: int) -> None:
    """Facts, then arithmetic, then facts again: the share asked for, the alarm, and what is learned anew."""
    facts = np.array([i for i, group in enumerate(stream.groups) if group != ARITHMETIC])
    sums = np.array([i for i, group in enumerate(stream.groups) if group == ARITHMETIC])
    after, alarmed, relearned, own, false = [], [], [], [], 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        first = random.permutation(facts)[:400]
        learner = Learner(stream, [])
        for prompt in first:
            learner.see(int(prompt))
        router = learner.serving or KernelRidge().fit(stream.vectors[first], stream.targets(first))
        known = router.predict_proba(stream.vectors[first])[:, 1]
        pace = Pace.begin(0.3, [((0.0, float(x)), (0.0, 1.0)) for x in known])
        watch = Watch()
        for prompt in random.choice(np.setdiff1d(facts, first), 600):
            score = float(router.predict_proba(stream.vectors[[prompt]])[0, 1])
            strong = pace.choose((0.0, score), (0.0, 1.0))
            pace.pay(float(strong))
            false += watch.add(score)
            if watch.alarmed:
                watch.begin_again()
        chosen, noticed = [], None
        half = random.permutation(sums)
        taken, asked = half[: len(half) * 2 // 3], half[len(half) * 2 // 3 :]
        for i, prompt in enumerate(random.choice(taken, 1500)):
            score = float(router.predict_proba(stream.vectors[[prompt]])[0, 1])
            strong = pace.choose((0.0, score), (0.0, 1.0))
            pace.pay(float(strong))
            chosen.append(strong)
            if noticed is None and watch.add(score):
                noticed = i + 1
        after.append(float(np.mean(chosen[500:])))
        alarmed.append(math.inf if noticed is None else noticed)
        for prompt in taken:
            learner.see(int(prompt))
        best = KernelRidge().fit(stream.vectors[taken], stream.targets(taken))
        most = believed_area(best.predict_proba(stream.vectors[asked])[:, 1], stream.gains[asked])
        scores = learner.scores(asked)
        relearned.append(0.0 if scores is None else believed_area(scores, stream.gains[asked]))
        own.append(most)
    print(f"  share 500 requests after the shift (asked: .300): {shown(after)}")
    print(f"  requests until the alarm on scores: median {np.median(alarmed):g}, largest {np.max(alarmed):g}")
    print(f"  false alarms in {600 * runs:,} requests before it: {false}")
    print(
        f"  believed gain on the new domain after {len(taken)} of its prompts: {shown(relearned)}, of a router of its "
        f"own: {shown(own)}"
    )


def relearn(stream: Stream, runs: int) -> None:
    """Prompts of one meaning, then 600 of another: what the router that serves has learned of the other ones."""
    kind = nearest(stream.vectors, group_means(stream.vectors, 2))
    known, new = (np.flatnonzero(kind == one) for one in (0, 1))
    found: dict[str, list[float]] = {"before": [], "after": [], "own": []}
    for seed in range(runs):
        random = np.random.default_rng(seed)
        first, order = random.permutation(known)[:BEFORE], random.permutation(new)
        taken, asked = order[:RELEARNED], order[RELEARNED : 2 * RELEARNED]
        learner = Learner(stream, [])
        for name, prompts in (("before", first), ("after", taken)):
            for prompt in prompts:
                learner.see(int(prompt))
            scores = learner.scores(asked)
            found[name].append(0.0 if scores is None else believed_area(scores, stream.gains[asked]))
        own = KernelRidge().fit(stream.vectors[taken], stream.targets(taken))
        found["own"].append(believed_area(own.predict_proba(stream.vectors[asked])[:, 1], stream.gains[asked]))
    before, after, own_gain = (shown(found[name]) for name in ("before", "after", "own"))
    print(
        f"  {stream.name}, {len(known)} and {len(new)} prompts of two meanings: believed gain on the new one before it "
        f"came {before}, after {RELEARNED} of its prompts {after}, of a router of its own {own_gain}"
    )


def stationary(stream: Stream, runs: int) -> None:
    """False alarms in ten thousand requests of the same kind."""
    alarms = []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        order = random.permutation(len(stream.gains))
        chosen = order[:400]
        y = stream.targets(chosen)
        router = KernelRidge().fit(stream.vectors[chosen], y)
        watch = Watch()
        found = 0
        for score in router.predict_proba(stream.vectors[random.choice(order[400:], 10_000)])[:, 1]:
            if watch.add(float(score)):
                found += 1
                watch.begin_again()
        alarms.append(found)
    print(
        f"  {stream.name}: false alarms in 10,000 stationary requests: mean {np.mean(alarms):.2f}, most {max(alarms)}"
    )


def budgets(runs: int) -> None:
    """Seven ceilings on ParetoBandit's validation prompts: learned on one half, paced over the other, drawn anew."""
    rows = shared_rows("outcomes/paretobandit_val_k4")
    X = embeddings([row["question"] for row in rows], "bge-small")
    reward = np.array([[row["scores"][arm] for arm in ARMS] for row in rows])
    usd = np.array([[row["usd"][arm] for arm in ARMS] for row in rows])
    found: dict[float, list[Paced]] = {ceiling: [] for ceiling in CEILINGS}
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(len(rows))
        known, arriving = order[: len(rows) // 2], order[len(rows) // 2 :]
        predicted = np.stack([ridge(X[known], reward[known, arm], X) for arm in range(len(ARMS))], axis=1)
        expected = np.stack([np.exp(ridge(X[known], np.log(usd[known, arm]), X)) for arm in range(len(ARMS))], axis=1)
        expected *= usd[known].mean(axis=0) / expected[known].mean(axis=0)
        for ceiling in CEILINGS:
            found[ceiling].append(paced(predicted, expected, reward, usd, known, arriving, ceiling))
    for ceiling, each in found.items():
        print(f"  ${ceiling:.3e} a request: {budget_line(each)}")


def budgets_of_calls(stream: Stream, runs: int) -> None:
    """Seven shares of strong calls on NQ-Open, by a router of 800 prompts; reward: right answers."""
    n, found = len(stream.gains), {share: list[Paced]() for share in SHARES}
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    reward, calls = np.stack(both(rows, correctness), axis=1), np.tile([0.0, 1.0], (n, 1))
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(n)
        known, arriving = order[:800], order[800:]
        router = KernelRidge().fit(stream.vectors[known], stream.targets(known))
        values = np.stack([np.zeros(n), router.predict_proba(stream.vectors)[:, 1]], axis=1)
        for share in SHARES:
            found[share].append(paced(values, calls, reward, calls, known, arriving, share))
    for share, each in found.items():
        print(f"  {stream.name}, strong calls at most {share:.0%}: {budget_line(each)}")


@dataclass(frozen=True)
class Paced:
    """A budget held over one run, per request."""

    spent: float  # as a share of what may be spent
    reward: float
    hindsight: float  # of the best fixed price that stays within the budget
    cheapest: float  # of the cheapest model alone
    refused: float  # share of requests


def budget_line(each: Sequence[Paced]) -> str:
    spent, rewards, refused = ([getattr(one, name) for one in each] for name in ("spent", "reward", "refused"))
    ratio = [one.reward / one.hindsight for one in each]
    over = [np.mean([getattr(one, name) - one.cheapest for one in each]) for name in ("reward", "hindsight")]
    return (
        f"spent {shown(spent)} of it, most {max(spent):.4f}; refused {np.mean(refused):.2%}; reward {shown(rewards)}; "
        f"{shown(ratio)} of the best fixed price in hindsight; beyond the cheapest model {over[0]:.4f} of {over[1]:.4f}"
    )


def paced(
    values: FloatArray,
    expected: FloatArray,
    reward: FloatArray,
    cost: FloatArray,
    known: IntArray,
    arriving: IntArray,
    ceiling: float,
) -> Paced:
    """Hold a mean cost per request as the gateway does: before a model is asked, the most that it may cost is reserved.

    Arrays (n, models): what is predicted of value and cost, and what came of it. The price is that at which what is
    left lasts for the requests that are to come. Where not even the cheapest model's reservation fits into the whole
    budget, a request is refused and earns nothing.
    """
    pace, most, whole = (
        Pace.begin(ceiling, [(tuple(values[i]), tuple(expected[i])) for i in known]),
        cost[known].max(axis=0),
        ceiling * len(arriving),
    )
    got, refused = 0.0, 0
    for done, i in enumerate(arriving):
        pace.see(tuple(values[i]), tuple(expected[i]), (whole - pace.spent) / (len(arriving) - done))
        arm = int(np.argmax(values[i] - pace.price * expected[i]))
        arm = arm if pace.spent + most[arm] <= whole else 0
        if pace.spent + most[arm] > whole:
            refused += 1
            continue
        pace.pay(float(cost[i, arm]))
        got += reward[i, arm]
    worth = (values[:, 1:] - values[:, :1])[arriving] / (expected[:, 1:] - expected[:, :1])[arriving]
    best = -math.inf
    for price in np.concatenate([[0.0], np.quantile(np.maximum(worth, 0), np.linspace(0, 1, 401)) * (1 + 1e-9)]):
        arms = np.argmax(values[arriving] - price * expected[arriving], axis=1)
        if cost[arriving, arms].mean() <= ceiling * 1.0001:
            best = max(best, float(reward[arriving, arms].mean()))
    cheapest = float(reward[arriving, 0].mean())
    n = len(arriving)
    return Paced(pace.spent / whole, got / n, best if best > -math.inf else cheapest, cheapest, refused / n)


def ridge(X: FloatArray, y: FloatArray, asked: FloatArray, alpha: float = 3.0) -> FloatArray:
    """Linear ridge regression."""
    mean, centre = X.mean(axis=0), y.mean()
    rows = X - mean
    weights = np.linalg.solve(rows.T @ rows + alpha * np.eye(X.shape[1]), rows.T @ (y - centre))
    return np.asarray((asked - mean) @ weights + centre)


def targets_of_others(stream: Stream, others: Mapping[int, int], chosen: IntArray) -> FloatArray:
    """The labels of other prompts, in place of those of the chosen ones."""
    return stream.targets(np.array([others[int(i)] for i in chosen]))


def poison(stream: Stream, runs: int, honest: int) -> None:
    """Runs whose labels belong to other prompts: in how many is a candidate promoted, at any look?

    From the first prompt on, while no router serves, or after as many ``honest`` ones as have promoted a router.
    """
    begun = promoted = looks = 0
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(len(stream.gains))[: honest + POISONED]
        others = dict(zip(order, np.random.default_rng(seed + 100_000).permutation(order), strict=True))
        learner = Learner(stream, [])
        for prompt in order[:honest]:
            learner.see(int(prompt))
        if honest and learner.serving is None:
            continue
        learner.stream, before = replace(stream, targets=partial(targets_of_others, stream, others)), learner.serving
        for prompt in order[honest:]:
            learner.see(int(prompt))
        begun += 1
        promoted += learner.serving is not before
        looks += learner.looks.done
    when = f"after {honest} honest prompts, over a router in force" if honest else f"{looks / runs:.1f} looks each"
    print(f"  {stream.name}: promoted in {promoted} of {begun} runs of {POISONED} prompts ({when})")


def promises(runs: int) -> None:
    """Runs in which a promise of 5 % was in force though the true risk was above it, watched after every prompt."""
    broken = 0
    for seed in range(runs):
        promise = WatchedPromise(0.05, 0.05)
        broken += any(promise.add(float(loss)) for loss in np.random.default_rng(seed).random(2000) < 0.0501)
    shown_after, taken_back = [], []
    for seed in range(runs // 10):
        random, promise = np.random.default_rng(seed), WatchedPromise(0.05, 0.05)
        kept = next((i for i, loss in enumerate(random.random(5000) < 0.02) if promise.add(float(loss))), 5000)
        shown_after.append(kept + 1)
        lost = (i for i, loss in enumerate(random.random(5000) < 0.15) if not promise.add(float(loss)))
        taken_back.append(next(lost, 5000) + 1)
    print(
        f"  in force though broken, at any of 2,000 looks: {broken} of {runs:,} runs ({broken / runs:.1%}; "
        "promised: 5 %)"
    )
    print(f"  at a true risk of 2 % it is shown after a median of {np.median(shown_after):g} graded prompts")
    print(f"  at 15 % afterwards it is taken back after a median of {np.median(taken_back):g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", choices=("nothing", "shift", "budgets", "poison", "promises"))
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    wanted = (options.only,) if options.only else ("nothing", "shift", "budgets", "poison", "promises")
    if "nothing" in wanted:
        print(f"from nothing ({options.runs} runs, {SAMPLES} samples per prompt and model):")
        from_nothing(local_stream(), options.runs, (200, 400, 800))
        from_nothing(nq_stream(), options.runs, (400, 800, 1600))
    if "shift" in wanted:
        print(f"a shift of domain ({options.runs} runs):")
        shift(local_stream(), options.runs)
        relearn(nq_stream(), options.runs)
        stationary(local_stream(), options.runs)
        stationary(nq_stream(), options.runs)
    if "budgets" in wanted:
        print(f"budgets ({options.runs} runs):")
        budgets(options.runs)
        budgets_of_calls(nq_stream(), options.runs)
    if "poison" in wanted:
        print("poisoned candidates:")
        for stream in (local_stream(), nq_stream()):
            poison(stream, 5 * options.runs, 0)
            poison(stream, options.runs, HONEST)
    if "promises" in wanted:
        print("a promise at any time:")
        promises(50 * options.runs)


if __name__ == "__main__":
    main()
