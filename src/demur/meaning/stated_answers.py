"""Final answers that a model states of its own texts, in place of texts of which no rule reads one.

What is asked is in `demur.sampling.statements`; here is which texts need it, and which statements count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from demur.meaning.rules.final_answer import is_unread, stands_in
from demur.models.endpoint import Endpoint
from demur.records import Prompt, Sample
from demur.sampling.statements import Text, stored_statements
from demur.store import Store


def unread_texts(prompts: Sequence[Prompt], samples: Mapping[str, Sequence[Sample]]) -> list[Text]:
    """Each text of these samples (by prompt id) whose final answer no rule reads, once, with its question."""
    texts = ((prompt.text, one.text) for prompt in prompts for one in samples[prompt.id])
    return [(question, text) for question, text in dict.fromkeys(texts) if is_unread(text, question)]


def stated_answers(texts: Sequence[Text], endpoint: Endpoint, store: Store, *, chat: bool) -> dict[Text, str]:
    """The final answer of each text of a model that it has stated and that stands in the text."""
    stated = stored_statements(texts, endpoint, store, chat=chat)
    found = {text: stands_in(said, text[1]) for text, said in stated.items()}
    return {text: answer for text, answer in found.items() if answer}
