"""The image encoder: what is done to a picture, its vector beside the words', and a router that looks at pictures."""

from __future__ import annotations

import base64
import io
import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.errors import ArtifactError, InputError, ModelError, PictureError
from demur.gate.router import Router
from demur.methods import KNN
from demur.models.encoders.encoder import CachedEncoder, LetterEncoder, encoder_identity, load_encoder, spec_of
from demur.models.encoders.onnx_file import FLOAT, INT64, Network
from demur.models.images.image_encoder import open_image_encoder
from demur.models.images.joined_encoder import JoinedEncoder, embed
from demur.models.images.preprocessing import LARGEST_PIXELS, Preprocessing, bytes_of, opened_picture
from demur.prompts.pictures import LARGEST_BYTES, ShownText, pictures_in, text_with_pictures, told_of, words_of
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from demur.store import Store
from demur.testing import FakeEndpoint
from pairs import running_pair

CLIP = {  # preprocessor_config.json of openai/clip-vit-base-patch32, but for the size
    "crop_size": {"height": 4, "width": 4},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.25, 0.0],
    "image_std": [0.5, 0.25, 1.0],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 4},
}


def vision_model(folder: Path, settings: dict[str, Any] | None = None, size: int = 4) -> Path:
    """A vision model of CLIP's layout whose vector of a picture is the mean of each of its three channels."""
    network = Network()
    output = network.add("ReduceMean", ["pixel_values"], axes=[2, 3], keepdims=0)
    content = network.serialise({"pixel_values": ("n", 3, size, size)}, output, ("n", 3), reads=FLOAT)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    (folder / "onnx" / "vision_model.onnx").write_bytes(content)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings or CLIP))
    return folder


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (8, 6), kind: str = "PNG") -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", size, colour).save(kept, kind)
    return kept.getvalue()


def unreadable(data: bytes) -> bytes:
    """With a head and an end, and nothing that can be decoded between them."""
    return data[:20] + bytes(len(data) - 40) + data[-20:]


def url_of(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


RED, BLUE = url_of(picture((255, 0, 0))), url_of(picture((0, 0, 255)))


def test_a_picture_is_resized_cropped_and_normalised_as_its_file_says(tmp_path: Path) -> None:
    """Shorter side to 4: 12 x 8 becomes 6 x 4; the middle 4 columns stay; then (byte / 255 - mean) / std."""
    nearest = {**CLIP, "resample": 0}  # no mixing of neighbours
    done = Preprocessing.read(vision_model(tmp_path, nearest) / "preprocessor_config.json")
    wide = Image.new("RGB", (12, 8), (255, 255, 255))
    wide.paste((0, 0, 0), (10, 0, 12, 8))  # a black edge, which the crop cuts off
    found = done.pixels(wide)
    assert found.shape == (3, 4, 4)
    np.testing.assert_allclose(found[:, 0, 0], [(1 - 0.5) / 0.5, (1 - 0.25) / 0.25, 1.0], atol=1e-6)
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1, :1], found.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({**CLIP, "size": 5, "crop_size": 5}, (3, 5, 5)),
        ({**CLIP, "size": {"height": 3, "width": 7}, "do_center_crop": False}, (3, 3, 7)),  # SigLIP's
        ({**CLIP, "do_resize": False, "crop_size": {"height": 10, "width": 10}}, (3, 10, 10)),  # smaller than the crop
    ],
)
def test_sizes_are_written_in_several_ways(tmp_path: Path, settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    (tmp_path / "p.json").write_text(json.dumps(settings))
    assert Preprocessing.read(tmp_path / "p.json").pixels(Image.new("RGB", (8, 6))).shape == shape


def test_a_crop_larger_than_the_picture_has_black_around_it(tmp_path: Path) -> None:
    given = {**CLIP, "do_resize": False, "do_normalize": False, "crop_size": 4}
    (tmp_path / "p.json").write_text(json.dumps(given))
    found = Preprocessing.read(tmp_path / "p.json").pixels(Image.new("RGB", (2, 2), (255, 255, 255)))
    np.testing.assert_allclose(found[0], np.pad(np.ones((2, 2)), 1), atol=1e-6)


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"do_normalize": true, "size": 4}'])
def test_a_file_that_is_no_preprocessing_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ModelError, match=r"p\.json: not the preprocessor_config\.json of a vision model"):
        Preprocessing.read(tmp_path / "p.json")
    with pytest.raises(ModelError, match=r"none\.json: cannot be read"):
        Preprocessing.read(tmp_path / "none.json")


