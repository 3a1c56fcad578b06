"""Does a router that looks at pictures route better than one that reads the question? A planted world of drawings.

Digits, shapes and bar charts are drawn (Pillow), each more or less faint, small and noisy; one of three questions is
asked of each. Two made-up vision models know the right answer and err the more often, the harder a drawing is to read:
the weak one from the middle of the scale, the strong one near its end. One in seven drawings that the weak model errs
on it misreads in the same way every time, so entropy cannot tell. The image encoder is two layers of fixed random
convolutions and a random projection, not a trained one: what comes out is a lower bound of what CLIP's would give.

With --pages the pictures are pages of lines of words and ovals; the more lines, the harder a page is to read. What
tells pages apart is then the share that is text.

Printed: AUROC of both models' semantic entropy for their wrong answers; then APGR of routers trained on the questions
alone and on questions and pictures, prompt by prompt, and with the second stage.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import demur
from demur.config import load_run
from demur.measure.curve import cost_quality_curve
from demur.models.encoders.encoder import load_encoder
from demur.models.encoders.onnx_file import FLOAT, Network
from demur.models.images.joined_encoder import JoinedEncoder
from demur.prompts import read_prompts
from demur.prompts.grading import grade
from demur.prompts.pictures import ShownText
from demur.records import FloatArray
from demur.runs.run import open_run
from demur.statistics import auroc
from demur.testing import FakeEndpoint, fake_endpoint, in_a_thread
from environment import describe, on_one_thread

SIZE = 64  # pixels a side
QUESTIONS = {
    "digit": "Which digit is written in the picture? Answer with the digit alone.",
    "shape": "Which shape is drawn in the picture: circle, square, triangle or star? Answer with one word.",
    "bar": "Which bar of the chart is the tallest, counted from the left? Answer with its number.",
}
PAGE, PAGE_SIZE = "What is the number of this page? Answer with the number alone.", 256  # pixels a side
TEXT = "the total of all amounts that were paid before the end of the year is given on the next page"
ANSWERS = {
    "digit": [str(i) for i in range(10)],
    "shape": ["circle", "square", "triangle", "star"],
    "bar": [str(i) for i in range(1, 6)],
    "page": [str(i) for i in range(1, 10)],
}
MISREAD = 1 / 7  # of the drawings that the weak model errs on: always in the same way
PREPROCESSING = {
    "size": {"shortest_edge": SIZE},
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_center_crop": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],  # CLIP's
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture, what is asked about it, and how hard it is to read, in [0, 1]."""

    kind: str
    answer: str
    hardness: float
    url: str

    @property
    def question(self) -> str:
        return PAGE if self.kind == "page" else QUESTIONS[self.kind]


def drawings(count: int, seed: int, *, pages: bool = False) -> list[Drawing]:
    drawn = random.Random(seed)
    return [draw_page(drawn) if pages else draw(drawn) for _ in range(count)]


def draw_page(drawn: random.Random) -> Drawing:
    answer, hardness = drawn.choice(ANSWERS["page"]), drawn.random()
    picture = Image.new("L", (PAGE_SIZE, PAGE_SIZE), drawn.randrange(220, 256))
    pen, font, words = ImageDraw.Draw(picture), ImageFont.load_default(drawn.randrange(11, 15)), TEXT.split()
    for y in range(8, 236, 18):
        if drawn.random() < hardness:
            line = " ".join(drawn.sample(words, drawn.randrange(3, 7)))
            pen.text((drawn.randrange(6, 40), y), line, fill=drawn.randrange(20, 90), font=font)
        else:
            x, r = drawn.randrange(20, 236), drawn.randrange(6, 18)
            pen.ellipse((x - r, y - r, x + 2 * r, y + r), fill=drawn.randrange(60, 200))
    pen.text((240, 240), answer, fill=40, font=font)
    kept = io.BytesIO()
    picture.save(kept, "PNG")
    return Drawing("page", answer, hardness, f"data:image/png;base64,{base64.b64encode(kept.getvalue()).decode()}")


