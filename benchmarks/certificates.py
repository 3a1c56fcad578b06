"""Do certificates hold, alone and where many routers are certified on the same graded prompts?

Many calibrations each on MMLU, GSM8K and NQ-Open outcomes, judged on the full pool.

The router is label-free: soft margin labels of NQ-Open (half of it where NQ-Open itself is judged), logistic
regression. Graded prompts are drawn with replacement from the pool, so the pool is the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from demur.measure.certificate import Loss, confidence_of, fixed_thresholds, last_safe, losses_at, prompts_needed
from demur.methods import LogisticRegression
from demur.records import FloatArray, IntArray
from environment import describe, shared_rows
from nq_open import both, correctness, embeddings, label_kinds
from outcomes import outcomes

RISK, CONFIDENCE = 0.05, 0.95
MANY_RISK = 0.1  # of the many routers: NQ-Open loses more than 5 % at every useful threshold


def pools(encoder: str, names: Sequence[str]) -> dict[str, tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
    """name -> scores, weak and strong quality of the pool, and the fixed thresholds."""
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    X = embeddings([row["question"] for row in rows], encoder)
    y = label_kinds(rows)["calibrated (default)"]
    weak, strong = both(rows, correctness)
    router, half = LogisticRegression().fit(X, y), np.arange(len(X)) % 2 == 0
    grid = fixed_thresholds(router.predict_proba(X)[:, 1])
    found = {}
    for name in (one for one in ("mmlu", "gsm8k") if one in names):
        questions, a, b = outcomes(name)
        found[name] = (router.predict_proba(embeddings(questions, encoder))[:, 1], a, b, grid)
    if "nq-open" not in names:
        return found
    own = LogisticRegression().fit(X[half], y[half])
    own_grid = fixed_thresholds(own.predict_proba(X[half])[:, 1])
    found["nq-open"] = (own.predict_proba(X[~half])[:, 1], weak[~half], strong[~half], own_grid)
    return found


def main() -> None:
    """Print one row per pool, loss and size, then the table of many routers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="bge-small")
    parser.add_argument("--pools", default="mmlu,gsm8k,nq-open", help="of the first table")
    parser.add_argument("--calibrations", type=int, default=300, help="of each row of the first table")
    parser.add_argument(
        "--draws", type=int, default=300, help="of the second table, 80 certificates each; 0: without it"
    )
    options = parser.parse_args()
    print(describe())
    print(f"risk {RISK:.0%}, confidence {CONFIDENCE:.0%}, {options.calibrations} calibrations per row, 95 % intervals")
    print(f"{'pool':<9}{'loss':<12}{'m':>6}{'refused':>9}{'broken':>9}{'':16}{'kept on weak':>14}{'best possible':>15}")
    for name, (scores, weak, strong, grid) in pools(options.encoder, options.pools.split(",")).items():
        random = np.random.default_rng(0)  # a pool's rows are the same, whatever other pools are printed
        for loss in ("missed", "difference"):
            true = np.array([losses_at(t, scores, weak, strong, loss).mean() for t in grid])
            shares = np.array([(scores < t).mean() for t in grid])
            best = float(shares[true <= RISK].max(initial=0.0))
            for m in (300, 1000, 3000):
                found = [
                    certified(random.integers(0, len(scores), m), scores, weak, strong, grid, loss, RISK, CONFIDENCE)
                    for _ in range(options.calibrations)
                ]
                risks = dict(zip([-np.inf, *grid.tolist()], [0.0, *true], strict=True))
                kept = dict(zip([-np.inf, *grid.tolist()], [0.0, *shares], strict=True))
                broken = sum(risks[threshold] > RISK for threshold in found)
                print(
                    f"{name:<9}{loss:<12}{m:>6}{np.isneginf(found).mean():>9.1%}"
                    f"{share(broken, options.calibrations):>25}{np.mean([kept[t] for t in found]):>14.1%}{best:>15.1%}",
                    flush=True,
                )
    if options.draws:
        many_routers(options.encoder, options.draws)


