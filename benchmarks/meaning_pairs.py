"""Does `demur entail` tell same from different in other languages and in code? Pairs written before the rules, half of
them near misses; printed per language, with every pair that is decided wrongly.

A pair in another language than English that no rule merges counts as different: the shipped model is not asked.
"""

from __future__ import annotations

import json
from collections import Counter

from demur.meaning.compare import entail
from environment import ROOT, describe, on_one_thread


def main() -> None:
    """Print both tables."""
    print(describe())
    for name in ("meaning_languages", "meaning_code"):
        lines = (ROOT / "benchmarks" / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        right, total, wrong = Counter[str](), Counter[str](), []
        for row in map(json.loads, lines):
            found = entail(row["question"], row["a"], row["b"])
            total[row["language"]] += 1
            right[row["language"]] += found.same == row["same"]
            if found.same != row["same"]:
                wrong.append(f"  {row['language']}: {row['a']!r} / {row['b']!r}: {found.decided_by}")
        print(f"{name}: {sum(right.values())} of {len(lines)} right ({sum(right.values()) / len(lines):.3f})")
        print("  " + ", ".join(f"{language} {right[language]}/{total[language]}" for language in total))
        print("\n".join(wrong))


if __name__ == "__main__":
    on_one_thread()
    main()
