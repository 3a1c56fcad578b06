"""scikit-learn's classifiers as methods: soft targets are weighted rows, and folds share nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from demur.errors import InputError
from demur.methods.classifier import Classifier, two_rows, weight_argument
from demur.methods.fit.cross_validate import held_out_scores
from worlds import planted


def test_a_target_is_two_weighted_rows_and_none_of_weight_zero() -> None:
    X = np.array([[1.0], [2.0], [3.0]])
    rows, classes, weights = two_rows(X, np.array([1.0, 0.25, 0.0]), np.array([1.0, 2.0, 1.0]))
    assert rows.ravel().tolist() == [1, 2, 2, 3]
    assert classes.tolist() == [1, 1, 0, 0]
    assert weights.tolist() == [1, 0.5, 1.5, 1]


def test_it_learns_what_the_classifier_learns_from_those_rows() -> None:
    X, _, p = planted(100)
    by_hand = LogisticRegression().fit(
        np.vstack([X, X]), np.repeat([1, 0], len(X)), sample_weight=np.concatenate([p, 1 - p])
    )
    found = Classifier(LogisticRegression(), "mine").fit(X, p).predict_proba(X)
    np.testing.assert_allclose(found[:, 1], by_hand.predict_proba(X)[:, 1], atol=1e-3)


@pytest.mark.parametrize(
    ("classifier", "argument"),
    [
        (LogisticRegression(), "sample_weight"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "logisticregression__sample_weight"),
        (GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2), "sample_weight"),
        (
            GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=2),
            "logisticregression__sample_weight",
        ),
        (KNeighborsClassifier(), None),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), None),
    ],
    ids=["plain", "pipeline", "search", "search over a pipeline", "no weights", "pipeline without weights"],
)
def test_weights_reach_the_classifier_within(classifier: Any, argument: str | None) -> None:
    assert weight_argument(classifier) == argument
    X, y, p = planted(80)
    if argument:
        scores = Classifier(classifier, "mine").fit(X, p).predict_proba(X)
        np.testing.assert_allclose(scores.sum(axis=1), 1)
        assert np.corrcoef(scores[:, 1], p)[0, 1] > 0.8
        return
    with pytest.raises(InputError, match=r"method 'mine': .* takes no sample_weight, and 80 of 80 targets are soft"):
        Classifier(classifier, "mine").fit(X, p)
    assert Classifier(classifier, "mine").fit(X, y).predict_proba(X).shape == (80, 2)  # hard targets need no weights


def test_what_cannot_score_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"method 'mine', a LinearSVC, has no predict_proba; .*CalibratedClassifierCV"):
        Classifier(LinearSVC(), "mine")
    with pytest.raises(InputError, match="method 'mine', a str, has no fit"):
        Classifier("sw", "mine")


def test_folds_share_no_part_of_a_pipeline_and_the_users_object_stays_as_it_was() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("last", LogisticRegression())])
    X, y, p = planted(40)
    held_out_scores(pipeline, X, y)
    Classifier(pipeline, "mine").fit(X, p)
    assert not hasattr(pipeline.named_steps["last"], "classes_")
