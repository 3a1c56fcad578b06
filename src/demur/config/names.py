"""The names that settings take: routing methods and definitions of uncertainty."""

from __future__ import annotations

METHOD_NAMES = ("sw", "mf", "mlp", "knn", "logistic", "kernel")  # trained where none are named
POOL_METHODS = ("routerdc", "graphrouter")  # of a pair or over all models; trained where they are named
CASCADE = "cascade"  # asks the weak model first, and a scorer of its answer decides
EVERY_METHOD = (*METHOD_NAMES, *POOL_METHODS, CASCADE)
DEFINITION_NAMES = (  # of a model's uncertainty; see `demur.labels.scores.uncertainty` and `token_scores`
    *("rao_blackwell", "discrete", "paper", "paper_length_normalised", "meanings", "eigv", "degree"),
    *("predictive_entropy", "perplexity", "mars", "lars"),
)
ENCODERS = "bge-small-6, multilingual-e5-small, bge-small, minilm"  # of the catalogue, as help texts name them
IMAGES = "+images="  # in an encoder's spec, before the name of the image encoder beside it
TEXT_SHARE = "+text-share"  # ends such a spec: of each picture the share that is text, too
LLM = "llm:"  # before a model that decides which answers mean the same
HUB = "hub:"  # before the name of a data set or a model of the hub
