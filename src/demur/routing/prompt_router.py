"""The prompt router, the first stage of `demur.Router`: decides by the prompt alone.

It holds an encoder, a fitted method and their training prompts. A decision comes with its score, its threshold and the
nearest training prompts. `demur.gate` adds the second stage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import InputError
from demur.labels.beliefs.unknown import reason_of
from demur.measure.probability import ProbabilityCurve, saved_curve
from demur.measure.threshold import Calibration
from demur.methods.classifier import Classifier
from demur.methods.estimator import Estimator, unit_rows
from demur.methods.saved_method import learned_arrays, method_name
from demur.models.allowed_endpoints import AllowedEndpoints, without_keys
from demur.models.encoders.encoder import encoder_identity, spec_of
from demur.models.images.joined_encoder import embed
from demur.models.prices import Like, ServingCost
from demur.records import ON_UNKNOWN, Encoder, FloatArray, Method, OnUnknown, Role
from demur.routing.artifact import Artifact, gate_beside, read_artifact, reading, saved_calibration, write_artifact
from demur.routing.asked_as import AskedAs, asked_otherwise
from demur.routing.decision import AS_ASKED, apart, kind_note
from demur.routing.decision import Decision as Decision
from demur.routing.decision import Neighbour as Neighbour
from demur.routing.decision import TrainingPrompt as TrainingPrompt
from demur.routing.known.held_out import held_out
from demur.routing.known.known_costs import expected_usd, known_costs, most_like
from demur.routing.known.known_kinds import untold_kinds
from demur.routing.known.known_prompts import KnownPrompts, Looked
from demur.routing.known.nearest import NearestTraining
from demur.routing.known.remembered_prompts import Remembered, recall
from demur.routing.known.unknown_setting import UNLIKE, UnknownSetting, unlike_reason
from demur.routing.recorded_pair import other_pair
from demur.routing.restoring import restored_method, trained_on
from demur.routing.tiers import Tiers, restored_tiers

NEIGHBOURS = 3
UNLIKE_SETTING = "demur train --unlike unknown"  # the command that has such prompts go where unknown ones go
SCORES = "P(strong right and weak wrong), as the samples let one believe"


@dataclass(frozen=True, eq=False)
class PromptRouter:
    """The first stage of `demur.Router`; ``calibration`` is None until `demur calibrate` has set its threshold."""

    encoder: Encoder
    method: Method
    weak: str  # model names
    strong: str
    training: tuple[TrainingPrompt, ...]
    vectors: FloatArray  # (n, d) unit rows of the training prompts
    training_scores: FloatArray  # (n,) of the training prompts, each by a fit that did not see it
    familiar_similarity: float = -1.0  # prompts less similar to their nearest training prompt are unfamiliar
    calibration: Calibration | None = None
    record: Mapping[str, Any] = field(default_factory=dict)  # how it was made: labels, sampling, versions
    endpoints: AllowedEndpoints | None = None  # that the record's endpoints are limited to; None: all, it was made here
    gate_unused: bool = False  # an active gate is saved with it; decisions of this stage alone say so
    other_pair: str = ""  # which served models are not those that it was labelled with; empty: none is known to differ
    served_as: AskedAs | None = None  # what a gateway puts around prompts; None: it is not served
    unknown: Remembered | None = None  # the prompts that could not be labelled
    on_unknown: OnUnknown = ON_UNKNOWN  # where prompts like them go: `UnknownSetting`
    # From the method's scores to P(strong right and weak wrong); None: the scores are the method's own.
    curve: ProbabilityCurve | None = None
    nearest: NearestTraining | None = None  # finds similar training prompts; None: all of them are read
    tiers: Tiers | None = None  # the models between the two, and what every one is worth and costs; None: a pair

    @property
    def threshold(self) -> float:
        """Strong iff score >= threshold."""
        return self.calibration.threshold if self.calibration else self._middle

    def cost(self, role: Role) -> ServingCost | None:
        """What a call to one of the models is expected to cost; None when its price is unknown."""
        return self._costs.get(role)

    @cached_property
    def _costs(self) -> dict[Role, ServingCost]:
        return known_costs(self.record, [*self.training, *(self.unknown.prompts if self.unknown else ())])

    def expected_usd(self, prompts: Sequence[str], like: Like = ()) -> tuple[FloatArray, FloatArray] | None:
        """(n,) expected USD of each prompt on the weak and on the strong model; None when a price is unknown."""
        return expected_usd(self.cost("weak"), self.cost("strong"), prompts, like)

    def describe(self) -> dict[str, Any]:
        """A description as a JSON-like mapping."""
        return {
            "method": self.method.kind if isinstance(self.method, Classifier) else type(self.method).__name__,
            "weak": self.weak,
            "strong": self.strong,
            "n_train": len(self.training),
            "dimension": int(self.vectors.shape[1]),
            "threshold": self.threshold,
            "calibration": self.calibration.sentence if self.calibration else None,
            **({"tiers": self.tiers.description} if self.tiers else {}),
            "scores": SCORES if self.curve else "the method's own: P(strong right and weak wrong) is not known",
        }

    def score(self, prompts: Sequence[str]) -> FloatArray:
        """P(the strong model is needed) of each prompt; shape (n,). Raises InputError for an empty prompt."""
        return self.score_vectors(self._encode(prompts), prompts)

    def embed_together(self, prompts: Sequence[str]) -> FloatArray:
        """(n, d) embeddings for `score_vectors`, for a service under load: in batches where the encoder has them.

        Scores are then slightly apart from those of `score`: `demur.gateway.decision.batch_error`.
        """
        return self._encode(prompts) if len(prompts) == 1 else embed(self.encoder, prompts, together=True)

    def score_vectors(self, vectors: FloatArray, prompts: Sequence[str]) -> FloatArray:
        """The same from the prompts' embeddings, (n, d)."""
        found = self.pair_scores(vectors, prompts)
        return self.tiers.scores(self.tiers.values(vectors, found)) if self.tiers else found

    def pair_scores(self, vectors: FloatArray, prompts: Sequence[str]) -> FloatArray:
        """(n,) P(the strong model is needed) beside the weak one alone, whatever models are between them."""
        scores = np.asarray(self.method.predict_proba(vectors)[:, 1], dtype=float)
        scores = self.curve(scores) if self.curve else scores
        return self._known.score(scores, prompts)

    def look_at(self, prompts: Sequence[str]) -> Looked:
        """Scores of prompts, which of them are familiar and unknown, and what each is most like. Raises InputError."""
        vectors = self._encode(prompts)
        return replace(self.look_at_vectors(vectors, prompts), like=self.most_like(vectors))

    def most_like(self, vectors: FloatArray) -> list[tuple[str, ...]]:
        """Of prompts by their embeddings, (n, d), which prompts that it was to learn from each is most like."""
        return most_like(unit_rows(vectors), self._training, self.training, self.unknown)

    def look_held_out(self, prompts: Sequence[str]) -> Looked:
        """The same, but prompts that the router learned from are scored by fits that did not see them, as new prompts
        are: a method's scores of the former lie further apart.
        """
        texts, others = [one.prompt for one in self.training], self.unknown.held_out if self.unknown else {}
        return held_out(self.look_at(prompts), prompts, texts, self.training_scores, others, self.tiers)

    def look_at_vectors(self, vectors: FloatArray, prompts: Sequence[str]) -> Looked:
        """The same with the prompts' embeddings, (n, d); familiar is what is like a training prompt, labelled or not,
        in length and language too."""
        rows = unit_rows(vectors)
        near = self._training.similarities(rows)
        untold, margins = [""] * len(rows), np.full(len(rows), np.inf)
        if self.unknown:
            untold, margins = self.unknown.look(rows, near, self.familiar_similarity)
            untold = [reason_of(why, text) for why, text in zip(untold, prompts, strict=True)]
        known, spoken = self._known.look(prompts)
        familiar = ((near >= self.familiar_similarity) | np.array([bool(why) for why in untold])) & known
        if (setting := self.record.get("unlike", "score")) == "unknown":
            margins = np.minimum(margins, np.abs(near - self.familiar_similarity))
        untold = [unlike_reason(*one, setting) for one in zip(untold, familiar, spoken, strict=True)]
        found = self.pair_scores(vectors, prompts)
        values = self.tiers.values(vectors, found) if self.tiers else None
        scores = found if self.tiers is None or values is None else self.tiers.scores(values)
        return Looked(scores, np.asarray(familiar), untold, values, margins)

    def model_of(self, role: Role) -> str:
        """The name of a tier's model."""
        return self.tiers.model_of(role) if self.tiers else self.strong if role == "strong" else self.weak

    @property
    def learned_calls(self) -> bool:
        """Was it trained on requests with tools?"""
        return bool(self.record.get("calls"))

    @property
    def unknown_setting(self) -> UnknownSetting:
        """Which unknown prompts go to one model whatever their score."""
        return UnknownSetting(self.on_unknown)

    @cached_property
    def learned(self) -> Looked:
        """All prompts that it was to learn from, the unknown ones last, scored by fits that did not see them."""
        scores, reasons = self.training_scores, [""] * len(self.training)
        if self.unknown:
            seen = self.score_vectors(self.unknown.vectors, [one.prompt for one in self.unknown.prompts])
            scores = np.append(scores, seen if self.tiers else self.unknown.held_out_scores(seen))
            reasons += [reason_of(one.reason, one.prompt) for one in self.unknown.prompts]
        return Looked(scores, np.ones(len(scores), dtype=bool), reasons, like=[(one,) for one in self._known.texts])

    def route(self, prompt: str, *, neighbours: int = NEIGHBOURS, threshold: float | None = None) -> Decision:
        """Decide which model answers, by the router's threshold or another. Raises InputError for an empty prompt."""
        vectors = self._encode([prompt])
        nearest, looked = self._nearest(vectors[0], max(1, neighbours)), self.look_at_vectors(vectors, [prompt])
        made = self.decide(
            *(float(looked.scores[0]), nearest[:neighbours]),
            familiar=bool(looked.familiar[0]),
            threshold=threshold,
            untold=looked.untold[0],
            values=looked.values_of(0),
        )
        if self.unknown and made.unknown and made.familiar and neighbours:
            return replace(made, unknown_neighbour=self.unknown.most_similar(unit_rows(vectors)[0], 1)[0])
        return made

    def decide(
        self,
        score: float,
        neighbours: tuple[Neighbour, ...] = (),
        *,
        familiar: bool = True,
        threshold: float | None = None,
        basis: str = AS_ASKED,
        untold: str = "",
        values: tuple[float, ...] = (),
        able: Collection[Role] | None = None,
    ) -> Decision:
        """The decision that a score leads to, by the router's own threshold or another one, on this ``basis``.

        ``untold``: why the prompt is unknown; it goes where the setting for such prompts says. ``values``: what
        every tier gains over the weak model; ``able``: the tiers that may be chosen, None for all.
        """
        used = self.threshold if threshold is None else threshold
        role: Role = "strong" if score >= used else "weak"
        if self.tiers and values:
            role = self.tiers.choose(values, used, able)
        made = self._by_score(role, score, used, neighbours, familiar, basis="" if threshold is None else basis)
        if self.tiers and values:
            made = replace(made, values=values, reason=f"{made.reason}; {self.tiers.sentence(role, values, used)}")
        if not untold:
            return replace(made, reason=made.reason + kind_note(neighbours)) if familiar else made
        setting, made = self.unknown_setting, replace(made, unknown=True, untold=untold)
        why, role = setting.sentence(untold), setting.role
        if not setting.settles(untold):
            return replace(made, reason=f"{made.reason}; {why}")
        return replace(made, role=role, model=self.model_of(role), reason=why + self.pair_note, stage="unknown")

    def _by_score(
        self, role: Role, score: float, used: float, near: tuple[Neighbour, ...], familiar: bool, *, basis: str
    ) -> Decision:
        other = f"; `{UNLIKE_SETTING}` would send it to the strong model" if role == "weak" else ""
        drift = "" if familiar else f"; {UNLIKE}: the score is a guess{other}"
        sign, shown = ">=" if score >= used else "<", apart(score, used)
        given = f" ({basis})" if basis else self._basis
        return Decision(
            model=self.model_of(role),
            role=role,
            score=score,
            threshold=used,
            reason=f"score {shown[0]} {sign} threshold {shown[1]}{given}{drift}{self._alone}{self.pair_note}",
            neighbours=near,
            familiar=familiar,
            basis=basis,
        )

    @cached_property
    def _known(self) -> KnownPrompts:
        unknown = [one.prompt for one in self.unknown.prompts] if self.unknown else []
        return KnownPrompts.of([one.prompt for one in self.training], self._pair_scores, self.record, unknown)

    @property
    def _pair_scores(self) -> FloatArray:
        """(n,) held-out `pair_scores` of the training prompts."""
        return self.training_scores if self.tiers is None else self.tiers.training_pair_scores

    @cached_property
    def _middle(self) -> float:
        return float(np.median(self.training_scores))

    @property
    def _basis(self) -> str:
        if self.calibration:  # how it was done is the same for every prompt: no reason says it
            return "" if self.calibration.n else f" ({self.calibration.sentence})"
        return " (not calibrated: the middle of the training scores, until `demur calibrate` sets another)"

    @property
    def _alone(self) -> str:
        used = not self.gate_unused or (self.calibration is not None and not self.calibration.gate)
        return "" if used else "; the gate saved with it was not used: demur.Router.load uses both"

    def serving(self, *, weak: str | None = None, strong: str | None = None) -> PromptRouter:
        """The same router in front of models of these names (None: as recorded); every reason names one that differs.

        Its scores compare two models and tell nothing of others. Names that the record lacks are not compared.
        """
        return replace(self, other_pair=other_pair(self.record, weak, strong))

    @property
    def asked_otherwise(self) -> str:
        """How a gateway's requests differ from the samples of the labels; empty where they do not."""
        return asked_otherwise(self.record, self.served_as) if self.served_as else ""

    @property
    def pair_note(self) -> str:
        """What a reason ends with where another pair is served, or the pair is asked otherwise."""
        return "".join(f"; {one}" for one in (self.other_pair, self.asked_otherwise) if one)

    def save(self, folder: str | Path) -> None:
        """Save as safetensors and JSON. Raises ArtifactError for a method or encoder that cannot be saved."""
        arrays = self._method_arrays()
        if arrays.get("method.rows_") is not self.vectors:
            arrays["vectors"] = self.vectors
        arrays |= self._training.arrays | {"training_scores": self.training_scores}
        if self.unknown:
            arrays |= self.unknown.arrays
        if self.tiers:
            arrays |= self.tiers.arrays
        own = {"classifier": self.method.kind} if isinstance(self.method, Classifier) else {}
        description = {
            "weak": self.weak,
            "strong": self.strong,
            "method": method_name(self.method),
            **own,
            "params": self.method.get_params() if isinstance(self.method, Estimator) else {},
            "dimension": int(self.vectors.shape[1]),
            "encoder": {"spec": spec_of(self.encoder), "identity": encoder_identity(self.encoder)},
            "familiar_similarity": self.familiar_similarity,
            "unknown": self.on_unknown,
            "calibration": asdict(self.calibration) if self.calibration else None,
            **({"curve": asdict(self.curve)} if self.curve else {}),
            **({"tiers": self.tiers.description} if self.tiers else {}),
            "n_train": len(self.training),
            "record": without_keys(self.record),
        }
        unknown = tuple(self.unknown.rows) if self.unknown else ()
        write_artifact(Path(folder), Artifact(description, arrays, tuple(map(asdict, self.training)), unknown))

    def _method_arrays(self) -> dict[str, FloatArray]:
        """The learned arrays; for a user's own classifier its training data and its scores on them."""
        if isinstance(self.method, Estimator):
            return {f"method.{key}": value for key, value in learned_arrays(self.method).items()}
        X = self._encode([one.prompt for one in self.training])
        return {"embeddings": X, "scores": self.method.predict_proba(X)[:, 1]}

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        encoder: Encoder | None = None,
        method: object | None = None,
        allow_endpoints: Sequence[str] = (),
    ) -> PromptRouter:
        """Load a saved router; ``encoder`` and ``method`` only where it was trained on objects of your own.

        ``allow_endpoints``: ``HOST[:PORT][#KEY_VARIABLE]`` that its prompts may go to
        (`demur.models.allowed_endpoints`). Raises ArtifactError for one that is corrupt, foreign, or does not fit.
        """
        folder, endpoints = Path(folder), AllowedEndpoints.parse(allow_endpoints)
        with reading(folder):
            saved = read_artifact(folder)
            description, arrays = saved.description, saved.arrays
            restored = restored_method(saved, method, folder)
            vectors = arrays["vectors"] if "vectors" in arrays else vars(restored)["rows_"]
            restored.predict_proba(np.ones((1, vectors.shape[1]), dtype=np.float32))  # it must be able to score at all
            if not len(saved.training) == len(vectors) == len(arrays["training_scores"]):
                raise ValueError(f"{len(saved.training)} training prompts, {len(vectors)} vectors")
            return cls(
                encoder=trained_on(description["encoder"], encoder, endpoints, folder),
                method=restored,
                weak=str(description["weak"]),
                strong=str(description["strong"]),
                training=tuple(TrainingPrompt(**row) for row in saved.training),
                vectors=vectors,
                nearest=NearestTraining.restore(vectors, arrays),
                training_scores=arrays["training_scores"],
                familiar_similarity=float(description["familiar_similarity"]),
                calibration=saved_calibration(saved, folder),
                curve=saved_curve(description.get("curve")),
                record=dict(description["record"]),
                endpoints=endpoints,
                gate_unused=gate_beside(folder),
                unknown=recall(saved.unknown, arrays),
                on_unknown=description.get("unknown", "strong"),
                tiers=restored_tiers(description, arrays),
            )

    def _encode(self, prompts: Sequence[str]) -> FloatArray:
        if isinstance(prompts, str):
            raise InputError(f"prompts is one text, {prompts[:40]!r}; give a list of prompts")
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise InputError(f"the prompt is {prompt!r}, of type {type(prompt).__name__}; a prompt is text")
            if not prompt.strip():
                raise InputError("the prompt is empty; there is nothing to route")
        try:
            "".join(prompts).encode()
        except UnicodeEncodeError as error:  # a lone surrogate: of bytes on the command line, or of JSON
            raise InputError(f"the prompt holds {error.object[error.start]!r}, which is not UTF-8 text") from None
        return embed(self.encoder, prompts)

    @cached_property
    def _training(self) -> NearestTraining:
        return (self.nearest or NearestTraining(self.vectors)).of_texts(one.prompt for one in self.training)

    def _nearest(self, vector: FloatArray, count: int) -> tuple[Neighbour, ...]:
        row = vector / (np.linalg.norm(vector) or 1.0)
        found = self._training.most_similar_texts(row, count)
        return tuple(Neighbour(self.training[i], near, self._untold_kinds[i]) for i, near in found)

    @cached_property
    def _untold_kinds(self) -> tuple[str, ...]:
        return untold_kinds(self.record, len(self.training), len(self.unknown.prompts) if self.unknown else 0)
