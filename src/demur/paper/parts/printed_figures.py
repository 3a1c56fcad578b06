"""The paper's own figures (Zhang et al. 2025), to stand beside what is measured here."""

from __future__ import annotations

TABLE_1 = {  # row -> CPT50, CPT80 (%) on MT-Bench, GSM8K, MMLU
    "Random": (51.29, 78.55, 48.79, 80.16, 50.04, 79.32),
    "TO-Router: kNN": (59.72, 90.39, 47.93, 79.03, 43.73, 77.74),
    "TO-Router: MLP": (49.15, 86.67, 51.03, 77.77, 44.01, 77.43),
    "RouteLLM: SW": (56.08, 78.37, 46.03, 79.58, 47.41, 74.23),
    "RouteLLM: MF": (55.59, 84.12, 49.07, 80.09, 58.55, 83.68),
    "Confidence-Driven: SW": (27.31, 55.61, 48.03, 80.41, 37.96, 73.85),
    "Confidence-Driven: MF": (42.94, 63.53, 41.89, 75.34, 50.06, 78.38),
    "Confidence-Driven: kNN": (60.84, 81.50, 44.08, 76.32, 42.70, 75.28),
    "Confidence-Driven: MLP": (35.54, 74.92, 50.04, 79.79, 57.07, 83.27),
}
TABLE_2 = {  # row -> CPT50, CPT80 (%) on GSM8K, GPT-4 and Qwen2-1.5B-Instruct
    "Random": (48.79, 80.16),
    "TO-Router: kNN": (49.44, 79.98),
    "TO-Router: MLP": (51.75, 80.80),
    "RouteLLM: SW": (48.74, 79.86),
    "RouteLLM: MF": (51.13, 80.09),
    "Confidence-Driven: SW": (49.17, 79.08),
    "Confidence-Driven: MF": (48.57, 78.87),
    "Confidence-Driven: kNN": (48.82, 78.54),
    "Confidence-Driven: MLP": (52.52, 81.36),
}
TABLE_3 = {0.5: (78.88, 79.72, 79.95), 0.8: (85.97, 88.88, 89.21)}  # CPT -> TO-Router, RouteLLM, Confidence-Driven
MT_BENCH_USD = "Random $4.06, TO-Router $3.88, RouteLLM $4.04, its own $3.74"  # section 4.3, at CPT80
_PLACES = {"mt_bench": 0, "gsm8k": 1, "mmlu": 2}


def figures_of(row: str, benchmark: str) -> str:
    """CPT50 / CPT80 that the paper prints for a row on a benchmark (Table 2 for another name); empty without any."""
    place = _PLACES.get(benchmark)
    found = TABLE_2.get(row) if place is None else TABLE_1.get(row, ())[2 * place : 2 * place + 2]
    return f"{found[0]:.2f} / {found[1]:.2f}" if found else ""
