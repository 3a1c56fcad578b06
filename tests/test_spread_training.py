"""Training whose sums over the prompts are spread over workers is training in one process, to the last bit."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from demur.methods import KernelRidge, LogisticRegression, kernel
from demur.methods.fit.spread import fit_on
from demur.methods.kernel import Gaussian, NormalEquations, Rows, rows_together
from demur.methods.saved_method import learned_arrays
from demur.models.encoders.encoder import LetterEncoder
from demur.records import FloatArray
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router


class Elsewhere:
    """Workers in other processes, as far as a function can tell: work and results are bytes between them."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, work: Callable[[Any], Any], portions: Iterable[Any]) -> Iterator[Any]:
        sent = [pickle.dumps((work, one)) for one in portions]
        self.sizes.append(len(sent))
        done = {place: self._do(sent[place]) for place in reversed(range(len(sent)))}  # the last one ends first
        return (done[place] for place in range(len(sent)))

    def _do(self, sent: bytes) -> Any:
        work, portion = pickle.loads(sent)
        return pickle.loads(pickle.dumps(work(portion)))


def many_rows(count: int = 300) -> tuple[FloatArray, FloatArray]:
    random = np.random.default_rng(0)
    X = random.standard_normal((count, 6)).astype(np.float32)
    return X, (X[:, 0] + 0.3 * random.standard_normal(count) > 0).astype(float)


def test_a_portion_gives_its_part_of_the_normal_equations() -> None:
    """A centre at 0 and gamma ln 2: rows at 0 and 1 have K = (1, 1/2); with weights 1 and 4 K'WK = 1 + 4/4 = 2.

    With targets 1 and 1/2, K'Wy = 1 + 4/4 = 2, too.
    """
    middle = Gaussian(float(np.log(2)), np.zeros((1, 1)), np.zeros(1), np.ones(1))
    rows = Rows(np.array([[0.0], [1.0]]), np.array([1.0, 0.5]), np.array([1.0, 4.0]))
    system, right = NormalEquations(middle)(rows)
    np.testing.assert_allclose(system, [[2.0]])
    np.testing.assert_allclose(right, [2.0])


def test_portions_are_all_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "ROWS_TOGETHER", 128)
    X, y = many_rows()
    parts = list(rows_together(X, y, np.ones(300)))
    assert [len(part.y) for part in parts] == [128, 128, 44]
    np.testing.assert_array_equal(np.concatenate([part.X for part in parts]), X)


@pytest.mark.parametrize("kinds", [1, 2])
def test_a_fit_on_workers_is_the_fit_of_one_process(kinds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "ROWS_TOGETHER", 128)
    monkeypatch.setattr(kernel, "ROWS_AT_ONCE", 50)
    X, y = many_rows()
    X[:150] += 10  # two domains
    workers, method = Elsewhere(), KernelRidge(centres=20, kinds=kinds)
    fitted = fit_on(workers, method, X, y)
    assert workers.sizes == ([3] if kinds == 1 else [2, 2])
    assert fitted is method
    assert "mapping" not in vars(method)
    alone = KernelRidge(centres=20, kinds=kinds).fit(X, y)
    for name, value in learned_arrays(alone).items():
        assert value.tobytes() == learned_arrays(method)[name].tobytes(), name


def test_a_fit_that_fails_leaves_no_workers_behind() -> None:
    def lost(work: Callable[[Any], Any], portions: Iterable[Any]) -> Iterator[Any]:
        raise ConnectionError("the cluster is gone")

    method = KernelRidge(centres=20)
    with pytest.raises(ConnectionError):
        fit_on(lost, method, *many_rows())
    assert "mapping" not in vars(method)


def test_a_method_without_such_sums_is_fitted_here() -> None:
    X, y = many_rows()
    workers = Elsewhere()
    fitted = fit_on(workers, LogisticRegression(), X, y)
    assert workers.sizes == []
    np.testing.assert_array_equal(fitted.predict_proba(X), LogisticRegression().fit(X, y).predict_proba(X))


def test_a_router_is_trained_on_workers_in_every_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 prompts: five folds of 48 learn, then all 60; of 20 together that is 3 portions every time."""
    monkeypatch.setattr(kernel, "ROWS_TOGETHER", 20)
    training = [TrainingPrompt(f"{'sum' if i % 2 else 'sky'} {i * i}", float(i % 2), None, None) for i in range(60)]
    workers = Elsewhere()
    there = train_router(LetterEncoder(), KernelRidge(centres=10), training, weak="w", strong="s", mapping=workers)
    here = train_router(LetterEncoder(), KernelRidge(centres=10), training, weak="w", strong="s")
    assert workers.sizes == [3] * 6
    assert there.training_scores.tobytes() == here.training_scores.tobytes()


def test_sums_of_a_portion_are_not_held_while_the_next_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the sums so far and those under way there is a product, of half their precision, and a block of kernel."""
    monkeypatch.setattr(kernel, "ROWS_TOGETHER", 250)
    random = np.random.default_rng(0)
    X, m = random.standard_normal((1000, 4)).astype(np.float32), 400
    tracemalloc.start()
    KernelRidge(centres=m).fit(X, random.random(1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * m * m * 3.5
