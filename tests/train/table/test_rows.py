"""Tables of one's own scans: every form that they come in, and one sentence for each way to get one wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.train import datasets
from liquidlens.train.datasets import Reading
from liquidlens.train.datasets.table.sheet import read_sheet

PATIENTS = 6


@pytest.fixture
def scans(tmp_path) -> Path:
    """Twelve images of six patients, a class each, and no table yet."""
    (tmp_path / "images").mkdir()
    for label, grey in (("benign", 40), ("malignant", 160)):
        for i in range(PATIENTS):
            Image.fromarray(np.full((9, 8 + i), grey + i, np.uint8)).save(tmp_path / "images" / f"{label}{i}.png")
    return tmp_path


def records(**more) -> list[dict[str, str]]:
    return [
        {"path": f"images/{label}{i}.png", "label": label, "patient": f"{label[0]}{i}", **more}
        for label in ("benign", "malignant")
        for i in range(PATIENTS)
    ]


def write(folder: Path, rows: list[dict[str, str]], name: str = "scans.csv", separator: str = ",", **how) -> str:
    header = list(dict.fromkeys(name for row in rows for name in row))
    lines = [header, *([row.get(column, "") for column in header] for row in rows)]
    (folder / name).write_text("\n".join(separator.join(line) for line in lines) + "\n", **how)
    return str(folder / name)


def same(dataset) -> tuple:
    return dataset.label_names, {split: len(labels) for split, labels in dataset.labels.items()}, dataset.md5


def test_every_form_of_a_table_is_the_same_dataset(scans):
    import openpyxl
    import pyarrow
    import pyarrow.parquet

    rows = records()
    first = datasets.load(write(scans, rows))
    assert first.name == "table:scans"
    assert same(first)[:2] == (("benign", "malignant"), {"train": 6, "val": 3, "test": 3})
    assert first.scans["train"][0].ndim == 2
    others = [
        write(scans, rows, "semicolons.csv", ";", encoding="utf-16"),
        write(scans, rows, "tabs.tsv", "\t", encoding="utf-8-sig"),
        write(scans, rows, "bars.csv", "|"),
    ]
    (scans / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), scans / "table.parquet")
    workbook = openpyxl.Workbook()
    for line in ([*rows[0]], *([*row.values()] for row in rows)):
        workbook.active.append(line)
    workbook.save(scans / "book.xlsx")
    others += [str(scans / name) for name in ("lines.jsonl", "table.parquet", "book.xlsx")]
    for other in others:
        assert same(datasets.load(other)) == same(first), other


def test_letters_of_windows_and_commas_in_quotes(tmp_path):
    (tmp_path / "scans.csv").write_bytes('path;note,more;label\r\n"a;b.png";x;B\xf6sartig\r\n\r\n'.encode("cp1252"))
    sheet = read_sheet(tmp_path / "scans.csv")
    assert sheet.header == ("path", "note,more", "label")
    assert sheet.rows == ((2, ("a;b.png", "x", "Bösartig")),)


def test_columns_are_renamed_and_classes_chosen(scans):
    rows = [{"file": r["path"], "diagnosis": r["label"], "whose": r["patient"]} for r in records()]
    rows += [{"file": "images/unsure.png", "diagnosis": "unsure", "whose": "u"}]
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(scans / "images" / "unsure.png")
    columns = {"path": "file", "label": "Diagnosis", "patient": "whose"}
    table = write(scans, rows)
    chosen = datasets.load(table, reading=Reading(columns=columns, labels=("malignant", "benign")))
    assert chosen.label_names == ("malignant", "benign")
    assert "1 rows of other labels (unsure) were left out." in chosen.notes
    positive = datasets.load(
        table, reading=Reading(columns=columns, labels=("malignant", "benign"), positive="malignant")
    )
    assert positive.label_names == ("benign", "malignant")
    assert positive.labels["train"].sum() == 3


def test_columns_of_0_and_1_are_several_labels_at_once(scans):
    rows = records()
    for i, row in enumerate(rows):
        row["label"] = ""
        row["edema"], row["effusion"], row["age"] = str(i % 2), str(int(i % 3 == 0 or i > 8)), str(50 + i)
        del row["label"]
    dataset = datasets.load(write(scans, rows))
    assert (dataset.task, dataset.label_names) == ("multi-label", ("edema", "effusion"))
    assert sum(len(labels) for labels in dataset.labels.values()) == 12
    assert sum(labels.sum() for labels in dataset.labels.values()) == 6 + 6
    one = datasets.load(write(scans, rows), reading=Reading(labels=("effusion", "edema")))
    assert one.label_names == ("effusion", "edema")


def test_given_splits_are_kept_and_a_missing_validation_is_made(scans):
    rows = records()
    for row in rows:
        row["split"] = "Test" if row["patient"][1] == "0" else "train"
    dataset = datasets.load(write(scans, rows))
    assert {origin.patient for origin in dataset.origins["test"]} == {"b0", "m0"}
    assert [len(labels) for labels in dataset.labels.values()] == [8, 2, 2]


def test_scans_without_patients_are_said_loudly(scans):
    rows = [{k: v for k, v in row.items() if k != "patient"} for row in records()]
    assert any("NO PATIENTS ARE KNOWN" in note for note in datasets.load(write(scans, rows)).notes)


def changed(**cells):
    def change(rows, folder):
        rows[3].update(cells)

    return change


def without(column):
    def change(rows, folder):
        for row in rows:
            del row[column]

    return change


def patient_in_two_splits(rows, folder):
    for i, row in enumerate(rows):
        row["split"] = "test" if i % 6 == 0 else "train"
    rows[0]["patient"] = rows[1]["patient"]


def mask_of_another_size(rows, folder):
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(folder / "mask.png")
    rows[3]["mask"] = "mask.png"


def three_of_a_class(rows, folder):
    del rows[9:]


def empty(rows, folder):
    rows[:] = [dict.fromkeys(rows[0], "")]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (changed(path="images/none.png"), r"scans\.csv, row 5: there is no file .*images/none\.png \(path\)\."),
        (changed(path=""), r"scans\.csv, row 5: the path is missing\."),
        (changed(label="Benign"), r"row 5: the label 'Benign' and 'benign' of scans\.csv, row 2 differ in case alone"),
        (patient_in_two_splits, r"row 3: the patient b1 is in the split train here, and in test in scans\.csv, row 2"),
        (mask_of_another_size, r"row 5: the mask .*mask\.png is of 9 x 9, and its scan of 9 x 11"),
        (changed(slice="0", row="4", column="11"), r"row 5: the point 4 x 11 lies outside of the scan of 9 x 11"),
        (
            changed(slice="0", row="4", column="left"),
            r"row 5: slice, row, column are three numbers, not .*'left'",
        ),
        (changed(slice="0", row="4"), r"row 5: slice, row, column are three numbers, not '0', '4', ''\."),
        (changed(x="1", y="2"), r"row 5: x, y, z are three numbers, not '1', '2', ''\."),
        (
            changed(x="1", y="2", z="3"),
            r"row 5: .*benign3\.png: it does not tell the patient's coordinates, .*; say where by slice, row, column\.",
        ),
        (three_of_a_class, "The class malignant in .* has images of 3 patients; to split it by patient takes 5"),
        (empty, r"scans\.csv: the table is empty: there is no row below its header\."),
        (without("path"), r"scans\.csv has no column 'path' \(label, patient\); .* --column path=NAME"),
        (without("label"), r"has no column 'label' .* --column label=NAME"),
        (changed(split="holdout"), r"row 5: the split 'holdout' is none of train, val and test\."),
        (changed(split="test"), r"row 2: the split is missing; give every row one"),
        (changed(path="images/benign2.png"), r"row 5: images/benign2\.png was listed before, in scans\.csv, row 4"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_sentence(scans, change, sentence):
    rows = records()
    change(rows, scans)
    with pytest.raises(LiquidLensError, match=sentence):
        datasets.load(write(scans, rows))


@pytest.mark.parametrize(
    ("reading", "sentence"),
    [
        ({"labels": ("benign", "Malignant")}, "--labels names 'Malignant', and the table has 'malignant'"),
        ({"labels": ("benign", "cyst")}, "no label named 'cyst'"),
        ({"labels": ("benign",)}, r"one class \(benign\)"),
        ({"positive": "malign"}, "no label named 'malign'. Did you mean malignant"),
        ({"columns": {"label": "diagnose"}}, r"no column of scans\.csv named 'diagnose'"),
        ({"columns": {"lable": "label"}}, "no meaning of a column named 'lable'. Did you mean label"),
        ({"values": "hu"}, r"benign0\.png is a PNG image, which holds no Hounsfield units"),
    ],
)
def test_what_is_wrong_with_the_options_is_one_sentence(scans, reading, sentence):
    with pytest.raises(LiquidLensError, match=sentence):
        datasets.load(write(scans, records()), reading=Reading(**reading))


def test_damaged_and_empty_tables(tmp_path):
    for name in ("a.csv", "a.xlsx", "a.parquet", "a.jsonl"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(LiquidLensError, match=rf"{name}: (the table is empty|not a readable table)"):
            datasets.load(str(tmp_path / name))
    (tmp_path / "b.csv").write_text("path,label,label\na,b,c\n")
    with pytest.raises(LiquidLensError, match="two columns 'label'"):
        datasets.load(str(tmp_path / "b.csv"))
    (tmp_path / "b.csv").write_text("path,label\na,b,c\n")
    with pytest.raises(LiquidLensError, match="row 2 has more cells than the header"):
        datasets.load(str(tmp_path / "b.csv"))
    with pytest.raises(LiquidLensError, match="no image folder and no table"):
        datasets.load(str(tmp_path / "none.csv"))
    with pytest.raises(LiquidLensError, match="--values is for tables"):
        datasets.load("phantom-vessel3d", reading=Reading(values="mask"))


def test_unreadable_scans_are_named_by_row_or_left_out(scans):
    (scans / "images" / "benign2.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    table = write(scans, records())
    with pytest.raises(LiquidLensError, match=r"scans\.csv, row 4: .*benign2\.png: not a readable .*--skip-bad"):
        datasets.load(table)
    dataset = datasets.load(table, skip_bad=True)
    assert sum(map(len, dataset.labels.values())) == 11
    assert "row 4" in dataset.notes[0]
