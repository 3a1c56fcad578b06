"""Quality against latency of encoders: what a lone prompt's embedding takes, and what a router that reads it is worth.

Milliseconds of the CPU (p50, one thread, tokenizer included) of one prompt of 8 and of 30 tokens, and their ratio to
those of the default encoder, asked in turn, or just before in OpenVINO's process; APGR, 5-fold, of logistic regression
and kernel ridge on NQ-Open (labels without grades, as `demur label` gives them) and on the local pair (labels from
grades, so that the encoder alone is compared).

    python benchmarks/encoders.py                         # all rows
    python benchmarks/encoders.py --rows layers:4,layers:5

Rows: encoders of the catalogue by name; `layers:K`, the first K of bge-small's twelve layers, mean over the words (0:
its word vectors alone, a static model); `fp32:K`, the same with 32-bit arithmetic on the same weights; `openvino:K`,
that graph in OpenVINO, and `openvino:int8`, bge-small's own file, in an environment of its own; `two-pass:S`, word
vectors first, and the six layers for the share S of prompts nearest to the threshold: its APGR is the mean over strong
shares, its time the mean over prompts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from demur import cost_quality_curve
from demur.models.catalogue import fetch
from demur.models.encoders import first_layers
from demur.models.encoders.encoder import OnnxEncoder, encoder_names, load_encoder
from demur.models.encoders.first_layers import Array
from demur.models.encoders.onnx_file import Network
from demur.records import FloatArray
from encoder_layers import local_qualities, of_layers, recovered, together
from environment import describe, on_one_thread, output_of, peer_python, shared_rows
from nq_open import both, correctness, held_out_scores, label_kinds

DEFAULT = "bge-small-6"
ROWS = (
    *("bge-small", DEFAULT, "layers:3", "layers:0", "two-pass:.4", "fp32:12", "fp32:6", "fp32:3"),
    *("openvino:int8", "openvino:12", "openvino:6", "openvino:3", "minilm", "multilingual-e5-small"),
)
TEXTS = {  # by tokens, the special ones included
    8: "Why is the sky blue?",
    30: "Who wrote the opening theme of the series about a lighthouse, and in which year was it first shown on "
    "television in Denmark and in Norway?",
}
METHODS, RUNS = ("logistic", "kernel"), 200
STRONG_SHARES = np.linspace(0.05, 0.95, 19)
OPENVINO = ("openvino==2026.4.1", "numpy")

# Reads a network and lists of token ids; writes a vector of each, and prints the median ms of the first two, timed.
OPENVINO_CODE = """
import json, sys, time
import numpy as np, openvino as ov
network, ids_file, rows_file, runs = sys.argv[1:]
settings = {"INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
core = ov.Core()
compiled = core.compile_model(core.read_model(network), "CPU", settings)
asked, names = compiled.create_infer_request(), [one.get_any_name() for one in compiled.inputs]
def embed(ids):
    ids = np.array([ids], dtype=np.int64)
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    found = asked.infer({name: given[name] for name in names})[compiled.outputs[0]]
    row = found[0] if found.ndim == 2 else found[0, 0]
    return row / np.linalg.norm(row)
every = json.load(open(ids_file))
times = []
for ids in every[:2]:
    one = []
    for _ in range(int(runs)):
        start = time.process_time()
        embed(ids)
        one.append(time.process_time() - start)
    times.append(1000 * float(np.median(one)))
np.save(rows_file, np.array([embed(ids) for ids in every], dtype=np.float32))
print(json.dumps(times))
"""


@dataclass(frozen=True)
class RoutedSet:
    """Prompts, what a router learns of them, and the quality of both models' answers."""

    texts: list[str]
    y: FloatArray
    weak: FloatArray
    strong: FloatArray

    def apgr(self, X: FloatArray, method: str) -> float:
        return float(cost_quality_curve(held_out_scores(method, X, self.y, 0), self.weak, self.strong).apgr)


@cache
def sets() -> tuple[RoutedSet, RoutedSet]:
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    nq = RoutedSet(
        [row["question"] for row in rows], label_kinds(rows)["calibrated (default)"], *both(rows, correctness)
    )
    texts, weak, strong = local_qualities()
    return nq, RoutedSet(texts, np.clip(0.5 + (strong - weak) / 2, 0, 1), weak, strong)


# -- networks --------------------------------------------------------------------------------------------------------


def float_product(network: Network, arrays: dict[str, Array], x: str, matrices: list[str], biases: list[str]) -> str:
    """As `first_layers._product`, in 32-bit arithmetic with the same weights."""
    parts = [arrays[name].astype(np.float32) * arrays[name.replace("_quantized", "_scale")] for name in matrices]
    weights = network.weight(f"{biases[0]}.w", np.concatenate(parts, axis=1).astype(np.float32))
    bias = network.weight(f"{biases[0]}.b", np.concatenate([arrays[name] for name in biases]))
    return str(network.add("Add", [network.add("MatMul", [x, weights]), bias]))


def plain_layer(network: Network, arrays: dict[str, Array], x: str, mask: str, i: int, matrices: list[str]) -> str:
    """As `first_layers._layer`, of a text alone, in operators that every runtime has."""
    of = f"encoder.layer.{i}"
    for name, values in (("heads", [0, 0, 12, 32]), ("whole", [0, 0, 384])):
        network.weight(f"{of}.{name}", np.array(values, dtype=np.int64))
    for name, number in (("scale", 32**-0.5), ("half", 0.5), ("root", 2**-0.5), ("one", 1.0)):
        network.weight(f"{of}.{name}", np.array(number, dtype=np.float32))
    sides = []
    for side, matrix in zip(("query", "key", "value"), matrices[:3], strict=True):
        flat = float_product(network, arrays, x, [matrix], [f"{of}.attention.self.{side}.bias"])
        split = network.add("Reshape", [flat, f"{of}.heads"])
        sides.append(network.add("Transpose", [split], perm=[0, 2, 3, 1] if side == "key" else [0, 2, 1, 3]))
    query, key, value = sides
    close = network.add("Mul", [network.add("MatMul", [query, key]), f"{of}.scale"])
    seen = network.add("MatMul", [network.add("Softmax", [close], axis=-1), value])
    joined = network.add("Reshape", [network.add("Transpose", [seen], perm=[0, 2, 1, 3]), f"{of}.whole"])
    attended = float_product(network, arrays, joined, matrices[3:4], [f"{of}.attention.output.dense.bias"])
    x = first_layers._norm(network, arrays, network.add("Add", [x, attended]), f"{of}.attention.output.LayerNorm")
    inner = float_product(network, arrays, x, matrices[4:5], [f"{of}.intermediate.dense.bias"])
    curve = network.add("Add", [network.add("Erf", [network.add("Mul", [inner, f"{of}.root"])]), f"{of}.one"])
    inner = network.add("Mul", [network.add("Mul", [inner, f"{of}.half"]), curve])
    rest = float_product(network, arrays, inner, matrices[5:6], [f"{of}.output.dense.bias"])
    return first_layers._norm(network, arrays, network.add("Add", [x, rest]), f"{of}.output.LayerNorm")


def float_layers(count: int, folder: Path) -> OnnxEncoder:
    """The first layers in 32-bit arithmetic, in plain operators."""
    kept = first_layers._layer
    first_layers._layer = plain_layer
    try:
        return of_layers(count, folder)
    finally:
        first_layers._layer = kept


# -- rows ------------------------------------------------------------------------------------------------------------


def milliseconds(encoder: Any, beside: Any) -> list[tuple[float, float]]:
    """Of each text: the median of one embedding, and its ratio to that of another encoder, asked in turn."""
    found = []
    for text in TEXTS.values():
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(RUNS):
            for one, times in zip((encoder, beside), taken, strict=True):
                start = time.process_time()
                one.encode([text])
                times.append(time.process_time() - start)
        mine, other = (1000 * float(np.median(times)) for times in taken)
        found.append((mine, mine / other))
    return found


def in_openvino(network: Path, ids: Sequence[Sequence[int]]) -> tuple[FloatArray, list[float]]:
    """Vectors of token ids, and the median ms of the first two."""
    python = peer_python("openvino", OPENVINO)
    with tempfile.TemporaryDirectory() as name:
        asked, rows = Path(name) / "ids.json", Path(name) / "rows.npy"
        asked.write_text(json.dumps(ids))
        command = [str(python), "-c", OPENVINO_CODE, str(network), str(asked), str(rows), str(RUNS)]
        times = json.loads(output_of(command))
        return np.load(rows), times


def openvino_row(kind: str, folder: Path) -> tuple[list[FloatArray], list[tuple[float, float]]]:
    """Vectors of both sets; the times, and their ratios to the default encoder's."""
    whole = load_encoder("bge-small")
    assert isinstance(whole, OnnxEncoder)
    encoder = whole if kind == "int8" else float_layers(int(kind), folder)
    network = (fetch("bge-small") if kind == "int8" else folder) / "model.onnx"
    texts = [*TEXTS.values(), *(text for one in sets() for text in one.texts)]
    rows, times = in_openvino(network, [encoder._token_ids(text) for text in texts])
    default, spent = load_encoder(DEFAULT), []
    for (other, _), text, taken in zip(milliseconds(default, default), TEXTS.values(), times, strict=True):
        start = time.process_time()
        for _ in range(RUNS):
            encoder._token_ids(text)
        whole_time = taken + 1000 * (time.process_time() - start) / RUNS
        spent.append((whole_time, whole_time / other))
    first = len(TEXTS) + len(sets()[0].texts)
    return [rows[len(TEXTS) : first], rows[first:]], spent


def print_row(name: str) -> None:
    kind, _, given = name.partition(":")
    if kind == "two-pass":
        print_two_pass(name, float(given))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            if kind == "openvino":
                vectors, times = openvino_row(given, folder)
            else:
                made = {"layers": of_layers, "fp32": float_layers}
                encoder = made[kind](int(given), folder) if kind in made else load_encoder(name)
                assert isinstance(encoder, OnnxEncoder)
                times = milliseconds(encoder, load_encoder(DEFAULT))
                vectors = [
                    together(encoder, one.texts) if kind != "fp32" else encoder.encode(one.texts) for one in sets()
                ]
        except SystemExit as error:
            print(f"{name:<24}left out: {str(error)[-200:]}", flush=True)
            return
    cells = [f"{taken:>7.2f} ({ratio:.2f})" for taken, ratio in times]
    quality = "  ".join(
        " ".join(f"{one.apgr(X, m):.3f}" for m in METHODS) for one, X in zip(sets(), vectors, strict=True)
    )
    print(f"{name:<24}{vectors[0].shape[1]:>5}{'  '.join(cells)}   {quality}", flush=True)


def print_two_pass(name: str, share: float) -> None:
    """Kernel ridge; the mean over strong shares of the gap's recovered share, scaled as APGR is."""
    default = load_encoder(DEFAULT)
    assert isinstance(default, OnnxEncoder)
    with tempfile.TemporaryDirectory() as place:
        static = of_layers(0, Path(place))
        cheap, full = (milliseconds(one, default) for one in (static, default))
        found = []
        for one in sets():
            first, second = (
                np.argsort(np.argsort(held_out_scores("kernel", together(encoder, one.texts), one.y, 0))) / len(one.y)
                for encoder in (static, default)
            )
            means = [
                np.mean([recovered(first, second, strong, band, one.weak, one.strong) for strong in STRONG_SHARES])
                for band in (0.0, share, 1.0)
            ]
            found.append("  ".join(f"{value:.3f}" for value in means))
    cells = [f"{a + share * b:>7.2f} ({(a + share * b) / b:.2f})" for (a, _), (b, _) in zip(cheap, full, strict=True)]
    print(
        f"{name:<24}{'':>5}{'  '.join(cells)}   kernel; word vectors alone, both passes, {DEFAULT}: {' | '.join(found)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", default=",".join(ROWS), help=f"comma-separated; encoders: {', '.join(encoder_names())}"
    )
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    encoder = load_encoder(DEFAULT)
    assert isinstance(encoder, OnnxEncoder)
    counts = [len(encoder._token_ids(text)) for text in TEXTS.values()]
    columns = "  ".join(f"{count} tokens, ms (ratio)" for count in counts)
    print(f"{'encoder':<24}{'d':>5}  {columns}   APGR of {', '.join(METHODS)}: NQ-Open, local pair")
    for name in options.rows.split(","):
        print_row(name)


if __name__ == "__main__":
    main()
