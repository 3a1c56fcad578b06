"""How much of a picture is text: a column of the image encoder's vectors, kept by name and hash in a saved router."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from demur.config import RouterConfig
from demur.errors import ArtifactError, InputError, ModelError, PictureError
from demur.gate.router import Router
from demur.models import catalogue
from demur.models.encoders.encoder import encoder_identity, load_encoder, spec_of
from demur.models.encoders.onnx_file import FLOAT, Network
from demur.models.images import text_share
from demur.models.images.joined_encoder import MOST_LOOKED, TEXT_WEIGHT
from demur.models.images.preprocessing import LONGEST_SIDE, opened_picture
from demur.models.images.text_share import DETECTOR, LONGEST, WIDENED, TextDetector, open_text_detector
from demur.prompts.pictures import ShownText
from demur.runs.begin.preflight import check_encoder
from demur.runs.record import with_absolute_encoder
from test_images import BLUE, RED, picture, trained, url_of, vision_model

RED_TEXT, BLUE_TEXT = ShownText.of("which?", [RED]), ShownText.of("which?", [BLUE])


def detector_file(path: Path) -> Path:
    """A network that marks a pixel by its brightness: -1 where it is black, 1 where it is white."""
    network = Network()
    output = network.add("ReduceMean", ["x"], axes=[1], keepdims=1)
    path.write_bytes(network.serialise({"x": ("n", 3, "h", "w")}, output, ("n", 1, "h", "w"), reads=FLOAT))
    return path


@pytest.fixture(autouse=True)
def by_brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue gives that network."""
    file = detector_file(tmp_path / "detector.onnx")
    monkeypatch.setattr(text_share, "fetch", lambda name, progress: file)


def bright(columns: int, size: tuple[int, int] = (320, 320)) -> Any:
    """A black picture whose first columns are white."""
    made = Image.new("RGB", size)
    made.paste((255, 255, 255), (0, 0, columns, size[1]))
    return made


def test_the_share_is_what_is_marked_and_widened_and_at_most_one() -> None:
    detector = open_text_detector()
    assert detector.share(bright(0)) == 0
    assert detector.share(bright(32)) == pytest.approx(0.1 * WIDENED, abs=0.01)
    assert detector.share(bright(320)) == 1


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((4000, 1900), (224, 480)),
        ((1900, 4000), (480, 224)),
        ((60, 60), (256, 256)),  # four times as large, in steps of 32
        ((10, 1000), (480, 32)),
    ],
)
def test_whatever_a_pictures_size_a_bounded_one_is_looked_at(size: tuple[int, int], seen: tuple[int, int]) -> None:
    found = open_text_detector()._probabilities(Image.new("RGB", size))
    assert found.shape == seen
    assert max(seen) <= LONGEST


def test_a_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"d\.onnx: the detector of text cannot be opened"):
        TextDetector(tmp_path / "d.onnx")


def test_the_share_is_the_last_column_and_the_others_are_as_without_it(tmp_path: Path) -> None:
    folder = vision_model(tmp_path / "vision")
    without, encoder = (load_encoder(f"letters+images={folder}{more}") for more in ("", "+text-share"))
    white = url_of(picture((255, 255, 255)))
    texts = ["which?", *(ShownText.of("which?", shown) for shown in ([RED], [white], [white, RED, RED, RED]))]
    rows = encoder.encode(texts)
    np.testing.assert_array_equal(rows[:, :-1], without.encode(texts))
    np.testing.assert_allclose(rows[:, -1], TEXT_WEIGHT * np.array([0, 0, 1, 0.25]), atol=1e-6)
    assert encoder_identity(encoder).startswith(f"{encoder_identity(without)} + text share ")
    assert spec_of(encoder) == f"letters+images={folder}+text-share"
    there = pickle.loads(pickle.dumps(encoder))  # as a worker of a cluster gets it
    np.testing.assert_array_equal(there.encode(texts), rows)


