"""A PostgreSQL behind PgBouncer, which gives each transaction whatever connection is free."""

from __future__ import annotations

import threading

import pytest

from conftest import needed
from databases import Postgres, pooled
from demur.store.connection import PostgresConnection

pytestmark = pytest.mark.slow


def test_statements_of_many_clients_meet_the_same_connections_and_each_has_its_own_answer(postgres: Postgres) -> None:
    """A driver that prepares statements names them alike in every client: one's name is another's statement."""
    needed("psycopg")
    wrong: list[object] = []
    with pooled(postgres) as url:

        def ask(number: int) -> None:
            found = PostgresConnection(url, lambda execute: None)
            for i in range(40):
                try:
                    answer = found.execute(f"select %s + {number}", [i])
                except Exception as error:
                    wrong.append(error)
                else:
                    if answer != [(i + number,)]:
                        wrong.append(answer)
            found.close()

        clients = [threading.Thread(target=ask, args=[1000 * i]) for i in range(4)]
        for one in clients:
            one.start()
        for one in clients:
            one.join(60)
    assert wrong == []