def draw(drawn: random.Random) -> Drawing:
    kind = drawn.choice(list(QUESTIONS))
    answer, hardness = drawn.choice(ANSWERS[kind]), drawn.random()
    picture = Image.new("L", (SIZE, SIZE), 255)
    ink = int(40 + 150 * hardness)
    {"digit": digit, "shape": shape, "bar": bars}[kind](ImageDraw.Draw(picture), answer, ink, drawn)
    noise = np.random.default_rng(drawn.randrange(2**32)).normal(0, 5 + 70 * hardness, (SIZE, SIZE))
    seen = np.clip(np.asarray(picture, dtype=float) + noise, 0, 255).astype(np.uint8)
    kept = io.BytesIO()
    Image.fromarray(seen).save(kept, "PNG")
    return Drawing(kind, answer, hardness, f"data:image/png;base64,{base64.b64encode(kept.getvalue()).decode()}")


def digit(pen: ImageDraw.ImageDraw, answer: str, ink: int, drawn: random.Random) -> None:
    at = drawn.randrange(6, 24), drawn.randrange(2, 14)
    pen.text(at, answer, fill=ink, font=ImageFont.load_default(drawn.randrange(28, 44)))


def shape(pen: ImageDraw.ImageDraw, answer: str, ink: int, drawn: random.Random) -> None:
    x, y, r = drawn.randrange(24, 40), drawn.randrange(24, 40), drawn.randrange(12, 20)
    if answer == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
        return
    corners = {"square": [1.0] * 4, "triangle": [1.0] * 3, "star": [1.0, 0.45] * 5}[answer]
    turned = drawn.uniform(0, 6.28)
    angles = [turned + 2 * np.pi * i / len(corners) for i in range(len(corners))]
    pen.polygon(
        [(x + r * s * np.cos(a), y + r * s * np.sin(a)) for s, a in zip(corners, angles, strict=True)], fill=ink
    )


def bars(pen: ImageDraw.ImageDraw, answer: str, ink: int, drawn: random.Random) -> None:
    for i in range(5):
        height = drawn.randrange(44, 54) if i == int(answer) - 1 else drawn.randrange(8, 38)
        pen.rectangle((4 + 12 * i, 60 - height, 12 + 12 * i, 60), fill=ink)


def reader(every: dict[str, Drawing], middle: float, misread: float, asked: Callable[[], FakeEndpoint]) -> Any:
    """A model that errs on half of the drawings of this hardness."""

    def answer(prompt: str, seed: int) -> str:
        (part,) = [one for one in asked().requests[-1]["messages"][-1]["content"] if one["type"] == "image_url"]
        seen = every[part["image_url"]["url"]]
        options = [one for one in ANSWERS[seen.kind] if one != seen.answer]
        fixed = random.Random(seen.url)
        errs = 1 / (1 + np.exp(-14 * (seen.hardness - middle)))
        if fixed.random() < errs * misread:
            return fixed.choice(options)
        own = random.Random(f"{seed} {middle} {seen.url[-60:]}")
        return own.choice(options) if own.random() < errs * (1 - misread) else seen.answer

    return answer


@contextmanager
def models(every: dict[str, Drawing]) -> Iterator[dict[str, Any]]:
    """Both, on loopback, as `demur.sample` takes them."""
    found: dict[str, FakeEndpoint] = {}
    weak = reader(every, 0.5, MISREAD, lambda: found["weak"])
    strong = reader(every, 0.9, 0.0, lambda: found["strong"])
    with in_a_thread(fake_endpoint(weak)) as small, in_a_thread(fake_endpoint(strong)) as large:
        found.update(weak=small, strong=large)
        yield {"weak": f"small@{small.base_url}", "strong": f"large@{large.base_url}"}


def random_convolutions(folder: Path, seed: int = 0) -> Path:
    """A vision model in CLIP's layout: 32 filters of 5 x 5, 64 of 3 x 3, the log of each one's mean, 48 projections."""
    drawn, network = np.random.default_rng(seed), Network()
    first = drawn.normal(size=(32, 3, 5, 5)).astype(np.float32)
    second = drawn.normal(size=(64, 32, 3, 3)).astype(np.float32) / 17
    for name, values in {
        "w1": (first - first.mean(axis=(1, 2, 3), keepdims=True)) / 9,
        "w2": second,
        "small": np.array([1e-3], dtype=np.float32),
        "out": drawn.normal(size=(64, 48)).astype(np.float32) / 8,
    }.items():
        network.weight(name, values.astype(np.float32))
    seen = network.add("Relu", [network.add("Conv", ["pixel_values", "w1"], strides=[2, 2])])
    seen = network.add("Relu", [network.add("Conv", [seen, "w2"], strides=[2, 2])])
    means = network.add("ReduceMean", [seen], axes=[2, 3], keepdims=0)
    logs = network.add("Log", [network.add("Add", [means, "small"])])
    centred = network.add("Sub", [logs, network.add("ReduceMean", [logs], axes=[1], keepdims=1)])
    output = network.add("MatMul", [centred, "out"])
    content = network.serialise({"pixel_values": ("n", 3, SIZE, SIZE)}, output, ("n", 48), reads=FLOAT)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vision_model.onnx").write_bytes(content)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return folder


