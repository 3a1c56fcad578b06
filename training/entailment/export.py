"""A trained checkpoint into the files that demur ships: int8 ONNX, tokenizer, config with the labels and the window.

    python training/entailment/export.py --checkpoint runs/entailment/checkpoint.pt --tokenizer tokenizer.json \
        --out src/demur/meaning/weights

The temperature is fitted on written pairs of another seed and on held-out human judgements (half of the held-out
questions; the figures are of the other half), and divided into the last layer, so that the logits are calibrated.
Weights are int8, embeddings too; 7 bits (reduce_range) because older x86 adds two 8-bit products into 16 bits.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from network import CrossEncoder
from onnxruntime.quantization import QuantType, quantize_dynamic
from sources import NOT_ENTAILMENT, Row, calibration_rows
from tokenizers import Tokenizer
from torch.nn import functional
from train import LONGEST

LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}
WINDOW = 256  # tokens per pair at run time, of the 512 that have a position; rows of training are far shorter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", nargs="+", required=True, help="FILE, or several FILE:WEIGHT to take the mean")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = CrossEncoder()
    network.load_state_dict(mean_of(args.checkpoint))
    network.eval()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    temperature = fitted_temperature(network, tokenizer, calibration_rows(seed=99, n=800))
    with torch.no_grad():
        network.out.weight /= temperature
        network.out.bias /= temperature
    args.out.mkdir(parents=True, exist_ok=True)
    write_onnx(network, args.out / "entailment.onnx")
    tokenizer.save(str(args.out / "entailment_tokenizer.json"), pretty=False)
    config = {"id2label": LABELS, "max_length": WINDOW, "temperature_folded_in": round(temperature, 4)}
    (args.out / "entailment.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    print(f"temperature {temperature:.3f}; {(args.out / 'entailment.onnx').stat().st_size / 1e6:.1f} MB")


def mean_of(checkpoints: list[str]) -> dict[str, torch.Tensor]:
    """The weighted mean of networks: stages of one run, whose weights lie close together, are better together."""
    total: dict[str, torch.Tensor] = {}
    for given in checkpoints:
        path, _, weight = given.partition(":")
        for name, value in torch.load(path, weights_only=True)["network"].items():
            scaled = float(weight or 1) * value if value.is_floating_point() else value
            total[name] = total[name] + scaled if name in total and value.is_floating_point() else scaled
    return total


def fitted_temperature(network: CrossEncoder, tokenizer: Tokenizer, rows: list[Row]) -> float:
    """The temperature with the least negative log-likelihood, by search over a fine grid."""
    logits, labels = [], []
    for premise, hypothesis, label in rows:
        code = tokenizer.encode(premise, hypothesis)
        if len(code.ids) <= LONGEST:
            with torch.no_grad():
                logits.append(network(*(torch.tensor([x]) for x in (code.ids, code.attention_mask, code.type_ids)))[0])
            labels.append(label)
    found, wanted = torch.stack(logits), torch.tensor(labels)

    def loss(temperature: float) -> float:
        logs = functional.log_softmax(found / temperature, dim=-1)
        either = torch.logsumexp(logs[:, :2], dim=-1)
        chosen = logs.gather(1, wanted.clamp(max=2)[:, None])[:, 0]
        return float(-torch.where(wanted == NOT_ENTAILMENT, either, chosen).mean())

    return float(min(np.geomspace(0.5, 4.0, 200), key=loss))


def write_onnx(network: CrossEncoder, path: Path) -> None:
    """Export with free batch and length, then int8 weights."""
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.tensor([[101, 2023, 102, 2008, 102], [101, 2023, 102, 2008, 102]])
    example = (ids, torch.ones_like(ids), torch.tensor([[0, 0, 0, 1, 1]] * 2))
    free = {name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        torch.onnx.export(
            network, example, str(plain), input_names=names, output_names=["logits"], dynamic_axes=free,
            opset_version=17, dynamo=False,
        )  # fmt: skip
        quantize_dynamic(
            plain, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        )  # fmt: skip
    onnx.checker.check_model(str(path))


if __name__ == "__main__":
    main()
