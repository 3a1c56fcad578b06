"""The gateway as benchmarks serve it: a router of usual size that was taught random labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from demur.methods import LogisticRegression
from demur.models.encoders.encoder import load_encoder
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router


def demur_command(folder: Path, *, upstream: int, port: int) -> list[str]:
    """A router of usual size on real prompts, its settings, and the command that serves it."""
    texts = [f"What is the {word} of number {i}?" for i in range(400) for word in ("name", "sum", "colour")]
    y = np.random.default_rng(0).random(len(texts))
    rows = [TrainingPrompt(text, float(t), 1.0, 0.5) for text, t in zip(texts, y, strict=True)]
    train_router(load_encoder("bge-small-6"), LogisticRegression(), rows, weak="small", strong="large").save(
        folder / "router"
    )
    sides = [
        f'[{r}]\nmodel = "{n}"\nbase_url = "http://127.0.0.1:{upstream}/v1"'
        for r, n in (("weak", "small"), ("strong", "large"))
    ]
    (folder / "gateway.toml").write_text(f'ledger = "{folder}/ledger.sqlite"\n' + "\n".join(sides))
    serve = [sys.executable, "-m", "demur.cli.main", "serve", str(folder / "router"), "--port", str(port)]
    return [*serve, "--config", str(folder / "gateway.toml"), "--anyway"]  # it was taught noise
