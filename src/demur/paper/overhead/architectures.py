"""What is measured: every routing method, RouterDC, GraphRouter, the cascade's scorer and the gate's steps.

On a planted world: unit vectors of which one direction tells how likely the strong model is needed. Costs hardly depend
on what is learned, so no data are needed; quality is measured elsewhere (`demur.paper.overhead.quality`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from demur.gate.cascade.answer_scorer import AnswerScorer
from demur.gate.cascade.fit_cascade import BAND
from demur.gate.gate import SIGNALS, Gate, GateRows, GateStep, GateVerdict, fit_gate, read_signals
from demur.gate.quality.two_stages import rehearsal
from demur.gate.router import Router
from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import exact_match
from demur.methods import BY_NAME
from demur.methods.estimator import Estimator, sigmoid, unit_rows
from demur.methods.pools.pair_pools import POOLS as POOLS
from demur.models.encoders.encoder import LetterEncoder
from demur.records import FloatArray, count_of
from demur.routing.artifact import GATE_FILE, WEIGHTS
from demur.routing.prompt_router import PromptRouter

QUERIES = 512  # prompts that are decided on, over and over
EXTRA_SAMPLES = 3  # most of the gate here
DRAFTS = 2  # of a prompt, that the gate learns from
ANSWERS = ("Paris", "Lyon", "the city of Paris", "It is Paris.", "Marseille", "I do not know")
TOKENS = 8  # of an answer
STEEPNESS = 2.0  # of the planted preference; a score has unit variance over prompts
CASCADE = "cascade"


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Prompts as vectors, and which of them need the strong model."""

    X: FloatArray  # (n, d) unit rows
    y: FloatArray  # (n,) 0 or 1
    queries: FloatArray  # (QUERIES, d) unit rows


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """An architecture that has learned."""

    decide: Callable[[slice], FloatArray]  # scores of some of the world's queries
    learned: object  # what holds its arrays
    save: Callable[[Path], Path]  # writes it into a folder and names the file


Fit = Callable[[], Fitted]  # what is timed


def planted_world(n: int, dimension: int, seed: int = 0) -> World:
    """Unit vectors in ``dimension``, and targets by a logistic law along one direction of it."""
    random = np.random.default_rng(seed)
    direction = random.normal(size=dimension)
    direction /= np.linalg.norm(direction)
    rows = unit_rows(random.standard_normal((n + QUERIES, dimension), dtype=np.float32))
    p = sigmoid(STEEPNESS * dimension**0.5 * (rows[:n] @ direction))
    y = (random.random(n) < p).astype(float)
    y[:2] = 0.0, 1.0  # both classes, however few prompts
    return World(rows[:n], y, rows[n:])


def _method(make: Callable[[], Estimator], world: World) -> Fit:
    def fit() -> Fitted:
        method = make().fit(world.X, world.y)
        return Fitted(
            lambda rows: method.predict_proba(world.queries[rows])[:, 1], method, partial(_save_weights, method, world)
        )

    return fit


def _cascade(world: World) -> Fit:
    """The scorer of answers; the world's vectors are those of prompt and answer together."""

    def fit() -> Fitted:
        scorer = AnswerScorer.fit(world.X, 1.0 - world.y)
        gate = Gate((GateStep(0.0, 0.0, (1.0,)),), None, BAND, GateVerdict(0.0, 0.0, 0.0, 0.0), scorer=scorer)
        held = 1.0 - scorer.right(world.X)[None, :, None]
        return Fitted(
            lambda rows: 1.0 - scorer.right(world.queries[rows]),
            np.array(scorer.weights),
            partial(_save_gate, gate, world, held),
        )

    return fit


def _gate(extra: int, world: World) -> Fit:
    """The gate after ``extra`` samples beside the draft: reading them, their meanings by rules and exact match."""
    random = np.random.default_rng(1)
    n = len(world.X)
    signals = random.normal(size=(extra + 1, n, DRAFTS, len(SIGNALS)))
    gains = signals[0, :, :, 0] / 10 + (world.y - 0.5)[:, None]
    rows = GateRows(random.random(n), signals, gains)
    texts = [list(random.choice(ANSWERS, extra + 1)) for _ in range(QUERIES)]
    tokens = [tuple(-random.exponential(0.3, TOKENS)) for _ in range(extra + 1)]
    scores = random.random(QUERIES)

    def decide(gate: Gate, rows: slice) -> FloatArray:
        meanings = meaning_clusters(None, texts[rows], entailment=exact_match)
        seen = np.stack([read_signals(ids, tokens) for ids in meanings.ids])
        return gate.confine(gate.steps[-1].score(scores[rows], seen), scores[rows])

    def fit() -> Fitted:
        gate, held = fit_gate(rows)
        learned = [np.array(step.weights) for step in gate.steps]
        return Fitted(partial(decide, gate), learned, partial(_save_gate, gate, world, held))

    return fit


def gate_name(extra: int) -> str:
    """Of the row of the gate after so many samples."""
    return f"gate, {count_of(extra, 'extra sample')}"


ARCHITECTURES: Mapping[str, Callable[[World], Fit]] = {
    **{name: partial(_method, kind) for name, kind in BY_NAME.items()},
    **{name: partial(_method, kind) for name, kind in POOLS.items()},
    CASCADE: _cascade,
    **{gate_name(extra): partial(_gate, extra) for extra in range(EXTRA_SAMPLES + 1)},
}


def saved_bytes(fitted: Fitted) -> int:
    """Size of its file on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return fitted.save(Path(folder)).stat().st_size


def _save_weights(method: Estimator, world: World, folder: Path) -> Path:
    """As `demur train` saves it: with the vectors of the training prompts, by which a decision names its neighbours."""
    _router_of(method, world).save(folder)
    return folder / WEIGHTS


def _save_gate(gate: Gate, world: World, held: FloatArray, folder: Path) -> Path:
    """As `demur train` saves it beside its router: with beliefs about the training prompts, and the rehearsal of
    ``held``, (k + 1, n, r) scores of drafts."""
    first = _router_of(BY_NAME["logistic"]().fit(world.X[:QUERIES], world.y[:QUERIES]), world)
    known, beliefs = rehearsal(np.zeros(len(world.X)), held), np.stack([world.y, 1.0 - world.y])
    Router(first, gate, rehearsal=known, beliefs=beliefs).save(folder)
    return folder / GATE_FILE


def _router_of(method: Estimator, world: World) -> PromptRouter:
    rows = getattr(method, "rows_", None)
    vectors = rows if rows is not None and rows.shape == world.X.shape else world.X
    return PromptRouter(LetterEncoder(), method, "weak", "strong", (), vectors, world.y.astype(np.float32))