def test_the_vector_of_words_and_pictures(tmp_path: Path) -> None:
    """Red has the channels (1, -1, 0) after normalising, blue (-1, -1, 1); both come as unit vectors times 2,
    several as their mean, none as zeros."""
    encoder = load_encoder(f"letters+images={vision_model(tmp_path)}")
    assert isinstance(encoder, JoinedEncoder)
    red, blue = np.array([1, -1, 0]) / np.sqrt(2), np.array([-1, -1, 1]) / np.sqrt(3)
    texts = ["which colour?", ShownText.of("which colour?", [RED]), ShownText.of("which colour?", [RED, BLUE])]
    words = LetterEncoder().encode([told_of(text) for text in texts])
    rows = encoder.encode(texts)
    assert rows.shape == (3, 36 + 3 + 5)
    np.testing.assert_allclose(rows[:, :36], words, atol=1e-6)
    np.testing.assert_array_equal(rows[0, 36:], 0)
    np.testing.assert_allclose(rows[1, 36:39], 2 * red, atol=1e-5)
    np.testing.assert_allclose(rows[2, 36:39], red + blue, atol=1e-5)
    size = 0.1 * (np.log([8, 6, len(bytes_of(RED))]) - [6, 6, 10])
    np.testing.assert_allclose(rows[1, 39:], [*size, 0.1 * np.log(2), 0.1], atol=1e-5)
    np.testing.assert_allclose(rows[2, 42:], [0.1 * np.log(3), 0.1], atol=1e-5)
    np.testing.assert_array_equal(encoder.encode_together(texts), rows)


def test_what_only_names_a_picture_has_no_vector_of_it(tmp_path: Path) -> None:
    """As a text of a file: it has pictures, nobody knows which."""
    encoder = load_encoder(f"letters+images={vision_model(tmp_path)}")
    (row,) = encoder.encode([str(ShownText.of("which?", [RED]))])
    np.testing.assert_array_equal(row[36:42], 0)
    np.testing.assert_allclose(row[42:], [0.1 * np.log(2), 0.1], atol=1e-6)


def test_encoders_of_words_read_that_there_is_a_picture_but_not_which() -> None:
    red, blue = ShownText.of("which?", [RED]), ShownText.of("which?", [BLUE])
    assert red != blue
    assert told_of(red) == told_of(blue) == "which?\n[image]"
    assert words_of(red) == "which?"
    rows = embed(LetterEncoder(), [red, blue, "which?"])
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_the_store_keeps_vectors_by_picture(tmp_path: Path) -> None:
    encoder = load_encoder(f"letters+images={vision_model(tmp_path)}")
    red, blue = ShownText.of("which?", [RED]), ShownText.of("which?", [BLUE])
    with Store(":memory:") as store:
        cached = CachedEncoder(encoder, store, shown={str(red): red, str(blue): blue})
        rows = cached.encode([str(red), str(blue)])  # as preferences.jsonl has them
        np.testing.assert_array_equal(CachedEncoder(encoder, store).encode([str(red)]), rows[:1])
    np.testing.assert_allclose(rows, encoder.encode([red, blue]), atol=1e-6)


@pytest.mark.parametrize("form", ["chat", "messages", "responses"])
def test_pictures_are_found_in_every_apis_form(form: str) -> None:
    data = RED.partition(",")[2]
    part = {
        "chat": {"type": "image_url", "image_url": {"url": RED}},
        "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        "responses": {"type": "input_image", "image_url": RED},
    }[form]
    before = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": BLUE}}]}
    asked = {"role": "user", "content": [{"type": "text", "text": "which?"}, part]}
    assert pictures_in([before, asked]) == (RED,)
    assert pictures_in([before, {"role": "assistant", "content": "blue"}]) == (BLUE,)
    assert pictures_in([{"role": "user", "content": "none"}]) == pictures_in("no list") == ()


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("https://example.org/a.png", "is not fetched; give the file itself, or a data URL"),
        ("data:image/png,abc", "not a base64 data URL"),
        ("data:image/png;base64,a*", "is not base64"),
        (url_of(b"no picture at all"), "cannot be opened"),
        (url_of(picture((1, 2, 3), (64, 64))[:60]), "cannot be opened"),
        (f"data:image/png;base64,{'A' * (50 * 2**20 * 4 // 3)}", "has 50 MiB, at most 20 are looked at"),
    ],
)
def test_pictures_that_cannot_be_looked_at(tmp_path: Path, address: str, named: str) -> None:
    encoder = load_encoder(f"letters+images={vision_model(tmp_path)}")
    with pytest.raises(PictureError, match=named):
        encoder.encode([ShownText.of("which?", [address])])
    with pytest.raises(PictureError, match=r"^rows\.jsonl:7: "):
        encoder.encode([ShownText.of("which?", [address], "rows.jsonl:7")])


