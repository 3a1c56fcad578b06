"""How many of bge-small's layers does a router need? The six of the default encoder on other sets, and two passes.

Six layers were chosen on NQ-Open and the local pair, where `encoders.py` prints quality against latency of other
numbers of them.

    python benchmarks/encoder_layers.py             # six layers less the whole network, on sets that chose nothing
    python benchmarks/encoder_layers.py --two-pass  # word vectors first, six layers near a threshold
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from demur import cost_quality_curve
from demur.models.catalogue import fetch
from demur.models.encoders import first_layers
from demur.models.encoders.encoder import OnnxEncoder
from demur.records import FloatArray, IntArray
from demur.statistics import draw_counts, percentile_interval
from environment import describe, on_one_thread, shared_rows
from nq_open import both, correctness, embeddings, held_out_scores, label_kinds

METHODS = ("sw", "logistic", "kernel")
SHARES, BANDS = (0.2, 0.3, 0.5), (0.0, 0.2, 0.4, 0.6, 1.0)
CONFIRMING = (  # set, weak, strong: none of them was looked at when six was chosen
    ("triviaqa", "llama3.1-8b", "llama3.1-70b"),
    ("triviaqa", "llama3.2-1b", "gpt-4o"),
    ("mmlu", "llama3.1-8b", "llama3.1-70b"),
    ("mmlu", "llama3.2-1b", "gpt-4o"),
    ("gsm8k", "llama3.2-1b", "llama3.1-70b"),
)


def of_layers(count: int, folder: Path) -> OnnxEncoder:
    """The encoder of so many layers."""
    whole = fetch("bge-small")
    first_layers.LAYERS = count
    (folder / "model.onnx").write_bytes(first_layers.network_file((whole / "model.onnx").read_bytes()))
    (folder / "tokenizer.json").write_bytes((whole / "tokenizer.json").read_bytes())
    return OnnxEncoder(folder, pooling="words", window=256, identity=f"{count} layers")


def local_qualities() -> tuple[list[str], FloatArray, FloatArray]:
    """Questions of the local pair, and the share of the weak and of the strong model's samples that hold an answer."""
    rows = shared_rows("samples/local_pair")

    def quality(model: str) -> FloatArray:
        return np.array(
            [
                np.mean(
                    [
                        any(gold.casefold() in one["text"].casefold() for gold in row["answers"])
                        for one in row["models"][model]["samples"]
                    ]
                )
                for row in rows
            ]
        )

    weak, strong = quality("smollm2-135m-instruct"), quality("qwen2.5-coder-1.5b-instruct")
    return [row["question"] for row in rows], weak, strong


def together(encoder: OnnxEncoder, texts: list[str]) -> FloatArray:
    """(n, d) vectors."""
    return np.concatenate([encoder.encode_together(texts[i : i + 512]) for i in range(0, len(texts), 512)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--two-pass", action="store_true")
    options = parser.parse_args()
    on_one_thread()
    print(describe())
    if options.two_pass:
        two_pass()
    else:
        confirm()


def confirm() -> None:
    """APGR of both encoders per set and pair, labels from grades, and the difference with its 95 % interval."""
    for name, weak_model, strong_model in CONFIRMING:
        rows = shared_rows(f"outcomes/pool9_{name}")
        weak, strong = (
            np.array([row["models"][m]["correct"] for row in rows], float) for m in (weak_model, strong_model)
        )
        y, texts = 0.5 + (strong - weak) / 2, [row["text"] for row in rows]
        print(f"{name}, {weak_model} to {strong_model}, {len(rows)} prompts")
        for method in METHODS:
            scores = [held_out_scores(method, embeddings(texts, e), y, 0) for e in ("bge-small", "bge-small-6")]
            whole, six = (cost_quality_curve(one, weak, strong).apgr for one in scores)
            less = [
                apgr_of(scores[1], weak, strong, drawn) - apgr_of(scores[0], weak, strong, drawn)
                for drawn in (np.repeat(np.arange(len(rows)), n) for n in draw_counts(len(rows), resamples=200))
            ]
            low, high = percentile_interval(less)
            print(f"  {method:<10} whole {whole:.3f}  six {six:.3f}  {six - whole:+.3f} [{low:+.3f}, {high:+.3f}]")


def two_pass() -> None:
    """Recovered share of the gap at a strong share, when the word vectors' score decides outside a band around its own
    threshold and the six layers' score inside it; 1.00 reads all prompts with six layers, 0.00 none."""
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    (weak, strong), y = both(rows, correctness), label_kinds(rows)["calibrated (default)"]
    questions, local_weak, local_strong = local_qualities()
    sets = {
        "NQ-Open": ([row["question"] for row in rows], y, weak, strong),
        "local pair": (questions, np.clip(0.5 + (local_strong - local_weak) / 2, 0, 1), local_weak, local_strong),
    }
    for name, (texts, target, low, high) in sets.items():
        with TemporaryDirectory() as folder:
            cheap, full = together(of_layers(0, Path(folder)), texts), embeddings(texts, "bge-small-6")
        first, second = (
            np.argsort(np.argsort(held_out_scores("kernel", X, target, 0))) / len(texts) for X in (cheap, full)
        )
        print(f"{name}, kernel: share of the gap recovered, by the share of prompts that six layers read")
        for strong_share in SHARES:
            cells = [f"{recovered(first, second, strong_share, band, low, high):.3f}" for band in BANDS]
            print(
                f"  strong {strong_share:.0%}: " + "  ".join(f"{b:.2f} {c}" for b, c in zip(BANDS, cells, strict=True))
            )


def recovered(
    cheap: FloatArray, full: FloatArray, share: float, band: float, weak: FloatArray, strong: FloatArray
) -> float:
    """(quality - weak's) / (strong's - weak's) with ``share`` of the prompts strong: the ``band`` (a share of all)
    whose cheap ranks lie nearest to the threshold is ranked by the full scores."""
    threshold, count = 1 - share, round(share * len(cheap))
    inside = np.argsort(np.argsort(np.abs(cheap - threshold))) < round(band * len(cheap))
    above = ~inside & (cheap >= threshold)
    order = np.argsort(-np.where(inside, full, -np.inf), kind="stable")
    chosen = above.copy()
    chosen[order[: max(0, count - int(above.sum()))]] = True
    quality = np.where(chosen, strong, weak).mean()
    return float((quality - weak.mean()) / (strong.mean() - weak.mean()))


def apgr_of(scores: FloatArray, weak: FloatArray, strong: FloatArray, drawn: IntArray) -> float:
    """APGR of the rows drawn."""
    return cost_quality_curve(scores[drawn], weak[drawn], strong[drawn]).apgr


if __name__ == "__main__":
    main()
