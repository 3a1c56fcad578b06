"""Tables of Markdown are compared by their cells, never by a language model."""

from __future__ import annotations

import pytest

from demur.meaning.compare import entail
from demur.meaning.rules.tables import canonical_table, table_of, with_rows_in_order

ASKED = "Give the capitals of France and Italy as a table."
TABLE = "| City | Country |\n|---|---|\n| Paris | France |\n| Rome | Italy |"


@pytest.mark.parametrize(
    "other",
    [
        "|City|Country|\n|:-|-:|\n|Paris|France|\n|Rome|Italy|",
        "City | Country\n--- | ---\nParis | France\nRome | Italy",
        "| Country | City |\n|---|---|\n| France | Paris |\n| Italy | Rome |",
        "| City | Country |\n|---|---|\n| Rome | Italy |\n| Paris | France |",
        f"Here is the table:\n\n{TABLE.replace('Rome', '**Rome**')}",
    ],
)
def test_equal_cells_are_one_answer(other: str) -> None:
    found = entail(ASKED, TABLE, other)
    assert (found.same, found.decided_by) in [(True, "rule: tables"), (True, "rule: identical after normalisation")]


@pytest.mark.parametrize(
    "other",
    [
        "| City | Country |\n|---|---|\n| Paris | Italy |\n| Rome | France |",
        "| City | Country |\n|---|---|\n| Paris | France |",
        "| City | Nation |\n|---|---|\n| Paris | France |\n| Rome | Italy |",
    ],
)
def test_other_cells_are_another_answer(other: str) -> None:
    found = entail(ASKED, TABLE, other)
    assert (found.same, found.decided_by) == (False, "rule: tables")


def test_the_order_of_rows_counts_where_an_order_is_asked() -> None:
    turned = "| City | Country |\n|---|---|\n| Rome | Italy |\n| Paris | France |"
    assert not entail("Rank the cities by size, as a table.", TABLE, turned).same


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "| a | b |\n| c | d |",  # no line under a header
        "| a | b |\n|---|---|",  # no row
        "| a | b |\n|---|---|\n| c |",
        f"{TABLE}\nThat is all.",
        f"{'word ' * 13}\n{TABLE}",
    ],
)
def test_what_is_no_table(text: str) -> None:
    assert table_of(text) is None


def test_a_table_is_its_cells_the_header_first() -> None:
    assert table_of(TABLE) == (("City", "Country"), ("Paris", "France"), ("Rome", "Italy"))
    assert table_of("| a |\n|---|\n| b |") == (("a",), ("b",))
    assert table_of("| a |\n|---|\nb") is None  # a row without a border
    assert table_of("a \\| b | c\n--- | ---\nd | e") == (("a \\| b", "c"), ("d", "e"))
    assert table_of(f"{'word ' * 12}\n{TABLE}") == table_of(TABLE)
    assert table_of(f"{'word ' * 13}\n{TABLE}") is None


def test_tables_are_equal_whatever_the_order_of_their_columns() -> None:
    table = (("b", "a"), ("1", "2"), ("3", "4"))
    assert canonical_table(table, str) == "a | b\n2 | 1\n4 | 3"
    assert canonical_table((("a", "b"), ("2", "1"), ("4", "3")), str) == canonical_table(table, str)
    assert canonical_table((("B", "A"),), str.lower) == "a | b"


def test_rows_stand_in_the_order_of_their_cells() -> None:
    table = (("h", "k"), ("C", "a"), ("b", "A"))
    assert with_rows_in_order(table, str.lower) == "| h | k |\n| --- | --- |\n| b | A |\n| C | a |"