def test_a_small_file_of_very_many_pixels_is_not_opened() -> None:
    kept = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(kept, "PNG")
    assert len(kept.getvalue()) < LARGEST_BYTES
    assert LARGEST_PIXELS < 20_000**2
    with pytest.raises(PictureError, match=r"a picture (cannot be opened|has 20000 x 20000 pixels;)"):
        opened_picture(kept.getvalue())


def test_files_that_are_no_image_encoder(tmp_path: Path) -> None:
    folder = vision_model(tmp_path / "there")
    (tmp_path / "empty").mkdir()
    words = Network()
    output = words.add("Cast", ["input_ids"], to=FLOAT)
    (tmp_path / "words.onnx").write_bytes(words.serialise({"input_ids": ("n", 3)}, output, ("n", 3), reads=INT64))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP))
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    assert open_image_encoder(str(folder / "onnx" / "vision_model.onnx")).dimension == 3
    for named, said in {
        "missing.onnx": "is not there; name a .onnx file",
        "empty": "no image encoder here; it holds vision_model_quantized.onnx",
        "words.onnx": r"it reads input_ids tensor\(int64\) \['n', 3\], not one picture",
        "broken.onnx": "the image encoder cannot be opened",
    }.items():
        with pytest.raises(ModelError, match=said):
            open_image_encoder(str(tmp_path / named))
    with pytest.raises(ModelError, match=r"it does not take pictures of 5 x 5 pixels"):
        other = vision_model(tmp_path / "other", {**CLIP, "size": 5, "crop_size": 5})
        open_image_encoder(str(other)).vector(opened_picture(bytes_of(RED)))


def trained(folder: Path, encoder: Any) -> PromptRouter:
    """Blue needs the strong model, red does not; the question is the same."""
    rows = []
    for shade in range(200, 256, 4):
        rows.append(TrainingPrompt(text_with_pictures("which?", [url_of(picture((shade, 0, 0)))]), 0.0, None, None))
        rows.append(TrainingPrompt(text_with_pictures("which?", [url_of(picture((0, 0, shade)))]), 1.0, None, None))
    router = train_router(encoder, KNN(3), rows, weak="small", strong="large")
    router.save(folder)
    return router


def test_a_router_tells_pictures_apart_and_a_saved_one_names_its_image_encoder(tmp_path: Path) -> None:
    folder = vision_model(tmp_path / "vision")
    trained(tmp_path / "router", load_encoder(f"letters+images={folder}"))
    loaded = Router.load(tmp_path / "router")
    red, blue = text_with_pictures("which?", [RED]), text_with_pictures("which?", [BLUE])
    np.testing.assert_allclose(loaded.score([red, blue]), [0, 1], atol=1e-6)
    assert [loaded.route(red).role, loaded.route(blue).role] == ["weak", "strong"]
    kept = json.loads((tmp_path / "router" / "router.json").read_text())["encoder"]
    assert kept["spec"] == f"letters+images={folder}" == spec_of(loaded.prompt_router.encoder)
    with pytest.raises(ArtifactError, match="this one is 'letters'"):
        Router.load(tmp_path / "router", encoder=LetterEncoder())
    (folder / "onnx" / "vision_model.onnx").rename(tmp_path / "elsewhere.onnx")
    with pytest.raises(ModelError, match="no image encoder here") as raised:
        Router.load(tmp_path / "router")
    assert "\n" not in str(raised.value)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP))
    moved = load_encoder(f"letters+images={tmp_path / 'elsewhere.onnx'}")
    assert encoder_identity(moved) == kept["identity"]
    np.testing.assert_allclose(Router.load(tmp_path / "router", encoder=moved).score([blue]), [1], atol=1e-6)


def test_without_an_image_encoder_pictures_are_all_the_same(tmp_path: Path) -> None:
    router = trained(tmp_path / "router", LetterEncoder())
    first, second = router.score([text_with_pictures("which?", [RED]), text_with_pictures("which?", [BLUE])])
    assert first == second


def test_an_image_encoder_must_be_named() -> None:
    from demur.runs.begin.preflight import check_encoder

    check_encoder("auto+length+images=clip")
    check_encoder("auto+images=Xenova/clip-vit-base-patch32")
    with pytest.raises(InputError, match="name the image encoder"):
        check_encoder("auto+images=")
    with pytest.raises(InputError, match=r"\+images=FILE may follow"):
        check_encoder("word2vec+images=clip")


