"""One contract of both stores, an SQLite file and PostgreSQL; and what is said of a database that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from conftest import needed
from databases import Postgres, new_postgres
from demur.cli.main import app
from demur.config import ModelConfig, RunConfig, load_run
from demur.config.store_url import shown_store, store_hosts
from demur.errors import ArtifactError, DemurError, InputError, StoreError
from demur.models.encoders.encoder import LetterEncoder
from demur.models.requests.completion import read_completion
from demur.records import SERVED, Sample
from demur.routing import prompt_router, restoring
from demur.runs import run as opened
from demur.store import Store, postgres
from demur.store.store import Store as Queries
from pairs import running_pair, write_questions

SAMPLE = Sample(0, "an answer", (-0.5, -1 / 3), "stop", 12, 2, 3)
ODD = "a\nb 'c' \"d\" %s ? 100 % \\ größer 🙂 "


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    needed("psycopg")
    with TemporaryDirectory(prefix="demur-pg-") as folder:
        found = new_postgres(Path(folder))
        rules = found.folder / "data" / "pg_hba.conf"
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        found.start()
        yield found
        found.stop("immediate")


@pytest.fixture
def url(server: Postgres, request: pytest.FixtureRequest) -> str:
    """A schema of the test's own."""
    name = f"s{abs(hash(request.node.name))}"
    execute(server, f"create schema {name}")
    return f"{server.url}&options=-csearch_path%3D{name}"


