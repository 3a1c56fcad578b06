"""Which encoder is the default? Latency (one thread) and APGR on NQ-Open (5-fold, no labels) of each."""

from __future__ import annotations

from demur import cost_quality_curve
from demur.models.encoders.encoder import load_encoder
from environment import describe, median_seconds, shared_rows
from nq_open import both, correctness, embeddings, held_out_scores, label_kinds

LABEL = "calibrated (default)"
SHORT = "Who wrote the opening theme of the series about a lighthouse?"
LONG = "Summarise this report in three sentences. " + "The committee met on Tuesday to discuss the bridge. " * 40


def main() -> None:
    """Print a row an encoder."""
    print(describe())
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    (weak, strong), y = both(rows, correctness), label_kinds(rows)[LABEL]
    print(f"{'encoder':<24}{'d':>5}{'short p50':>12}{'long p50':>12}   APGR (95 % interval) on NQ-Open, {LABEL}")
    for name in ("minilm", "bge-small", "bge-small-6", "multilingual-e5-small"):
        encoder = load_encoder(name)
        times = [median_seconds(lambda e=encoder, t=text: e.encode([t]), runs=60) for text in (SHORT, LONG)]  # type: ignore[misc]
        X = embeddings([row["question"] for row in rows], name)
        figures = []
        for method in ("sw", "logistic", "kernel"):
            curve = cost_quality_curve(held_out_scores(method, X, y, 0), weak, strong)
            low, high = curve.interval("apgr")
            figures.append(f"{method} {curve.apgr:.3f} ({low:.3f}-{high:.3f})")
        print(f"{name:<24}{X.shape[1]:>5}{1000 * times[0]:>9.2f} ms{1000 * times[1]:>9.2f} ms   {'   '.join(figures)}")


if __name__ == "__main__":
    main()