def test_a_run_learns_from_pictures_and_a_broken_one_is_named_with_its_row(tmp_path: Path) -> None:
    """Thirty red and thirty blue pictures under one question: the weak model reads red alone."""
    shades = [(100 + 5 * i, 0, 0) if i % 2 else (0, 0, 100 + 5 * i) for i in range(30)] * 2
    urls = [url_of(picture(shade, (4 + i, 6))) for i, shade in enumerate(shades)]
    colours = {url: "red" if i % 2 else "blue" for i, url in enumerate(urls)}
    rows = [{"prompt": "Which colour?", "images": url, "answers": [colour]} for url, colour in colours.items()]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen: dict[str, FakeEndpoint] = {}

    def reads(who: str) -> str:
        return colours.get(seen[who].requests[-1]["messages"][0]["content"][1]["image_url"]["url"], "red")

    def weak(prompt: str, seed: int) -> str:
        return "red" if reads("weak") == "red" else f"colour {seed}"

    run, spec = str(tmp_path / "run"), f"letters+images={vision_model(tmp_path / 'vision')}"
    with running_pair(answers=(weak, lambda prompt, seed: reads("strong"))) as pair:
        seen |= {"weak": pair.weak, "strong": pair.strong}
        demur.sample(file, **pair.names, run=run, n=3)
        found = demur.label(run=run, entailment="exact")
        assert any("the router does not see the pictures of 60 prompts" in note for note in found.notes)
        demur.train(run=run, methods="kernel", encoder=spec, gate="off", unknown="score")
        assert "the router see" in dict(demur.label(run=run).facts)["pictures"]
        with_pictures = demur.evaluate(run=run).rows[0].curve.apgr
        demur.train(run=run, encoder="letters")
        assert demur.evaluate(run=run).rows[0].curve.apgr == pytest.approx(0.5, abs=0.05)
        assert with_pictures > 0.7  # .75 is the most: half of the prompts gain
        demur.train(run=run, encoder=spec)
        answered = Router.load(f"{run}/router").answer(text_with_pictures("Which colour?", urls[0]))
        assert answered.answer == "blue"
        assert pair.strong.requests[-1]["messages"][0]["content"][0]["text"] == "Which colour?"
        words = ["route", "Which colour?", "--image", urls[0], "--router", f"{run}/router", "--json"]
        said = CliRunner().invoke(app, words)
        assert json.loads(said.stdout)["role"] == "strong"
        odd = {"prompt": "Which colour?", "images": url_of(unreadable(picture((1, 2, 3))))}  # without gold: it trains
        broken = [*rows[:3], odd, *rows[4:]]
        file.write_text("".join(json.dumps(row) + "\n" for row in broken))
        run = str(tmp_path / "other")
        demur.sample(file, **pair.names, run=run, n=3)
        demur.label(run=run, entailment="exact", source="agreement")
        with pytest.raises(PictureError, match=r"q\.jsonl:4: a picture cannot be opened"):
            demur.train(run=run, methods="sw", encoder=spec, gate="off")


def test_an_image_encoder_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantised model first, then the whole one; what the hub does not give is one line."""
    folder, asked = vision_model(tmp_path), []

    class MissingError(Exception):
        pass

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        if not (folder / file).is_file():
            raise MissingError(file)
        return str(folder / file)

    hub = SimpleNamespace(hf_hub_download=download, errors=SimpleNamespace(EntryNotFoundError=MissingError))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    encoder = load_encoder("letters+images=Xenova/clip-vit-base-patch32")
    assert spec_of(encoder) == "letters+images=Xenova/clip-vit-base-patch32"
    assert asked[:2] == [
        ("Xenova/clip-vit-base-patch32", "onnx/vision_model_quantized.onnx"),
        ("Xenova/clip-vit-base-patch32", "onnx/vision_model.onnx"),
    ]
    sent = pickle.dumps(encoder)  # to another machine, where the hub keeps its files elsewhere
    (folder / "onnx" / "vision_model.onnx").unlink()
    folder = vision_model(tmp_path / "other")
    assert pickle.loads(sent).images.model == folder / "onnx" / "vision_model.onnx"
    (folder / "onnx" / "vision_model.onnx").unlink()
    with pytest.raises(ModelError, match=r"the hub does not give it \(MissingError\); name a local folder"):
        load_encoder("letters+images=Xenova/clip-vit-base-patch32")


def test_in_another_process_an_image_encoder_is_opened_again_and_another_one_at_its_place_is_refused(
    tmp_path: Path,
) -> None:
    """As a worker of a cluster does with what it is sent."""
    folder, text = vision_model(tmp_path / "vision"), ShownText.of("which?", [RED])
    encoder = load_encoder(f"letters+images={folder}")
    sent = pickle.dumps((encoder, text))
    there, asked = pickle.loads(sent)
    assert there.encode([asked]).tobytes() == encoder.encode([text]).tobytes()
    vision_model(folder, {**CLIP, "resample": 0})
    with pytest.raises(ModelError, match=r"vision_model\.onnx: images \w+ here, images \w+ where the work comes from"):
        pickle.loads(sent)
    (folder / "onnx" / "vision_model.onnx").unlink()
    with pytest.raises(ModelError, match=r"vision_model\.onnx: the image encoder cannot be opened"):
        pickle.loads(sent)
