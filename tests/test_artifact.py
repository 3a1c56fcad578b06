"""Saved routers: what is loaded scores as what was saved; anything else is refused with a reason."""

from __future__ import annotations

import hashlib
import json
import re
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from demur.errors import ArtifactError, InputError
from demur.measure.threshold import threshold_for_share
from demur.methods import BY_NAME
from demur.methods.classifier import Classifier
from demur.models.encoders.encoder import LetterEncoder
from demur.records import FloatArray
from demur.routing.artifact import save_calibration
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router

WORDS = ["zzz", "aaa", "zaz", "aza", "zz top", "an aa battery", "jazz pizza", "banana"]
TRAINING = [TrainingPrompt(f"{w} {i}", float(w.count("z") > w.count("a")), 1.0, 0.5) for i in range(6) for w in WORDS]


def make(name: str = "sw") -> PromptRouter:
    return train_router(LetterEncoder(), BY_NAME[name](), TRAINING, weak="small", strong="large", record={"n": 3})


@pytest.mark.parametrize("name", list(BY_NAME))
def test_round_trip(tmp_path: Path, name: str) -> None:
    router = make(name)
    router.save(tmp_path / "router")
    loaded = PromptRouter.load(tmp_path / "router", encoder=LetterEncoder())
    prompts = ["zebra puzzle", "a salad", "hello"]
    np.testing.assert_array_equal(loaded.score(prompts), router.score(prompts))
    assert loaded.route("pizza") == router.route("pizza")
    assert loaded.record == router.record
    assert loaded.record["n"] == 3
    assert {path.suffix for path in (tmp_path / "router").iterdir()} == {".json", ".jsonl", ".safetensors"}


def test_calibration_is_kept_and_used(tmp_path: Path) -> None:
    router = make()
    router.save(tmp_path)
    scores = router.score([t.prompt for t in TRAINING])
    save_calibration(tmp_path, threshold_for_share(scores, 0.25))
    loaded = PromptRouter.load(tmp_path, encoder=LetterEncoder())
    assert loaded.calibration is not None
    assert np.mean(scores >= loaded.threshold) == pytest.approx(loaded.calibration.strong_share)
    assert "not calibrated" in router.route("x").reason
    assert loaded.calibration.sentence.startswith("asked for: strong share 25%; ")
    # A reason is of its prompt: how the threshold was set is the same for every one.
    made, number = loaded.route("x"), r"-?\d\.\d+"
    assert re.fullmatch(rf"score {number} (<|>=) threshold {number}", made.reason.split("; ")[0])
    assert "asked" not in made.reason


def test_without_calibration_the_middle_of_the_training_scores_decides() -> None:
    router = make()
    assert router.threshold == np.median(router.training_scores)


def test_the_nearest_training_prompts_are_the_nearest() -> None:
    decision = make().route("banana 3")
    assert decision.neighbours[0].prompt == "banana 3"
    assert decision.neighbours[0].similarity == pytest.approx(1)
    assert len(decision.neighbours) == 3
    similarities = [near.similarity for near in decision.neighbours]
    assert similarities == sorted(similarities, reverse=True)


class VectorEncoder:
    """Texts that are numbers stand for the rows of a matrix."""

    identity = "rows"

    def __init__(self, rows: FloatArray) -> None:
        self.rows = rows.astype(np.float32)

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        return np.asarray(self.rows[[int(text) for text in texts]])


def test_one_prompt_in_a_hundred_is_further_from_its_nearest_other_than_what_is_familiar() -> None:
    """50 pairs at right angles to each other: the two of one pair are .3 alike, those of all others .9.

    A prompt's own likeness of 1 says nothing of how near others come.
    """
    likeness = np.where(np.arange(50) == 7, 0.3, 0.9)
    rows = np.zeros((100, 101))
    rows[np.arange(50), 2 * np.arange(50)] = 1.0
    rows[np.arange(50, 100), 2 * np.arange(50)] = likeness
    rows[np.arange(50, 100), 2 * np.arange(50) + 1] = np.sqrt(1 - likeness**2)
    training = [TrainingPrompt(str(i), float(i % 2), None, None) for i in range(100)]
    router = train_router(VectorEncoder(rows), BY_NAME["logistic"](), training, weak="small", strong="large")
    assert router.familiar_similarity == pytest.approx(0.3, abs=1e-6)
    others = np.zeros((2, 101))
    others[:, 0] = 0.31, 0.29  # how much each is like the first prompt; nothing else is like them
    others[:, 100] = np.sqrt(1 - others[:, 0] ** 2)
    assert router.look_at_vectors(others, ["1", "2"]).familiar.tolist() == [True, False]