def test_a_router_is_not_loaded_without_the_detector_that_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = vision_model(tmp_path / "vision")
    router = trained(tmp_path / "router", load_encoder(f"letters+images={folder}+text-share"))
    assert Router.load(tmp_path / "router").score([RED_TEXT, BLUE_TEXT]) == pytest.approx(
        router.score([RED_TEXT, BLUE_TEXT])
    )
    with pytest.raises(ArtifactError, match=r"trained on encoder '.*text share.*', this one is .*; train again"):
        Router.load(tmp_path / "router", encoder=load_encoder(f"letters+images={folder}"))
    other = Network()
    output = other.add("ReduceMax", ["x"], axes=[1], keepdims=1)
    content = other.serialise({"x": ("n", 3, "h", "w")}, output, ("n", 1, "h", "w"), reads=FLOAT)
    (tmp_path / "detector.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="train again"):
        Router.load(tmp_path / "router")
    monkeypatch.setattr(text_share, "fetch", catalogue.fetch)
    monkeypatch.setattr(catalogue, "_fetch_into", refused)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEMUR_MODELS", raising=False)
    with pytest.raises(ModelError, match=f"{DETECTOR} is not here"):
        Router.load(tmp_path / "router")


def refused(target: Path, name: str, *rest: Any) -> Path:
    raise ModelError(f"{name} is not here")


def test_a_router_saved_without_the_share_needs_no_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = vision_model(tmp_path / "vision")
    trained(tmp_path / "router", load_encoder(f"letters+images={folder}"))
    monkeypatch.setattr(text_share, "fetch", refused)
    kept = json.loads((tmp_path / "router" / "router.json").read_text())["encoder"]["identity"]
    assert "text" not in kept
    assert Router.load(tmp_path / "router").route(BLUE_TEXT).role == "strong"


def test_a_thin_picture_is_not_scaled_to_more_pixels_than_memory_has(tmp_path: Path) -> None:
    """Its shorter side would be made as long as the encoder's, and the longer one as many times longer."""
    thin = picture((255, 0, 0), (LONGEST_SIDE * 3 + 3, 3))
    with pytest.raises(PictureError, match=r"a picture has 303 x 3 pixels; at most .* a longer side of 100 times"):
        opened_picture(thin)
    assert opened_picture(picture((255, 0, 0), (300, 3))).size == (300, 3)


def test_of_very_many_pictures_the_first_are_looked_at(tmp_path: Path) -> None:
    encoder = load_encoder(f"letters+images={vision_model(tmp_path / 'vision')}+text-share")
    many = ShownText.of("which?", [RED] * MOST_LOOKED + [url_of(b"broken")])
    (row,) = encoder.encode([many])
    few = encoder.encode([ShownText.of("which?", [RED] * MOST_LOOKED)])[0]
    np.testing.assert_array_equal(np.delete(row, -3)[36:], np.delete(few, -3)[36:])  # all but how many there are
    assert row[-3] == pytest.approx(0.1 * np.log(2 + MOST_LOOKED))
    with pytest.raises(PictureError):
        encoder.encode([ShownText.of("which?", [RED] * (MOST_LOOKED - 1) + [url_of(b"broken")])])


def test_where_the_share_stands_in_an_encoders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_encoder("auto+images=clip+text-share")
    with pytest.raises(InputError, match=r"\+text-share stands at the end, after \+images=FILE"):
        check_encoder("auto+text-share")
    with pytest.raises(InputError, match="name the image encoder"):
        check_encoder("auto+images=+text-share")
    monkeypatch.chdir(tmp_path)
    vision_model(tmp_path / "clip")
    kept = with_absolute_encoder(RouterConfig(encoder="letters+images=clip+text-share")).encoder
    assert kept == f"letters+images={tmp_path / 'clip'}+text-share"


@pytest.mark.slow
def test_the_real_detector_finds_words_and_no_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_share, "fetch", catalogue.fetch)
    detector = open_text_detector()
    words, shapes = Image.new("RGB", (400, 300), "white"), Image.new("RGB", (400, 300), "white")
    font, pen = ImageFont.load_default(24), ImageDraw.Draw(words)
    covered = 0.0
    for y in (20, 100, 180, 260):
        pen.text((20, y), "the total of all amounts", fill="black", font=font)
        left, top, right, bottom = pen.textbbox((20, y), "the total of all amounts", font=font)
        covered += (right - left) * (bottom - top) / 120_000
    ImageDraw.Draw(shapes).ellipse((40, 40, 200, 200), fill="red")
    ImageDraw.Draw(shapes).rectangle((220, 60, 380, 280), fill="blue")
    assert detector.share(words) == pytest.approx(covered, abs=0.1)
    assert detector.share(shapes) < 0.1 < covered
