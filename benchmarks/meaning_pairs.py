"""Does `demur entail` tell same from different in other languages, in code, and in answers of many kinds?

Half of the pairs are near misses. Printed per set and language, with every pair that is decided wrongly. The rule for
other languages was chosen on `meaning_languages_dev` (26 languages); `meaning_languages` and the code were written
before any rule, `meaning_languages_second` after the rule, which was corrected once on it (a name taken for a function
word), and `meaning_languages_third` after that. `meaning_unlisted` and `meaning_unlisted_second` (units, dates,
negation, names, options, shares, ranges, ...) were written before either was asked; what the first showed was mended,
and the second was counted before and after that; `meaning_unlisted_third` (other kinds) was written after that, and is
counted before its own errors were mended in docs/method.md. A pair in another language than English that no rule
merges counts as different.
"""

from __future__ import annotations

import json
from collections import Counter

from demur.meaning.compare import entail
from environment import ROOT, describe, on_one_thread

LANGUAGES = ("meaning_languages_dev", "meaning_languages", "meaning_languages_second", "meaning_languages_third")
SETS = (*LANGUAGES, "meaning_code", "meaning_unlisted", "meaning_unlisted_second", "meaning_unlisted_third")


def main() -> None:
    """Print a table per set."""
    print(describe())
    for name in SETS:
        lines = (ROOT / "benchmarks" / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        right, total, wrong, merged = Counter[str](), Counter[str](), [], 0
        for row in map(json.loads, lines):
            found = entail(row["question"], row["a"], row["b"])
            total[row["language"]] += 1
            right[row["language"]] += found.same == row["same"]
            merged += found.same and not row["same"]
            if found.same != row["same"]:
                wrong.append(f"  {row['language']}: {row['a']!r} / {row['b']!r}: {found.decided_by}")
        count = f"{sum(right.values())} of {len(lines)} right ({sum(right.values()) / len(lines):.3f})"
        print(f"{name}: {count}, {merged} near misses merged")
        print("  " + ", ".join(f"{language} {right[language]}/{total[language]}" for language in total))
        print("\n".join(wrong))


if __name__ == "__main__":
    on_one_thread()
    main()
