"""How much of a picture is text: a detector of text lines, which says where text is and not what it reads.

PP-OCR's detector (Liao et al. 2020, differentiable binarization) marks the middle of every line, shrunk from its edges
by .84 area / perimeter, as it was trained; its readers widen what it marks by 1.6 area / perimeter again, which makes a
long line 2.6 times as large and a square 3.2 times. Here the marked share is multiplied by `WIDENED` instead.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ModelError
from demur.models.catalogue import fetch
from demur.records import FloatArray, Progress, no_progress

DETECTOR = "pp-ocrv4-text-detector"  # of the catalogue
LONGEST, ENLARGED = 480, 4  # pixels of the longer side, to which a picture is made smaller, or larger at most 4 times
STEP = 32  # the network takes sides that are multiples of it
MARKED = 0.3  # the probability from which on a pixel counts, as in PP-OCR
WIDENED = 3.0
BILINEAR = 2  # Pillow's number of the filter


class TextDetector:
    """Share of a picture's area that text covers. One thread. Raises ModelError for a file that is not the network."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena keeps the largest picture's memory for good
        try:
            self.identity = f"text share {hashlib.sha256(model.read_bytes()).hexdigest()[:16]}"
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises bare Exceptions of its own
            raise ModelError(f"{model}: the detector of text cannot be opened: {str(error)[:160]}") from error
        self._input = self._session.get_inputs()[0].name

    def __reduce__(self) -> tuple[Any, ...]:
        return open_text_detector, ()  # in another process it is opened again

    def share(self, picture: Any) -> float:
        """The share of a Pillow picture in RGB, in [0, 1]; it is scaled to `LONGEST` first."""
        return min(1.0, WIDENED * float(np.mean(self._probabilities(picture) > MARKED)))

    def _probabilities(self, picture: Any) -> FloatArray:
        """(rows, columns) that a pixel of the scaled picture is the middle of a line."""
        scale = min(LONGEST / max(picture.size), ENLARGED)
        width, height = (max(STEP, round(side * scale / STEP) * STEP) for side in picture.size)
        seen = np.asarray(picture.resize((width, height), BILINEAR, reducing_gap=2.0), dtype=np.float32) / 127.5 - 1
        return np.asarray(self._session.run(None, {self._input: seen.transpose(2, 0, 1)[None]})[0][0, 0])


def open_text_detector(*, progress: Progress = no_progress) -> TextDetector:
    """The catalogue's detector. Raises ModelError where no source has its file."""
    return TextDetector(fetch(DETECTOR, progress=progress))
