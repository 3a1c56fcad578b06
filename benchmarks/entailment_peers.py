"""Meaning clustering as three published libraries do it, each in its own environment, given one entailment function.

    python benchmarks/entailment_peers.py NAME < prompts.json > result.json

`entailment.py` makes the environments and calls this file inside them. It patches only the place where the library
would run its NLI network: the library's own loop decides which pairs are asked, and how many a call. Nothing of demur
is imported; the entailment function is `entailment_stub.py`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from entailment_stub import entails

Ids = list[int]
# Of a prompt: every answer's cluster, and semantic entropy by the library's own formula (nats). Answers are equally
# likely, 1/n each: there the definitions that have the same name agree.
Found = tuple[Ids, float]
Run = Callable[[list[str], list[list[str]]], list[Found]]


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for a library's dependencies that are not installed (spaCy, datasets, LangChain, OpenAI and more): its
    modules import them, the clustering path never touches them."""

    def __init__(self, package: str) -> None:
        (folder,) = importlib.util.find_spec(package).submodule_search_locations  # type: ignore[union-attr, misc]
        texts = (path.read_text(encoding="utf-8") for path in Path(folder).rglob("*.py"))
        found = {name for text in texts for name in re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE)}
        self._names = found - {package} - set(sys.stdlib_module_names)

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Of what nothing else found: the dependencies."""
        wanted = name.partition(".")[0] in self._names
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__name__, module.__path__, module.__spec__ = spec.name, [], spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


class Counter:
    """The shared entailment function, counted."""

    def __init__(self) -> None:
        self.pairs = self.calls = 0

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float, float]]:
        self.calls, self.pairs = self.calls + 1, self.pairs + len(pairs)
        return [entails(*pair) for pair in pairs]


def lm_polygraph(counter: Counter) -> Run:
    """Its semantic matrix (all ordered pairs of unique answers, 10 a call, no question), then its greedy classes."""
    import torch
    from lm_polygraph.estimators.semantic_entropy import SemanticEntropy
    from lm_polygraph.stat_calculators.semantic_classes import SemanticClassesCalculator
    from lm_polygraph.stat_calculators.semantic_matrix import SemanticMatrixCalculator

    class Pairs(dict[str, Any]):
        def to(self, device: object) -> Pairs:
            return self

    def network(pairs: Sequence[tuple[str, str]]) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.tensor(counter(pairs)).log())

    network.config = SimpleNamespace(label2id={"CONTRADICTION": 0, "NEUTRAL": 1, "ENTAILMENT": 2})  # type: ignore[attr-defined]
    model = SimpleNamespace(
        batch_size=10, device="cpu", deberta=network, deberta_tokenizer=lambda pairs, **_: Pairs(pairs=pairs)
    )

    def run(questions: list[str], answers: list[list[str]]) -> list[Found]:
        found: list[Found] = []
        entropy = SemanticEntropy(class_probability_estimation="frequency")
        for texts in answers:
            matrix = SemanticMatrixCalculator(model)({"sample_texts": [texts]}, [""], None)
            classes = SemanticClassesCalculator()(matrix | {"sample_texts": [texts]}, [""], None)
            of = classes["semantic_classes_entail"]["sample_to_class"][0]
            (value,) = entropy(classes | {"sample_texts": [texts]})
            found.append(([of[i] for i in range(len(texts))], float(value)))
        return found

    return run


def uqlm(counter: Counter) -> Run:
    """Its clusterer: each new answer against every cluster's first, both directions in a call, either one is enough."""
    import numpy as np
    from uqlm.nli.cluster import SemanticClusterer
    from uqlm.nli.entropy_utils import compute_cluster_probabilities, compute_semantic_entropy
    from uqlm.nli.nli import NLI

    judge = NLI.__new__(NLI)  # its own get_nli_results_batch on our probabilities; no network is loaded
    judge.probabilities, judge.label_mapping = {}, ["contradiction", "neutral", "entailment"]
    judge.max_length, judge.batch_size, judge.verbose = 2000, 32, False
    judge.predict_batch = lambda pairs: np.array(counter(pairs))

    def run(questions: list[str], answers: list[list[str]]) -> list[Found]:
        found: list[Found] = []
        for question, texts in zip(questions, answers, strict=True):
            _, indices, *_ = SemanticClusterer(judge).cluster_responses(texts, question)
            of = {i: number for number, members in reversed(list(enumerate(indices))) for i in members}
            shares = compute_cluster_probabilities([1 / len(texts)] * len(texts), indices)
            found.append(([of[i] for i in range(len(texts))], compute_semantic_entropy(shares)))
        return found

    return run


def truthtorchlm(counter: Counter) -> Run:
    """Its bidirectional_entailment_clustering (both directions of each pair, one pair per call; joins unless 0)."""
    from TruthTorchLM.truth_methods.semantic_entropy import calculate_total_log
    from TruthTorchLM.utils import common_utils

    def check(model: object, tokenizer: object, context: str, a: str, b: str) -> int:
        (scores,) = counter([(f"{context} {a}", f"{context} {b}")])
        return max(range(3), key=scores.__getitem__)

    common_utils.check_entailment = check

    def run(questions: list[str], answers: list[list[str]]) -> list[Found]:
        found: list[Found] = []
        for question, texts in zip(questions, answers, strict=True):
            clusters = common_utils.bidirectional_entailment_clustering(None, None, question, texts)
            of = {text: number for number, members in reversed(list(enumerate(clusters))) for text in members}
            scores = [(text, -math.log(len(texts))) for text in texts]
            found.append(([of[text] for text in texts], float(calculate_total_log(scores, clusters))))
        return found

    return run


PEERS: dict[str, Callable[[Counter], Run]] = {"lm-polygraph": lm_polygraph, "uqlm": uqlm, "TruthTorchLM": truthtorchlm}


def main() -> None:
    given, counter = json.load(sys.stdin), Counter()
    sys.meta_path.append(Absent(sys.argv[1].replace("-", "_")))
    run = PEERS[sys.argv[1]](counter)
    start = time.perf_counter()
    found = run(given["questions"], given["answers"])
    seconds = time.perf_counter() - start
    print("\n" + json.dumps({"found": found, "pairs": counter.pairs, "calls": counter.calls, "seconds": seconds}))


if __name__ == "__main__":
    main()
