"""The outcomes behind RouteLLM's benchmarks (GPT-4 / Mixtral, decontaminated): weak, strong, oracle, and pure chance.

Prints the figures that RouteLLM reports for the same data, as a check of the data and of the curve.
"""

from __future__ import annotations

import numpy as np

from demur import cost_quality_curve
from demur.records import FloatArray
from demur.statistics import percentile_interval
from environment import describe, shared_rows

WEAK, STRONG = "mixtral-8x7b-instruct", "gpt-4-1106-preview"
RANDOM_ROUTERS = 2000


def outcomes(benchmark: str) -> tuple[list[str], FloatArray, FloatArray]:
    """Questions, weak and strong quality of the rows that are not contaminated."""
    rows = [row for row in shared_rows(f"outcomes/{benchmark}_gpt4_mixtral") if not row.get("contaminated")]
    field = "score" if benchmark == "mt_bench" else "correct"
    weak, strong = (np.array([np.mean(row[field][model]) for row in rows]) for model in (WEAK, STRONG))
    questions = [row["turns"][0] if benchmark == "mt_bench" else row["question"] for row in rows]
    return questions, weak, strong


def main() -> None:
    print(describe())
    print(
        f"{'':<10}{'n':>7}{'weak':>10}{'strong':>10}   oracle CPT50 / CPT80 / APGR  random scores, routellm: CPT50 95 %"
    )
    for benchmark in ("mt_bench", "gsm8k", "mmlu"):
        _, weak, strong = outcomes(benchmark)
        curve = cost_quality_curve(np.zeros(len(weak)), weak, strong)
        oracle = curve.oracle
        scale = 1 if benchmark == "mt_bench" else 100
        low, high = percentile_interval(random_cpt50(weak, strong))
        print(
            f"{benchmark:<10}{len(weak):>7}{curve.weak_quality * scale:>10.5f}{curve.strong_quality * scale:>10.5f}"
            f"   {100 * oracle.cpt(0.5):>8.2f} / {100 * oracle.cpt(0.8):.2f} / {oracle.apgr:.4f}"
            f"{100 * low:>25.1f} - {100 * high:.1f}"
        )


def random_cpt50(weak: FloatArray, strong: FloatArray, routers: int = RANDOM_ROUTERS) -> FloatArray:
    """CPT(50%) of routers with random scores under RouteLLM's protocol."""
    random = np.random.default_rng(0)
    scores = (random.random(len(weak)) for _ in range(routers))
    return np.array([cost_quality_curve(s, weak, strong, protocol="routellm").cpt(0.5) for s in scores])


if __name__ == "__main__":
    main()
