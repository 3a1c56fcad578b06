"""Files of prompts as other people write them: shapes of rows, tables, compression, and files of another kind."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import resource
import threading
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import DemurError, InputError
from demur.evaluation.graded_file import read_graded
from demur.labels.preference_files import read_preferences
from demur.prompts import read_prompts
from demur.prompts.rows import read_rows

HI = [("user", "Hi")]
TALK = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]


def written(tmp_path: Path, content: str | bytes, name: str = "p.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def chat(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


SEE = f"See\n[image {hashlib.sha256(b'None').hexdigest()[:16]}]"  # a picture without an address is one of its own


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"messages": chat(HI)}, "Hi"),
        ({"messages": chat(TALK)}, "Why?"),
        ({"messages": [*chat(TALK), {"role": "assistant", "content": "So."}]}, "Why?"),
        ({"prompt": chat(TALK)}, "Why?"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url"}]}]}, SEE),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]}, "Hi"),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Yo"},
                    {"from": "human", "value": "So?"},
                ]
            },
            "So?",
        ),
        ({"instruction": "Translate.", "input": "chat", "output": "cat"}, "Translate.\n\nchat"),
        ({"instruction": "Say hi.", "input": "", "output": "hi"}, "Say hi."),
        (
            {"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": chat(TALK)}},
            "Why?",
        ),
        ({"body": {"model": "m", "prompt": "Once"}}, "Once"),
    ],
)
def test_rows_of_conversations_ask_their_last_question(tmp_path: Path, row: dict[str, object], text: str) -> None:
    for content in (json.dumps(row), json.dumps([row]), json.dumps([row], indent=2)):
        (prompt,) = read_prompts(written(tmp_path, content))
        assert (prompt.text, prompt.answers) == (text, ())
    if "custom_id" in row:
        assert prompt.id == "r-1"


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"messages": []}, "no message of role 'user', found nothing"),
        ({"messages": chat([("system", "x")])}, "no message of role 'user', found system"),
        ({"messages": ["Hi"]}, "message 1: expected an object"),
        ({"messages": [{"content": "Hi"}]}, "message 1: field 'role' .or 'from'. must be a text"),
        ({"messages": [{"role": "user", "content": 7}]}, "must be a text or a list of parts, found 7"),
        ({"messages": [{"role": "user", "content": None}]}, "must be a text that is not empty"),
        ({"body": {}}, "no field prompt or question or text; found body"),
        ({"x" * 60_000: 1}, "found x{200}"),
    ],
)
def test_a_conversation_without_a_question_is_named(tmp_path: Path, row: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=rf"p\.jsonl:1.*{named}") as raised:
        read_prompts(written(tmp_path, json.dumps(row)))
    assert len(str(raised.value)) < 600


def test_a_json_array_names_the_line_of_its_faults(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.json:3: expected an object"):
        read_prompts(written(tmp_path, '[{"prompt": "a"},\n\n"b"]', "p.json"))
    with pytest.raises(InputError, match=r"p\.json:2: not valid JSON"):
        read_prompts(written(tmp_path, '[{"prompt": "a"},\n{"prompt": ', "p.json"))
    with pytest.raises(InputError, match=r"p\.json:1: not valid JSON.*stands behind the array"):
        read_prompts(written(tmp_path, '[{"prompt": "a"}] x', "p.json"))
    with pytest.raises(InputError, match="no prompts in it"):
        read_prompts(written(tmp_path, "[]", "p.json"))
    with pytest.raises(InputError, match="not valid JSON"):
        read_prompts(written(tmp_path, "[" * 200_000, "p.json"))


@pytest.mark.parametrize(
    ("lines", "name", "said"),
    [
        (['{"prompt": "a"}', "", '{"prompt": "cut', '{"prompt": "b"}'], "p.jsonl", "3: .*Unterminated.* column 12"),
        (['{"prompt": "a"}', '{"prompt": 1 2}'], "p.jsonl", "2: .* column 14"),
        (['[{"prompt": "a"},', '{"prompt":', ' "b" 2}]'], "p.json", "3: .* column 6"),
    ],
)
def test_a_fault_of_json_has_one_line_number_the_files(tmp_path: Path, lines: list[str], name: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(name) + ":" + said) as raised:
        read_prompts(written(tmp_path, "\n".join(lines), name))
    assert "line 1" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "name", "step"),
    [
        ("prompt,answers\nWhy?,x\n", "p.jsonl", "it looks like a table: give the file a name that ends in .csv"),
        ('\ufeff"Question";"text"\r\n1;Why?\r\n', "p.json", "give the file a name that ends in .csv"),
        ("Why?\nHow so?\n", "p.jsonl", "if each line is a prompt, give the file a name that ends in .txt"),
        ("query,reply\nWhy?,x\n", "p.csv", "found query, reply; rename the one that holds the prompts to prompt"),
        (json.dumps({"query": "Why?"}), "p.jsonl", "found query; rename the one that holds the prompts to prompt"),
    ],
)
def test_a_file_in_another_form_is_told_what_to_change(tmp_path: Path, content: str, name: str, step: str) -> None:
    with pytest.raises(InputError) as raised:
        read_prompts(written(tmp_path, content, name))
    assert str(raised.value).endswith(step)


def test_a_cut_line_is_no_table_and_a_missing_file_is_told_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.jsonl:1: not valid JSON .*'$"):
        read_prompts(written(tmp_path, '{"prompt": "x,text'))
    with pytest.raises(InputError, match=r"/p\.json: no such file; did you mean \S+/p\.jsonl\?$"):
        read_prompts(tmp_path / "p.json")
    with pytest.raises(InputError, match=r"/elsewhere\.json: no such file$"):
        read_prompts(tmp_path / "elsewhere.json")


@pytest.mark.parametrize("gold", ["P(A|B)", "|x|", "ls | wc", "a || b"])
def test_a_bar_separates_answers_in_tables_alone(tmp_path: Path, gold: str) -> None:
    (prompt,) = read_prompts(written(tmp_path, json.dumps({"prompt": "x", "answer": gold})))
    assert prompt.answers == (gold,)
    (prompt,) = read_prompts(written(tmp_path, 'prompt,answers\n"x","one|two"\n', "p.csv"))
    assert prompt.answers == ("one", "two")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("prompt\nWhy, oh why?\n", r":2: 2 cells, the header has 1 .the last is ' oh why\?'"),
        ("prompt,answers\nHi,x\nWhy, oh why?,42\n", ":3: 3 cells, the header has 2"),
        ("prompt,answers,prompt\na,b,c\n", ":1: the header names 'prompt' twice"),
        ('prompt\n"a\nb\nc\n', ":4: not valid CSV .a quote that opens"),
        ('prompt\n"say \\"hi\\", now"\n', ":2: not valid CSV"),
        ("prompt;answers|x\n", "no prompts in it"),
        ("question|answers\nHi|x\n", r":2: no field prompt .*is '\|' the separator"),
        ("prompt,answers\n,\n", "no prompts in it"),
        ("prompt,answers\n,x\n", ":2: no field prompt"),
    ],
)
def test_a_table_that_would_lose_text_is_refused(tmp_path: Path, content: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_prompts(written(tmp_path, content, "p.csv"))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("prompt,answers\nWhy?,x\n", "p.csv"),
        ("prompt,answers\nWhy?,x\n", "P.CSV"),
        ("\ufeffprompt;answers\r\nWhy?;x\r\n", "p.csv"),
        ("prompt\tanswers\nWhy?\tx\n", "p.tsv"),
        ("prompt\tanswers\nWhy?\tx\n", "p.csv"),
        ("prompt,answers\rWhy?,x\r", "p.csv"),
        ("prompt,answers,\nWhy?,x,\n,,\n", "p.csv"),
        ('"prompt","answers"\n"Why?","x"\n', "p.txt"),
        ('{"prompt": "Why?", "answers": ["x"]}\n', "p.txt"),
        ('{"prompt": "Why?", "answers": ["x"]}\r\n', "P.JSONL"),
        ('\ufeff[{"prompt": "Why?", "answers": ["x"]}]', "p.json"),
    ],
)
def test_what_a_file_is_its_content_says(tmp_path: Path, content: str, name: str) -> None:
    for path in (
        written(tmp_path, content, name),
        written(tmp_path, gzip.compress(content.encode()), name + ".gz"),
        written(tmp_path, gzip.compress(content.encode()), name + ".GZ"),
        written(tmp_path, gzip.compress(content.encode()), name),
    ):
        (prompt,) = read_prompts(path)
        assert (prompt.text, prompt.answers) == ("Why?", ("x",))


def zipped(member: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(member, "x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "named"),
    [
        (zipped("p.jsonl"), "p.jsonl", "this is a zip archive; unpack it"),
        (zipped("[Content_Types].xml"), "p.csv", "this is an Excel workbook; save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "p.xls", "an Excel workbook"),
        (b"SQLite format 3\x00", "ledger.sqlite", "(a ledger: `demur ledger FILE --export FILE.jsonl`)"),
        (bz2.compress(b"x"), "p.jsonl.bz2", "this is bzip2; unpack it"),
        (lzma.compress(b"x"), "p.jsonl.xz", "this is xz; unpack it"),
        (b"\x28\xb5\x2f\xfd\x04", "p.jsonl.zst", "this is zstd; unpack it"),
        ("prompt\nx\n".encode("utf-16"), "p.csv", "this is UTF-16; convert it"),
        (b"PAR1", "p.jsonl", "parquet"),
        (b"prompt\nZ\xfcrich\n", "p.csv", r"p\.csv:2: byte 0xfc is not UTF-8"),
    ],
)
def test_another_kind_of_file_is_called_by_its_name(tmp_path: Path, content: bytes, name: str, named: str) -> None:
    path = written(tmp_path, content, name)
    for read in (read_prompts, read_preferences, read_graded):
        with pytest.raises(DemurError, match=named):
            read(path)


def test_parquet_is_read_with_the_hubs_extra(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "Why?", "answers": ["x"]}]), tmp_path / "p.parquet")
    (prompt,) = read_prompts(tmp_path / "p.parquet")
    assert (prompt.text, prompt.answers) == ("Why?", ("x",))


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_flipped_byte_in_gzip_is_one_line(tmp_path: Path, at: int) -> None:
    packed = bytearray(gzip.compress(b'{"prompt": "Why is the sky blue, and not green?"}\n', mtime=0))
    packed[at] ^= 0xFF
    for content in (bytes(packed), bytes(packed[: at + 5])):
        path = written(tmp_path, content, "p.jsonl.gz")
        for read in (read_prompts, read_preferences, read_graded):
            try:
                read(path)
            except InputError as error:
                assert "\n" not in str(error)


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    def before_and_after(path: Path, named: str) -> float:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(InputError, match=named):
            read_prompts(path)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    zeros = tmp_path / "zeros.jsonl.gz"
    with gzip.open(zeros, "wb", compresslevel=1) as out:
        for _ in range(200):
            out.write(b"\0" * (1 << 20))
    assert before_and_after(zeros, "a line of more than 64 MiB") < 400
    rows = tmp_path / "rows.jsonl.gz"
    with gzip.open(rows, "wb", compresslevel=9) as out:
        for _ in range(80):
            out.write(b'{"prompt": "a", "pad": "' + b" " * ((1 << 20) - 27) + b'"}\n')
    assert before_and_after(rows, "inflates to more than 300 times its size") < 400


def test_a_folder_and_a_pipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_prompts(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text('{"prompt": "Hi"}\n'), daemon=True)
    writer.start()
    assert read_prompts(pipe)[0].text == "Hi"
    writer.join(5)


def test_many_lines_are_read_in_seconds_and_progress_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f'{{"prompt": "question {i}"}}\n' for i in range(50_000)))
    told: list[int] = []
    began = time.process_time()
    assert len(read_prompts(path, progress=lambda stage, done, total: told.append(done))) == 50_000
    assert time.process_time() - began < 5  # a million: 20 times as long
    assert told == [10_000, 20_000, 30_000, 40_000, 50_000]


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.lists(st.tuples(CELL.filter(str.strip), CELL), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_a_table_written_by_csv_is_read_without_loss(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("prompt", "source"), *rows])
    path = written(tmp_path_factory.mktemp("f"), out.getvalue(), "p.csv")
    expected = [(text, source) for text, source in rows]
    assert [(prompt.text, prompt.source) for prompt in read_prompts(path)] == expected


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.text(alphabet='"prompt,answers;\n\r\t[]{}:1\\u|', max_size=60).map(str.encode),
        st.binary(max_size=100).map(gzip.compress),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["prompt", "messages", "role", "content", "answers", "choices", "body", "from"]),
                    inner,
                )
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from(["p.jsonl", "p.csv", "p.gz", "p.json", "p", "p.tsv"]),
)
def test_no_file_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    path = written(tmp_path_factory.mktemp("f"), content, name)
    for read in (read_prompts, read_preferences, read_graded, lambda path: list(read_rows(path))):
        try:
            read(path)
        except DemurError as error:
            assert str(path) in str(error)
            assert len(str(error)) < 1000 + len(str(path))


@pytest.mark.parametrize("name", ["day.txt", "DAY.TXT", "day.text"])
@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        ("Who is it?\nWhy, then?\n", ["Who is it?", "Why, then?"]),
        ("Who is it?\n\n  Why?  \r\n", ["Who is it?", "Why?"]),
        ('In brief, why?\nSay "Why\na, b, c\n', ["In brief, why?", 'Say "Why', "a, b, c"]),
        ("what is a prompt\nwhat is a question; say it\n", ["what is a prompt", "what is a question; say it"]),
        ("[1, 2] reversed?\n{x} is a set\n", ["[1, 2] reversed?", "{x} is a set"]),
        ("\ufeffWho?\rWhy?\r", ["Who?", "Why?"]),
    ],
)
def test_each_line_of_plain_text_is_a_prompt(tmp_path: Path, content: str, prompts: list[str], name: str) -> None:
    for path in (
        written(tmp_path, content, name),
        written(tmp_path, gzip.compress(content.encode()), name + ".gz"),
    ):
        assert [prompt.text for prompt in read_prompts(path)] == prompts


@pytest.mark.parametrize("name", ["notes.md", "day.log", "day"])
@pytest.mark.parametrize("content", ["Who is it?\nWhy, then?\n", "Who\na, b, c\n", 'Who\n"Why\n'])
def test_plain_text_of_another_name_is_told_its_ending(tmp_path: Path, content: str, name: str) -> None:
    with pytest.raises(InputError, match=r"; if each line is a prompt, give the file a name that ends in \.txt$"):
        read_prompts(written(tmp_path, content, name))


def test_a_row_of_json_without_a_prompt_is_not_told_of_plain_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found name; rename the one that holds the prompts to prompt$"):
        read_prompts(written(tmp_path, '{"name": "x"}\n', "day"))
