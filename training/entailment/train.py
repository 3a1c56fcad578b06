"""Fine-tune all-MiniLM-L6-v2 into the entailment cross-encoder, on one CPU core; resumes where it stopped.

    python training/entailment/train.py --base model.safetensors --tokenizer tokenizer.json --out runs/entailment \
        --examples 24000 --rate 6e-5

Each run is a stage: it starts from ``--start`` (or the base), keeps a checkpoint every 100 batches, and with the same
arguments continues from it. Sources and their shares are the mixture below (README.md says what each stage gave).
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from network import CrossEncoder, from_base, from_shipped
from sources import NOT_ENTAILMENT, stream
from tokenizers import Tokenizer
from torch.nn import functional

POOL = 1024  # rows sorted by length together
BATCH_TOKENS = 1000
LONGEST = 96  # tokens; longer rows are left out of training
SHARES = {"written": 0.42, "judged": 0.28, "alias": 0.15, "nli": 0.15, "entities": 0.0}

Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    network = beginning(args.start, args.base)
    freeze(network, args.frozen)
    body = [p for name, p in network.named_parameters() if p.requires_grad and not name.startswith(("head", "out"))]
    head = [*network.head.parameters(), *network.out.parameters()]
    head_rate = args.rate * (1 if args.start else 10)
    optimiser = torch.optim.AdamW(
        [{"params": body, "peak": args.rate}, {"params": head, "peak": head_rate}], lr=args.rate, weight_decay=0.01
    )
    checkpoint, done, step = args.out / "checkpoint.pt", 0, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        done, step = saved["done"], saved["step"]
        torch.set_rng_state(saved["random"])  # dropout goes on where it stopped
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    shares = dict(zip(SHARES, map(float, args.shares.split(",")), strict=True)) if args.shares else SHARES
    network.train()
    started, since, losses = time.perf_counter(), done, []
    for batch in itertools.islice(batches(tokenizer, args.seed, shares, args.longest), step, None):
        if done >= args.examples:
            break
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * schedule(done / args.examples)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = loss_of(network, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        done, step = done + len(batch[3]), step + 1
        if step % 20 == 0:
            rate = (done - since) / (time.perf_counter() - started)
            print(f"{done}/{args.examples} examples, loss {np.mean(losses[-100:]):.3f}, {rate:.1f}/s", flush=True)
        if step % 100 == 0:
            keep(checkpoint, network, optimiser, done, step)
    keep(checkpoint, network, optimiser, done, step)


def beginning(start: Path | None, base: Path) -> CrossEncoder:
    """The network as a stage begins: the base with a new head, an earlier stage, or what was shipped."""
    if start is None:
        return from_base(base)
    if start.suffix == ".onnx":
        return from_shipped(start)
    network = CrossEncoder()
    network.load_state_dict(torch.load(start, weights_only=True)["network"])
    return network


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="checkpoint of an earlier stage, or an exported .onnx")
    parser.add_argument("--bf16", action="store_true", help="half as long where the processor has avx512_bf16")
    parser.add_argument("--examples", type=int, default=24_000)
    parser.add_argument("--rate", type=float, default=6e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frozen", type=int, default=1, help="lowest layers not trained")
    parser.add_argument("--longest", type=int, default=LONGEST, help="tokens; longer rows are left out")
    parser.add_argument("--shares", default="", help=f"of {', '.join(SHARES)}, comma-separated")
    return parser.parse_args()


def freeze(network: CrossEncoder, layers: int) -> None:
    """Words, places and the lowest layers stay as they are; saves their gradients."""
    for module in (network.words, network.places, network.norm, *network.layers[:layers]):
        module.requires_grad_(False)
    if layers == 0:
        network.norm.requires_grad_(True)


def schedule(share_done: float) -> float:
    """Warm-up over the first 6 %, then linear to 5 %."""
    return min(share_done / 0.06 + 0.02, 1.0) * max(1.0 - share_done, 0.05)


def loss_of(network: CrossEncoder, batch: Batch) -> torch.Tensor:
    ids, mask, sides, labels = (torch.from_numpy(part) for part in batch)
    logs = functional.log_softmax(network(ids, mask, sides).float(), dim=-1)
    either = torch.logsumexp(logs[:, :2], dim=-1)  # label 3: contradiction or neutral, the source does not say
    chosen = logs.gather(1, labels.clamp(max=2)[:, None])[:, 0]
    return -torch.where(labels == NOT_ENTAILMENT, either, chosen).mean()


def batches(tokenizer: Tokenizer, seed: int, shares: dict[str, float], longest: int) -> Iterator[Batch]:
    """Padded batches of about BATCH_TOKENS tokens, short with short."""
    draw, rows = random.Random(seed), stream(seed, shares)
    while True:
        pool = list(itertools.islice(rows, POOL))
        coded = [
            (code, label)
            for code, (_, _, label) in zip(tokenizer.encode_batch([(a, b) for a, b, _ in pool]), pool, strict=True)
            if len(code.ids) <= longest
        ]
        coded.sort(key=lambda pair: len(pair[0].ids) + draw.random())
        made, start = [], 0
        while start < len(coded):
            size = 1
            while start + size < len(coded) and (size + 1) * len(coded[start + size][0].ids) <= BATCH_TOKENS:
                size += 1
            made.append(_padded(coded[start : start + size]))
            start += size
        draw.shuffle(made)
        yield from made


def _padded(coded: list) -> Batch:
    longest = max(len(code.ids) for code, _ in coded)
    ids, mask, sides = (np.zeros((len(coded), longest), dtype=np.int64) for _ in range(3))
    for i, (code, _) in enumerate(coded):
        ids[i, : len(code.ids)], mask[i, : len(code.ids)], sides[i, : len(code.ids)] = code.ids, 1, code.type_ids
    return ids, mask, sides, np.array([label for _, label in coded])


def keep(path: Path, network: CrossEncoder, optimiser: torch.optim.Optimizer, done: int, step: int) -> None:
    """Written aside and moved into place, so that an interruption leaves the one before."""
    aside = path.with_suffix(".part")
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "done": done, "step": step}
    torch.save(state | {"random": torch.get_rng_state()}, aside)
    aside.replace(path)


if __name__ == "__main__":
    main()