def print_entropies(run: str, prompts: Path, found: demur.Labels) -> None:
    """AUROC of each model's entropy for its first answer being wrong, on the prompts that train."""
    by_id = {one.id: one for one in read_prompts(prompts)}
    for name, answers in (("weak", "response_a"), ("strong", "response_b")):
        rows = [row for row in found.preferences if row.entropy_a is not None]
        wrong = np.array([1 - grade(by_id[row.id], getattr(row, answers)) for row in rows])
        entropy = np.array([row.entropy_a if name == "weak" else row.entropy_b for row in rows], dtype=float)
        print(
            f"{name} model: {100 * wrong.mean():.1f} % of {len(rows)} first answers wrong; AUROC of its semantic "
            f"entropy for them {auroc(entropy, 1 - wrong):.3f}"
        )


def print_routers(run: str, encoder: str) -> None:
    for gate in ("off", "on"):
        demur.train(run=run, encoder=encoder, gate=gate, serve="kernel", unknown="score")
        found = demur.evaluate(run=run)
        for row in found.rows:
            if (gate == "on") == ("+" in row.router or "gate" in row.router or "checked" in row.router):
                low, high = row.curve.interval("apgr")
                print(f"  {row.router:<24} APGR {row.curve.apgr:.3f} [{low:.3f}, {high:.3f}]", flush=True)


def print_ceiling(run: str, every: list[Drawing]) -> None:
    """What a router would reach that knew how hard every drawing is, though not who errs on it."""
    with open_run(load_run(run)) as opened:
        prompts, sides = opened.complete(opened.held_back), (opened.samples.weak, opened.samples.strong)
        weak, strong = (
            np.array([np.mean([grade(one, sample.text) for sample in side[one.id]]) for one in prompts])
            for side in sides
        )
    hardness = np.array([every[int(one.id[1:])].hardness for one in prompts])
    curve = cost_quality_curve(hardness, weak, strong)
    low, high = curve.interval("apgr")
    print(f"the drawing's hardness itself: APGR {curve.apgr:.3f} [{low:.3f}, {high:.3f}]")


def print_times(every: list[Drawing], folder: Path) -> None:
    texts = [ShownText.of(one.question, [one.url]) for one in every[:100]]
    for more in ("", "+text-share"):
        encoder = load_encoder(f"letters+images={folder}{more}")
        assert isinstance(encoder, JoinedEncoder)
        times: list[float] = []
        for text in texts:
            start = time.process_time()  # pictures are looked at by another thread
            encoder.encode([text])
            times.append(1000 * (time.process_time() - start))
        middle: FloatArray = np.quantile(times, [0.5, 0.99])
        print(f"opening and embedding one drawing{more}: {middle[0]:.2f} ms of CPU (median), {middle[1]:.2f} (p99)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1200, help="Drawings; half of them are tested.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pages", action="store_true", help="Pages that are hard to read by their share of words.")
    given = parser.parse_args()
    print(describe())
    every = drawings(given.count, given.seed, pages=given.pages)
    with tempfile.TemporaryDirectory() as made:
        folder, prompts = Path(made), Path(made) / "prompts.jsonl"
        rows = (
            {"id": f"p{i}", "prompt": one.question, "images": one.url, "answers": [one.answer]}
            for i, one in enumerate(every)
        )
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        run, vision = str(folder / "run"), random_convolutions(folder / "vision")
        with models({one.url: one for one in every}) as names:
            demur.sample(prompts, **names, run=run, n=5)
        print_entropies(run, prompts, demur.label(run=run))
        pictured = f"bge-small-6+images={vision}"
        for spec in ("bge-small-6", pictured, f"{pictured}+text-share"):
            print(f"routers on {spec.replace(str(vision), 'RANDOM_CONVOLUTIONS')}:")
            print_routers(run, spec)
        print_ceiling(run, every)
        print_times(every, vision)


if __name__ == "__main__":
    on_one_thread()
    main()