def execute(server: Postgres, *statements: str) -> list[Any]:
    """What the last one finds."""
    psycopg = needed("psycopg")
    with closing(psycopg.connect(server.url, autocommit=True)) as db:
        for statement in statements:
            done = db.execute(statement)
        return list(done.fetchall()) if done.description else []


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that is empty, of either kind."""
    return str(tmp_path / "s.sqlite") if request.param == "sqlite" else request.getfixturevalue("url")


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    with Store(where) as found:
        yield found


# -- the contract of both ----------------------------------------------------------------------------------------------


def test_samples_come_back_as_they_went_by_index(store: Store, where: str) -> None:
    kept = [replace(SAMPLE, index=i, text=f"{ODD}{i}") for i in (2, 0)]
    store.add_samples("m", ODD, "s", kept)
    store.add_samples("m", ODD, "s", [replace(SAMPLE, index=1, logprobs=None)])
    with Store(where) as again:
        assert again.samples("m", ODD, "s") == [kept[1], replace(SAMPLE, index=1, logprobs=None), kept[0]]
        assert again.samples_of("m", [ODD, "none"], "s")["none"] == []
        assert (again.has_samples("m", "s"), again.has_samples("m", "other"), again.has_samples("n", "s")) == (
            True,
            False,
            False,
        )


def test_a_sample_that_is_there_is_not_replaced(store: Store, where: str) -> None:
    store.add_samples("m", "p", "s", [SAMPLE])
    with Store(where) as other:
        other.add_samples("m", "p", "s", [replace(SAMPLE, text="later"), replace(SAMPLE, index=1)])
    assert store.samples("m", "p", "s") == [SAMPLE, replace(SAMPLE, index=1)]


def test_what_was_paid_shares_a_requests_prompt_tokens_and_counts_answers_without_usage(store: Store) -> None:
    store.add_samples("m", "p", "s", [Sample(i, "x", None, "stop", 100, 5, choices=4) for i in range(3)])
    store.add_samples("m", "q", "s", [Sample(0, "x", None, "stop", 0, 0), Sample(1, "x", None, SERVED, 0, 0)])
    store.add_samples("m", "r", "s", [Sample(i, "x", None, "stop", 7, 2, batch=i > 0) for i in range(3)])
    assert store.tokens_paid("m", "s") == {False: (3 * 100 / 4 + 7, 3 * 5 + 2, 1), True: (2 * 7, 2 * 2, 0)}
    assert store.tokens_paid("m", "none") == {}


def test_refusals_are_remembered_replaced_and_forgotten(store: Store) -> None:
    store.add_refusal("m", "p", "s", "filtered")
    store.add_refusal("m", "p", "s", ODD)
    assert store.refusals("m", ["p", "q"], "s") == {"p": ODD}
    store.forget_refusals("m", "s")
    assert store.refusals("m", ["p"], "s") == {}


def test_settled_prompts_are_of_their_models_settings_and_fewest(store: Store) -> None:
    for _ in range(2):
        store.add_settled(["a", "b"], "s", 2, ["p", "q"])
    assert store.settled_prompts(["a", "b"], "s", 2, ["p", "r"]) == {"p"}
    assert store.settled_prompts(["b", "a"], "s", 2, ["p"]) == store.settled_prompts(["a", "b"], "s", 3, ["p"]) == set()


def test_verdicts_vectors_and_meanings_are_exact_and_the_last_one_counts(store: Store) -> None:
    verdict = (1 / 3, 1e-300, 2 / 3)
    store.add_entailment_scores("m", {("a", "b"): (0.0, 0.0, 1.0)})
    store.add_entailment_scores("m", {("a", "b"): verdict})
    assert store.entailment_scores("m", [("a", "b"), ("b", "a")]) == {("a", "b"): verdict}
    vector = np.array([1 / 3, -2.5, 1e-40], dtype=np.float32)
    store.add_embeddings("e", {"t": np.zeros(3)})
    store.add_embeddings("e", {"t": vector})
    assert store.embeddings("e", ["t", "u"])["t"].tobytes() == vector.tobytes()
    asked = ("Q?", ("a", "b", "a"))
    store.add_meanings("d", {asked: ([0, 0, 0], 1)})
    store.add_meanings("d", {asked: ([0, 1, 0], 2)})
    assert store.meanings("d", [asked, ("Q?", ("a",))]) == {asked: ((0, 1, 0), 2)}


def test_nothing_is_kept_of_nothing(store: Store) -> None:
    store.add_samples("m", "p", "s", [])
    store.add_entailment_scores("m", {})
    store.add_embeddings("e", {})
    store.add_meanings("d", {})
    store.add_settled(["a", "b"], "s", 2, [])
    store.forget([])
    assert store.samples_of("m", [], "s") == {}


def test_what_is_forgotten_is_gone_and_what_it_cost_stays(store: Store) -> None:
    for text in ("p", "q"):
        store.add_samples("m", text, "s", [SAMPLE, replace(SAMPLE, index=1)])
        store.add_embeddings("e", {text: np.ones(2)})
        store.add_refusal("m", text, "s", "no")
        store.add_settled(["m", "l"], "s", 2, [text])
    paid = store.tokens_paid("m", "s")
    store.forget(["p"])
    assert store.samples("m", "p", "s") == []
    assert len(store.samples("m", "q", "s")) == 2
    assert (*store.embeddings("e", ["p", "q"]),) == ("q",)
    assert (*store.refusals("m", ["p", "q"], "s"),) == ("q",)
    assert store.settled_prompts(["m", "l"], "s", 2, ["p", "q"]) == {"q"}
    assert store.tokens_paid("m", "s") == paid


def test_a_zero_byte_which_postgresql_takes_in_no_text_is_the_same_in_both(store: Store) -> None:
    body = {"choices": [{"index": 0, "message": {"content": "a\0b"}, "finish_reason": "st\0op"}]}
    (sample,) = read_completion(body, [0], "m").samples
    store.add_samples("m", "p\0", "s", [sample])
    assert store.samples("m", "p\0", "s") == [sample]
    assert (sample.text, sample.finish_reason) == ("a\ufffdb", "st\ufffdop")


KILLED = """
import os, signal, sys
from demur.records import Sample
from demur.store import Store

