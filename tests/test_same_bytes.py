"""The same seed and input give the same router, byte by byte, on any number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = """
import sys
import numpy as np
from demur.methods import BY_NAME
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router

class Planted:
    identity = "planted"
    def encode(self, texts, /):
        rows = np.random.default_rng(5).normal(size=(1500, 384)).astype(np.float32)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True))[[int(text) for text in texts]]

y = np.random.default_rng(6).random(1500)
rows = [TrainingPrompt(str(i), float(y[i]), 1.0, 0.0) for i in range(1500)]
for name in ("mlp", "mf", "kernel", "logistic"):
    train_router(Planted(), BY_NAME[name](), rows, weak="w", strong="s").save(sys.argv[1] + "/" + name)
"""


def hashes(folder: Path, threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    subprocess.run([sys.executable, "-c", TRAIN, str(folder)], env=environment, check=True, timeout=300)
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte_of_a_saved_router(tmp_path: Path) -> None:
    one, two = hashes(tmp_path / "one", 1), hashes(tmp_path / "two", 2)
    assert len(one) == 3 * 4
    assert one == two
