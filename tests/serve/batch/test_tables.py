"""Results tables: three formats, one meaning."""

import csv
import json

import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.serve.batch import tables
from liquidlens.serve.batch.merge import merge

KINDS = tables.columns(("no", "yes, perhaps"))


def row(**values) -> tables.Row:
    return (
        dict.fromkeys(KINDS)
        | {"input": 0, "number": 0, "shard": "1/1", "path": "a.npy", "item": "", "model": "m", "model_sha256": "0"}
        | values
    )


ROWS = [
    row(
        sha256="00ff",
        label="no",
        **{"p_no": 0.1234567, "p_yes, perhaps": 1e-9},
        threshold=0.5,
        abstained=False,
        ood_score=3.0,
        ood=True,
        device="cpu",
        milliseconds=0.25,
        task="classes",
        notes='He said "no", \u00fcber\nnext line.',
    ),
    row(number=1, item="x/1", error="broken, \u2028 badly"),
]


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_what_is_written_is_read(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    tables.write(path, KINDS, ROWS)
    assert list(tables.rows(path)) == ROWS
    assert [list(found) for found in tables.rows(path)] == [list(KINDS)] * 2
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_more_rows_than_a_group(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    tables.write(path, KINDS, (row(input=i) for i in range(25_000)))
    assert [found["input"] for found in tables.rows(path)] == list(range(25_000))


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_a_table_is_written_whole_or_not_at_all(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    tables.write(path, KINDS, ROWS)
    before = path.read_bytes()

    def fails():
        yield ROWS[1]
        raise OSError("the disk is full")

    with pytest.raises(LiquidLensError, match="the disk is full"):
        tables.write(path, KINDS, fails())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_tables_of_before_there_was_a_task_are_read(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    tables.write(path, {name: kind for name, kind in KINDS.items() if name != "task"}, ROWS)
    assert list(tables.rows(path)) == [found | {"task": None} for found in ROWS]
    tables.write(tmp_path / "new.csv", KINDS, tables.rows(path))
    assert list(tables.rows(tmp_path / "new.csv")) == [found | {"task": None} for found in ROWS]


def test_what_is_no_table(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "other.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    (tmp_path / "broken.jsonl").write_text("{")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    tables.write(tmp_path / "cut.csv", KINDS, ROWS)
    cut = (tmp_path / "cut.csv").read_text()
    (tmp_path / "cut.csv").write_text(cut[: cut.index("x/1") + 1])
    for name, sentence in (
        ("other.csv", "is not a table of results"),
        ("other.jsonl", "is not a table of results"),
        ("broken.jsonl", "not a readable table of results"),
        ("broken.parquet", "not a readable table of results"),
        ("cut.csv", "not a readable table of results"),
        ("none.csv", "there is no such table"),
        ("table.txt", r"a table's name ends in \.csv, \.jsonl or \.parquet"),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            list(tables.rows(tmp_path / name))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LiquidLensError, match="is a folder"):
        tables.write(tmp_path / "folder.csv", KINDS, ROWS)


FORMULAS = [
    "=1+1.npy",
    "@SUM(1+1)",
    "+1",
    "-2+3.npy",
    "\tx",
    "'=1",
    "''+1",
    "\uff1d1",
    "'plain",
    '=HYPERLINK("http://e")',
]


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_formulas_are_texts(tmp_path, ending):
    """In CSV an apostrophe keeps a spreadsheet from running them; here all formats read the same."""
    path = tmp_path / f"table{ending}"
    written = [row(input=i, path=text, item=text, label=text, notes=text) for i, text in enumerate(FORMULAS)]
    tables.write(path, KINDS, written)
    assert list(tables.rows(path)) == written
    if ending == ".csv":
        with path.open(newline="") as file:
            cells = [cell for line in list(csv.reader(file))[1:] for cell in line]
        assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") and cell != ""]
        assert "'=1+1.npy" in cells
        assert "'plain" in cells


WRONG = [
    {"model_sha256": 7}, {"shard": None}, {"shard": ["1/1"]}, {"input": "0"}, {"number": True}, {"path": {}},
    {"threshold": "high"}, {"abstained": 1}, {"error": ["a"]}, {"item": None}, {"p_no": "x"},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_values_of_another_type_are_named(tmp_path, wrong):
    path = tmp_path / "table.jsonl"
    path.write_text(json.dumps({**row(), **wrong}) + "\n")
    (column,) = wrong
    with pytest.raises(LiquidLensError, match=f"in the column {column}: it was changed by hand"):
        list(tables.rows(path))
    with pytest.raises(LiquidLensError, match=f"in the column {column}: it was changed by hand"):
        merge([path], tmp_path / "out.csv")


@pytest.mark.parametrize("content", ["[]", "7", "null", '"a"', "{}"])
def test_lines_that_are_no_rows(tmp_path, content):
    path = tmp_path / "table.jsonl"
    path.write_text(content + "\n")
    with pytest.raises(LiquidLensError, match=r"table\.jsonl"):
        list(tables.rows(path))


def test_parts_that_are_none(tmp_path):
    tables.write(tmp_path / "part.csv", KINDS, [row(shard="all")])
    with pytest.raises(LiquidLensError, match=r"part\.csv: .*not 'all'"):
        merge([tmp_path / "part.csv"], tmp_path / "out.csv")