store = Store(sys.argv[1])
for i in range(50):
    store.add_samples("m", f"p{i}", "s", [Sample(0, "x", None, "stop", 1, 1)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_written_outlives_kill_9(where: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED, where], check=False, timeout=60)
    with Store(where) as store:
        assert sum(map(len, store.samples_of("m", [f"p{i}" for i in range(50)], "s").values())) == 50


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder is fetched."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.setattr(restoring, "load_encoder", lambda spec: LetterEncoder())
    monkeypatch.setattr(prompt_router, "spec_of", lambda encoder: "letters")


@pytest.mark.usefixtures("letters")
def test_every_stage_of_a_run_works_on_it_and_makes_the_same(where: str, tmp_path: Path) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl", 40), tmp_path / "run"
    shared = "" if where.endswith(".sqlite") else where
    with running_pair() as pair:
        for folder, url in ((run, shared), (tmp_path / "plain", "")):
            given: dict[str, Any] = {**pair.names, "run": str(folder), "store": url, "n": "2..4"}
            assert demur.sample(prompts, **given).samples > 0
            asked = len(pair.strong.requests)
            demur.sample(prompts, **given)
            assert len(pair.strong.requests) == asked
    for folder in (run, tmp_path / "plain"):
        demur.label(run=str(folder), entailment="exact")
        demur.train(run=str(folder), methods="logistic", gate="off")
        demur.calibrate(prompts, router=f"{folder}/router", strong_share=0.4, anyway=True)
        assert demur.evaluate(run=str(folder)).n_test > 0
        assert demur.report(run=str(folder)).is_file()
        done = CliRunner().invoke(
            app, ["export", "preferences", "--to", str(folder / "out.jsonl"), "--run", str(folder)]
        )
        assert done.exit_code == 0, done.output
    for name in ("preferences.jsonl", "out.jsonl"):
        assert (run / name).read_text() == (tmp_path / "plain" / name).read_text()
    assert (run / "store.sqlite").exists() == (not shared)


# -- PostgreSQL alone --------------------------------------------------------------------------------------------------


def test_a_claim_keeps_others_out_until_it_is_released(url: str) -> None:
    with Store(url) as one, Store(url) as other:
        assert one.claim("m", "p", "s")
        assert one.claim("m", "p", "s")  # its own
        assert not other.claim("m", "p", "s")
        assert other.claim("m", "q", "s")
        assert not one.claim("m", "q", "s")
        other.release("m", "p", "s")  # not its own
        assert not other.claim("m", "p", "s")
        one.release("m", "p", "s")
        assert other.claim("m", "p", "s")
    with Store(url) as third:  # who ends holds nothing
        assert third.claim("m", "p", "s")
        assert third.claim("m", "q", "s")


def test_a_claim_is_renewed_while_its_sampler_lives_and_runs_out_after(
    server: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(postgres, "LEASE_SECONDS", 1.0)
    one, other = Store(url), Store(url)
    assert one.claim("m", "p", "s")
    execute(server, "select pg_sleep(1.5)")
    assert not other.claim("m", "p", "s")
    one._db._closed.set()  # type: ignore[attr-defined]  # as where the process were killed: nobody renews
    execute(server, "select pg_sleep(1.5)")
    assert other.claim("m", "p", "s")
    one.close()
    assert not Store(url).claim("m", "p", "s")  # and what it held before is not its own any more
    other.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            "delete from demur_store; insert into demur_store values (99)",
            "version 99, this demur knows 1; use the same",
        ),
        ("drop table demur_store", "the table samples there is not demur's; name another database, or a schema of its"),
    ],
)
def test_another_schema_is_one_line(server: Postgres, url: str, changed: str, said: str) -> None:
    Store(url).close()
    schema = url.rpartition("%3D")[2]
    execute(server, f"set search_path to {schema}", *changed.split("; "))
    with pytest.raises(StoreError, match=said) as raised:
        Store(url)
    assert "\n" not in str(raised.value)


