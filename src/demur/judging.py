"""`demur judge`: routed answers from a file, judged. The judging itself is `demur.judge`'s.

A row is {id?, question, gold, answers: {router: text}, quality?: {router: 0 to 1}}; all rows name the same routers.
"""

from __future__ import annotations

from pathlib import Path

from demur.errors import InputError
from demur.judge import JudgedItem, Judgement, judge
from demur.prompts.files import read_rows
from demur.records import Progress, no_progress
from demur.store import Store


def judge_file(
    file: str | Path, *, model: str, store: str | Path = "run/judge.sqlite", progress: Progress = no_progress
) -> Judgement:
    """Judge every row of a JSON-lines file; verdicts are kept in ``store`` and never asked again. Raises InputError."""
    items, routers = read_items(Path(file))
    with Store(store) as kept:
        return judge(items, routers, model=model, store=kept, progress=progress)


def read_items(path: Path) -> tuple[list[JudgedItem], list[str]]:
    """The items and their routers. Raises InputError naming row and what it lacks."""
    items: list[JudgedItem] = []
    routers: list[str] = []
    for number, (where, row) in enumerate(read_rows(path), start=1):
        try:
            answers = dict(row["answers"])
            routers = routers or list(answers)
            if set(answers) != set(routers):
                raise InputError(f"{where}: answers of {', '.join(answers)}; the first row has {', '.join(routers)}")
            quality = dict(row.get("quality") or dict.fromkeys(routers, 0.0))
            said = tuple(str(answers[name]) for name in routers)
            graded = tuple(float(quality[name]) for name in routers)
            items.append(JudgedItem(str(row.get("id") or number), str(row["question"]), str(row["gold"]), said, graded))
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: lacks {error}; needed: question, gold, answers by router") from None
    return items, routers
