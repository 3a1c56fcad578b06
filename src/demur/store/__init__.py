"""What was paid for: samples, scores of entailment, meanings, embeddings. One class of queries over two databases."""

from demur.store.store import Answers as Answers
from demur.store.store import EntailmentScores as EntailmentScores
from demur.store.store import Pair as Pair
from demur.store.store import SentBatch as SentBatch
from demur.store.store import Store as Store