@contextmanager
def disk_with_room_for(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: the system's own refusal, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_takes_no_earlier_router(tmp_path: Path) -> None:
    earlier = make("sw")
    earlier.save(tmp_path)
    with disk_with_room_for(1000):
        with pytest.raises(ArtifactError, match=r"File too large\) and the earlier one is unchanged; free some"):
            make("logistic").save(tmp_path)
        with pytest.raises(ArtifactError, match="the earlier one is unchanged"):
            save_calibration(tmp_path, replace(threshold_for_share([0.1, 0.9], 0.5), on="x" * 2000))
    loaded = PromptRouter.load(tmp_path, encoder=LetterEncoder())
    assert loaded.route("pizza") == earlier.route("pizza")
    assert len(list(tmp_path.iterdir())) == 3  # no part is left behind


def test_whoever_may_read_new_files_may_read_the_weights(tmp_path: Path) -> None:
    make().save(tmp_path)
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_line_separator_within_an_answer_ends_no_line(tmp_path: Path) -> None:
    answers = ["one\u2028two", "one\u2029two", "one\u0085two"]
    training = [replace(t, weak_answer=answers[i % 3], prompt=f"{t.prompt}\u2028") for i, t in enumerate(TRAINING)]
    train_router(LetterEncoder(), BY_NAME["sw"](), training, weak="s", strong="l").save(tmp_path)
    assert PromptRouter.load(tmp_path, encoder=LetterEncoder()).training == tuple(training)


def damage_description(folder: Path, **changed: object) -> None:
    path = folder / "router.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_what_is_not_a_router_is_refused(tmp_path: Path) -> None:
    def load() -> PromptRouter:
        return PromptRouter.load(tmp_path / "r", encoder=LetterEncoder())

    with pytest.raises(ArtifactError, match=r"no saved router here; make one with `demur train`"):
        load()
    make().save(tmp_path / "r")
    damage_description(tmp_path / "r", demur_format=7)
    with pytest.raises(ArtifactError, match="format 7, this demur reads 3; upgrade"):
        load()
    make().save(tmp_path / "r")
    damage_description(tmp_path / "r", method="forest")
    with pytest.raises(ArtifactError, match="method 'forest' is not one of"):
        load()
    (tmp_path / "r" / "router.json").write_text('{"model": "other"}')
    with pytest.raises(ArtifactError, match="not a router of demur's"):
        load()
    (tmp_path / "r" / "router.json").write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        load()


@pytest.mark.parametrize("name", ["weights.safetensors", "training.jsonl"])
def test_one_flipped_byte_is_found(tmp_path: Path, name: str) -> None:
    make().save(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="its content does not match"):
        PromptRouter.load(tmp_path, encoder=LetterEncoder())
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        PromptRouter.load(tmp_path, encoder=LetterEncoder())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"calibration": {"threshold": float("nan"), "strong_share": 0.5, "n": 1, "asked": "a"}}, "threshold is nan"),
        ({"calibration": {"threshold": "high", "strong_share": 0.5, "n": 1, "asked": "a"}}, "not a whole router"),
        ({"calibration": {"threshold": 0.5}}, "not a whole router"),
        ({"demur_format": "one"}, "not a router of demur's"),
        ({"method": ["sw"]}, "is not one of"),
        ({"params": {"gamma": "high"}}, "not a whole router"),
        ({"params": {"depth": 3}}, "Invalid parameter 'depth'"),
        ({"params": None}, "not a whole router"),
        ({"sha256": {}}, "not a whole router"),
        ({"record": 7}, "not a whole router"),
        ({"encoder": "letters"}, "not a whole router"),
        ({"familiar_similarity": None}, "not a whole router"),
    ],
)
def test_a_description_that_is_wrong_somewhere_is_refused_in_one_line(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    make().save(tmp_path)
    damage_description(tmp_path, **changed)
    with pytest.raises(ArtifactError, match=said):
        PromptRouter.load(tmp_path, encoder=LetterEncoder())


@pytest.mark.parametrize("key", ["weak", "params", "dimension", "sha256", "calibration", "record", "encoder"])
def test_a_description_without_one_of_its_keys_is_refused(tmp_path: Path, key: str) -> None:
    make().save(tmp_path)
    path = tmp_path / "router.json"
    kept = json.loads(path.read_text())
    del kept[key]
    path.write_text(json.dumps(kept))
    with pytest.raises(ArtifactError, match=f"not a whole router .KeyError: '{key}'"):
        PromptRouter.load(tmp_path, encoder=LetterEncoder())


@pytest.mark.parametrize("change", ["missing", "no number"])
def test_weights_that_cannot_score_are_refused(tmp_path: Path, change: str) -> None:
    router = make("logistic")
    router.save(tmp_path)
    arrays = load_file(tmp_path / "weights.safetensors")
    name = next(name for name, value in arrays.items() if name.startswith("method.") and value.dtype.kind == "f")
    if change == "missing":
        del arrays["vectors"]
    else:
        arrays[name] = np.full_like(arrays[name], np.nan)
    save_file(arrays, tmp_path / "weights.safetensors")
    hashes = {
        f: hashlib.sha256((tmp_path / f).read_bytes()).hexdigest() for f in ("weights.safetensors", "training.jsonl")
    }
    damage_description(tmp_path, sha256=hashes)
    with pytest.raises(ArtifactError, match="not a whole router" if change == "missing" else "not finite"):
        PromptRouter.load(tmp_path, encoder=LetterEncoder())


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    make().save(tmp_path)

    class Other(LetterEncoder):
        identity = "other letters"

    with pytest.raises(ArtifactError, match="trained on encoder 'letters', this one is 'other letters'"):
        PromptRouter.load(tmp_path, encoder=Other())
    train_router(Other(), BY_NAME["sw"](), TRAINING, weak="s", strong="l").save(tmp_path)
    with pytest.raises(ArtifactError, match="encoder of your own"):
        PromptRouter.load(tmp_path)


def test_a_classifier_of_ones_own_is_asked_for_again_and_must_score_alike(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    soft = [replace(t, target=0.1 + 0.8 * t.target) for t in TRAINING]
    mine = Classifier(LogisticRegression(C=50), "mine")
    router = train_router(LetterEncoder(), mine, soft, weak="s", strong="l")
    assert router.describe()["method"] == "LogisticRegression"
    router.save(tmp_path)

    def load(method: object | None) -> PromptRouter:
        return PromptRouter.load(tmp_path, encoder=LetterEncoder(), method=method)

    for given in (LogisticRegression(C=50), mine.classifier):  # fitted again, or fitted as it is
        assert load(given).route("zebra pizza") == router.route("zebra pizza")
    with pytest.raises(ArtifactError, match=r"of your own, 'mine' \(LogisticRegression\); Router.load\(..., meth"):
        load(None)
    with pytest.raises(ArtifactError, match=r"'mine': this LogisticRegression scores .* otherwise .* by up to 0"):
        load(LogisticRegression(C=0.01))
    make("sw").save(tmp_path)
    with pytest.raises(ArtifactError, match="its method is demur's own 'sw'; load it without method="):
        load(LogisticRegression())


def test_an_object_without_a_name_cannot_be_saved(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    router = train_router(LetterEncoder(), LogisticRegression(), TRAINING, weak="s", strong="l")
    with pytest.raises(ArtifactError, match=r"not one of demur.methods; give it to demur.train\(methods="):
        router.save(tmp_path)


def test_prompts_that_cannot_be_routed() -> None:
    for empty in ("", " \n\t"):
        with pytest.raises(InputError, match="the prompt is empty"):
            make().route(empty)
    for wrong, said in ((123, "the prompt is 123, of type int"), (None, "of type NoneType"), (b"z", "of type bytes")):
        with pytest.raises(InputError, match=said):
            make().route(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="prompts is one text, 'zz top'; give a list"):
        make().score("zz top")
    assert make().route("x" * 1_000_000).model in ("small", "large")