def test_a_table_that_is_new_is_made_in_an_older_store(server: Postgres, url: str) -> None:
    Store(url).close()
    execute(server, f"drop table {url.rpartition('%3D')[2]}.meanings")
    asked = ("Q?", ("a", "b"))
    with Store(url) as store:
        store.add_meanings("d", {asked: ([0, 1], 3)})
        assert store.meanings("d", [asked]) == {asked: ((0, 1), 3)}


def test_a_role_without_rights_is_one_line_and_needs_none_to_make_what_is_there(server: Postgres, url: str) -> None:
    schema = url.rpartition("%3D")[2]
    execute(
        server, "drop role if exists narrow", "create role narrow login", f"grant usage on schema {schema} to narrow"
    )
    narrow = url.replace("user=demur", "user=narrow")
    with pytest.raises(StoreError, match=r"permission denied for schema .*; a role needs CREATE on the schema"):
        Store(narrow)
    Store(url).close()
    with pytest.raises(StoreError, match="permission denied for table demur_store; a role needs"):
        Store(narrow)
    execute(server, f"grant select, insert, update, delete on all tables in schema {schema} to narrow")
    with Store(narrow) as store:
        store.add_samples("m", "p", "s", [SAMPLE])
        assert store.claim("m", "q", "s")
    execute(server, f"drop schema {schema} cascade", "drop role narrow")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://nobody.invalid/x", "is the URL right, and does it run"),
        ("postgresql://127.0.0.1:1/x", "Connection refused; is the URL right, and does it run"),
        ("postgresql://127.0.0.1:1/x?sslmod=no", "invalid URI query parameter"),
        ("postgresql://127.0.0.1:port/x", "port"),
        ("HERE/none", 'database "none" does not exist; make it with createdb'),
        ("HERE/postgres&user=nobody", 'role "nobody" does not exist; name another user'),
        ("HERE/postgres&user=guarded", "password.*; give it as PGPASSWORD"),
    ],
)
def test_a_wrong_address_is_one_line(
    server: Postgres, address: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    execute(server, "drop role if exists guarded", "create role guarded login password 'xyzzyplugh'")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    name, _, user = address.removeprefix("HERE/").partition("&")
    if address.startswith("HERE"):
        address = f"postgresql:///{name}?host={server.folder}&{user or 'user=demur'}"
    with pytest.raises(StoreError, match=said) as raised:
        Store(address)
    assert "\n" not in str(raised.value)


def test_a_password_comes_from_the_environment_and_is_kept_nowhere(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(
        server,
        "drop schema if exists guarded cascade",
        "drop role if exists guarded",
        "create role guarded login password 'xyzzyplugh'",
        "create schema guarded authorization guarded",
    )
    monkeypatch.setenv("PGPASSWORD", "xyzzyplugh")
    prompts = write_questions(tmp_path / "p.jsonl", 4)
    with running_pair() as pair:
        given = ["--weak", pair.names["weak"], "--strong", pair.names["strong"], "--run", str(tmp_path / "run")]
        given += ["--store", f"postgresql:///postgres?host={server.folder}&user=guarded", "-n", "2"]
        done = CliRunner().invoke(app, ["sample", str(prompts), *given])
    assert done.exit_code == 0, done.output
    assert execute(server, "select count(*) from guarded.samples") == [(16,)]
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"xyzzyplugh" not in written
    assert "xyzzyplugh" not in done.output
    execute(server, "drop schema guarded cascade", "drop role guarded")


@pytest.mark.usefixtures("letters")
def test_a_run_file_names_a_store_by_a_service(
    server: Postgres, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = url.rpartition("%3D")[2]
    service = f"[mine]\nhost={server.folder}\nuser=demur\ndbname=postgres\noptions=-csearch_path={schema}\n"
    (tmp_path / "services").write_text(service)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with running_pair() as pair:
        models = "".join(
            f'[{side}]\nmodel = "{name}"\nbase_url = "{fake.base_url}"\n'
            for side, name, fake in (("weak", "small", pair.weak), ("strong", "large", pair.strong))
        )
        (tmp_path / "run.toml").write_text(
            f'prompts = "{write_questions(tmp_path / "p.jsonl", 40)}"\nrun = "{tmp_path / "run"}"\n'
            f'store = "postgresql://?service=mine"\n{models}[sampling]\nn = 3\n[label]\nentailment = "exact"\n'
            '[router]\nmethods = ["logistic"]\ngate = "off"\n'
        )
        demur.run(tmp_path / "run.toml")
        asked = len(pair.strong.requests)
        demur.run(tmp_path / "run.toml")
        assert len(pair.strong.requests) == asked
    assert execute(server, f"select count(*) from {schema}.samples") == [(2 * 40 * 3,)]
    assert not (tmp_path / "run" / "store.sqlite").exists()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:xyzzyplugh@h/db",
        "postgresql://me:xyzzy/plugh@h/db",
        "postgres://me:xyzzy?plugh@h/db",
        "postgresql://h/db?user=me&password=xyzzyplugh",
        "postgresql://h/db?sslpassword=xyzzyplugh",
        "mysql://me:xyzzyplugh@h/db",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(InputError, match=r"holds a password|is not a PostgreSQL URL") as raised:
        RunConfig("p", ModelConfig("a"), ModelConfig("b"), store=address)
    assert "xyzzy" not in str(raised.value)
    assert "plugh" not in str(raised.value)


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"store 'run/s.sqlite' is not a PostgreSQL URL; write postgresql://HOST/DATABASE"
    ):
        RunConfig("p", ModelConfig("a"), ModelConfig("b"), store="run/s.sqlite")


def test_addresses_are_shown_without_user_and_options_and_give_their_hosts() -> None:
    whole = "postgresql://me@db.example:5433/x?options=-csearch_path%3Dy&service=z"
    assert shown_store(whole) == "postgresql://db.example:5433/x?service=z"
    assert store_hosts(whole) == ["db.example:5433"]
    assert store_hosts("postgresql://a:1,b:2/x?host=c&hostaddr=10.0.0.1") == ["a:1", "b:2", "c", "10.0.0.1"]
    assert store_hosts("postgresql:///x?host=/tmp/y&user=demur") == store_hosts("postgresql://%2Ftmp%2Fy/x") == []


def _one_line(call: Callable[[], object], kind: type[DemurError], said: str) -> None:
    with pytest.raises(kind, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_a_folder_names_no_database_by_itself(tmp_path: Path) -> None:
    """It may be another person's, and the user's own password would go there."""
    config = RunConfig(
        str(write_questions(tmp_path / "p.jsonl", 4)),
        ModelConfig("a", "http://127.0.0.1:1/v1"),
        ModelConfig("b", "http://127.0.0.1:1/v1"),
        run=str(tmp_path / "run"),
        store="postgresql://db.invalid:5433/x",
    )
    config.save()
    assert load_run(config.run) == config
    refused = (
        r"run\.json: its samples are in a database on db.invalid:5433, which is not allowed; .*--allow-endpoint db.inv"
    )
    _one_line(lambda: demur.label(run=config.run), ArtifactError, refused)
    _one_line(lambda: demur.evaluate(run=config.run), ArtifactError, refused)
    _one_line(lambda: demur.report(run=config.run), ArtifactError, refused)
    allowed: dict[str, Any] = {"run": config.run, "allow_endpoints": ["db.invalid:5433"]}
    _one_line(lambda: demur.label(**allowed), StoreError, "is the URL right, and does it run")
    again: dict[str, Any] = {"weak": "a@http://127.0.0.1:1/v1", "strong": "b@http://127.0.0.1:1/v1", "run": config.run}
    _one_line(lambda: demur.sample(config.prompts, **again), InputError, r"store 'postgresql.*' \(now ''\)")


def test_the_class_of_queries_knows_no_database() -> None:
    """Two implementations, and no query that names one."""
    source = Path(sys.modules[Queries.__module__].__file__ or "").read_text()
    assert source.count("Database(") == 2
    assert "%s" not in source