def share(count: int, of: int) -> str:
    """With the exact 95 % interval of Clopper and Pearson (1934)."""
    low, high = binomtest(count, of).proportion_ci()
    return f"{count / of:.1%} [{low:.1%}, {high:.1%}]"


def certified(
    drawn: IntArray,
    scores: FloatArray,
    weak: FloatArray,
    strong: FloatArray,
    grid: FloatArray,
    loss: Loss,
    risk: float,
    confidence: float,
) -> float:
    """The threshold that `demur.measure.certificate.certify` gives for these prompts; -inf where it refuses.

    Without its advice how many prompts would do, which takes longer than the certificate.
    """
    needed = prompts_needed(risk, confidence, loss)
    if needed is None or len(drawn) < needed:
        return -np.inf
    score = scores[drawn]
    safe, failed = last_safe(score, weak[drawn], strong[drawn], grid, risk=risk, error=1 - confidence, loss=loss)
    return -np.inf if failed is not None and (score >= safe).all() else safe


ROUTERS, KEPT_DIMENSIONS = (1, 6, 20), 24


def many_routers(encoder: str, draws: int, m: int = 1000) -> None:
    """Share of draws in which the cheapest of k certified routers breaks its promise: each tested alone, and numbered.

    The routers are trained on the same labels, each on another random projection of the embeddings.
    """
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    X, y = embeddings([row["question"] for row in rows], encoder), label_kinds(rows)["calibrated (default)"]
    weak, strong = both(rows, correctness)
    half, random = np.arange(len(X)) % 2 == 0, np.random.default_rng(1)
    members = []
    for _ in range(max(ROUTERS)):
        turn = random.normal(size=(X.shape[1], KEPT_DIMENSIONS)).astype(X.dtype)
        found = LogisticRegression().fit(X[half] @ turn, y[half])
        grid = fixed_thresholds(found.predict_proba(X[half] @ turn)[:, 1])
        members.append((found.predict_proba(X[~half] @ turn)[:, 1], grid))
    a, b = weak[~half], strong[~half]
    print(f"\nmany routers on {m} graded prompts of NQ-Open, risk {MANY_RISK:.0%}: broken promises of the cheapest")
    print(f"{'loss':<12}{'routers':>8}{'each alone':>22}{'numbered':>22}{'any, numbered':>22}")
    for loss in ("missed", "difference"):
        tally = {(k, way): 0 for k in ROUTERS for way in ("alone", "numbered", "any")}
        for _ in range(draws):
            drawn = random.integers(0, len(a), m)
            for numbered in (False, True):
                kept = [
                    _kept_and_broken(s, a, b, g, drawn, loss, i + 1 if numbered else 0)
                    for i, (s, g) in enumerate(members)
                ]
                for k in ROUTERS:
                    cheapest = max(kept[:k])
                    tally[k, "numbered" if numbered else "alone"] += cheapest[1]
                    tally[k, "any"] += numbered and any(broken for _, broken in kept[:k])
        for k in ROUTERS:
            cells = "".join(f"{share(tally[k, way], draws):>22}" for way in ("alone", "numbered", "any"))
            print(f"{loss:<12}{k:>8}{cells}", flush=True)


def _kept_and_broken(
    scores: FloatArray, weak: FloatArray, strong: FloatArray, grid: FloatArray, drawn: IntArray, loss: Loss, number: int
) -> tuple[float, bool]:
    """Share kept on the weak model, and whether the pool breaks the promise; nothing kept where none is made."""
    confidence = confidence_of(number, CONFIDENCE)
    found = certified(drawn, scores, weak, strong, grid, loss, MANY_RISK, confidence)
    return float((scores < found).mean()), bool(losses_at(found, scores, weak, strong, loss).mean() > MANY_RISK)


if __name__ == "__main__":
    main()
