"""True labels found for the rows of a table, by paths or by order, and those that do not fit."""

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.serve.batch import tables
from liquidlens.serve.evaluate.run import evaluate, read_labels, summary
from tests.serve.evaluate.conftest import TWO, array, binary, sheet, write_table


@pytest.mark.parametrize("written", [("vessel", "aneurysm"), ("0", "1"), ("0.0", "1.0")])
def test_labels_by_name_or_number(tmp_path, written):
    table = write_table(tmp_path / "results.jsonl", TWO, binary(0.2, 0.9, 0.3, 0.1), 0.5)
    rows = "".join(f"scans/{i:03}.png, {written[label]} \n" for i, label in enumerate((0, 1, 1)))
    found = evaluate(table, read_labels(sheet(tmp_path, f"\ufeffpath,label\n\n{rows}scans/003.png,\n")), samples=10)
    assert found.confusion == ((1, 0), (1, 1))
    assert (found.scans, found.without_label, found.labels_without_scan) == (3, 1, 0)


def test_names_that_are_numbers_stay_names(tmp_path):
    table = write_table(tmp_path / "results.jsonl", ("1", "2", "3"), np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))
    by_name = evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,1\n001.png,2\n")), samples=10)
    by_number = evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,0\n001.png,1\n")), samples=10)
    assert by_name.confusion == by_number.confusion == ((1, 0, 0), (0, 1, 0), (0, 0, 0))
    with pytest.raises(LiquidLensError, match="some labels by name and others by number"):
        evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,0\n001.png,3\n")))


def test_a_path_is_found_as_written_as_the_same_file_or_by_its_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    paths = {
        "data/a.png": "data/a.png",
        f"{tmp_path}/data/b.png": "data/b.png",
        "data/c.png": f"{tmp_path}/data/../data/c.png",
        "data/d.png": "d.png",  # from the folder of the sheet
        "link/e.png": "data/e.png",
        "scans/f.png": "C:\\scans\\f.png",
        "x/twice.png": None,
        "y/twice.png": None,
    }
    table = write_table(tmp_path / "results.jsonl", TWO, binary(*[0.9] * 8), 0.5, paths=list(paths))
    rows = [f"{path},1" for path in paths.values() if path] + ["z/twice.png,0", "w/other.png,0"]
    labels = read_labels(sheet(tmp_path / "data", "\n".join(["path,label", *rows])))
    found = evaluate(table, labels, samples=10)
    assert found.confusion == ((0, 0), (0, 6))
    assert (found.without_label, found.labels_without_scan) == (2, 2)
    assert summary(found)[0] == ("scans", "6 (and 2 without label, 2 labels without scan)")


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("1.png", True),
        ("test/1.png", True),
        ("test\\1.png", True),
        ("./test//1.png", True),
        ("/mnt/data/test/1.png", True),
        ("train/1.png", False),
        ("/test/1.png", False),
        ("est/1.png", False),
        ("test/1.PNG", False),
        ("data/train/1.png", False),
    ],
)
def test_one_path_is_the_end_of_the_other_in_whole_folders(tmp_path, path, same):
    paths = ["data/test/1.png", "data/test/2.png"]
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1), 0.5, paths=paths)
    found = evaluate(table, read_labels(sheet(tmp_path, f"path,label\n{path},1\n2.png,0\n")), samples=10)
    assert (found.scans, found.labels_without_scan) == ((2, 0) if same else (1, 1))


def test_what_could_be_the_end_of_several_is_of_none(tmp_path):
    paths = ["a/test/1.png", "b/test/1.png", "test/2.png", "b/3.png"]
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1, 0.2, 0.3), 0.5, paths=paths)
    text = "path,label\ntest/1.png,1\n2.png,0\n/x/test/2.png,1\n3.png,0\n"
    found = evaluate(table, read_labels(sheet(tmp_path, text)), samples=10)
    assert (found.confusion, found.without_label) == (((1, 0), (0, 0)), 3)
    assert summary(found)[0] == ("scans", "1 (and 3 without label, 3 labels without scan)")
    found = evaluate(table, read_labels(sheet(tmp_path, "path,label\na/test/1.png,1\ntest/1.png,0\n")), samples=10)
    assert (found.scans, found.confusion) == (1, ((0, 0), (0, 1)))
    assert summary(found)[0] == ("scans", "1 (and 3 without label, 1 label without scan)")


@pytest.mark.parametrize(
    "text",
    [
        "path,item,label\nstack.npz,images/0,1\nstack.npz,images/1,0\nsingle.nii,,1\n",
        "path,label\nstack.npz#images/0,1\nstack.npz#images/1,0\nsingle.nii,1\n",
    ],
)
def test_items_are_equal(tmp_path, text):
    paths, items = ["stack.npz", "stack.npz", "single.nii"], ["images/0", "images/1", ""]
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1, 0.8), 0.5, paths=paths, items=items)
    assert evaluate(table, read_labels(sheet(tmp_path, text)), samples=10).confusion == ((1, 0), (0, 2))
    found = evaluate(table, read_labels(sheet(tmp_path, "path,label\nstack.npz,1\nsingle.nii,1\n")), samples=10)
    assert (found.scans, found.without_label, found.labels_without_scan) == (1, 2, 1)
    part = write_table(tmp_path / "part.jsonl", TWO, binary(0.9), 0.5, paths=paths[:1], items=items[:1])
    with pytest.raises(LiquidLensError, match=r"No scan of part.jsonl \('stack.npz#images/0'\) has a label in"):
        evaluate(part, read_labels(sheet(tmp_path, "path,label\nstack.npz,1\nsingle.nii,1\n")))


def test_a_number_sign_may_be_part_of_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a#1.png").touch()
    (tmp_path / "x#y").mkdir()
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1), 0.5, paths=["a#1.png", "b.png"])
    text = "path,label\na#1.png,1\nb.png,0\n"
    assert evaluate(table, read_labels(sheet(tmp_path / "x#y", text)), samples=10).scans == 2


def test_file_and_item_are_split_as_they_are_read(tmp_path):
    (tmp_path / "a#1.npz").touch()  # beside the sheet
    text = "path,label\na#1.npz#x#0,1\nno#where.npz#0,0\n"
    assert read_labels(sheet(tmp_path, text)).scans == (("a#1.npz", "x#0"), ("no#where.npz", "0"))


def test_tables_with_gaps_take_no_labels_by_order(tmp_path):
    table = write_table(tmp_path / "r.csv", TWO, binary(0.9, 0.1, 0.8, 0.3), 0.5)
    labels, rows = read_labels(array(tmp_path, [1, 0, 1, 0])), list(tables.rows(table))
    for places, good in (
        ([(0, 0), (0, 1), (1, 0), (2, 0)], True),
        ([(0, 0), (0, 2), (1, 0), (2, 0)], False),
        ([(0, 0), (1, 0), (1, 1), (3, 0)], False),
        ([(0, 0), (1, 0), (2, 1), (2, 2)], False),
        ([(0, 0), (0, 1), (2, 0), (1, 0)], False),
        ([(1, 0), (1, 1), (2, 0), (3, 0)], False),
        ([(0, 0), (0, 1), (0, 1), (1, 0)], False),
    ):
        moved = [{**row, "input": i, "number": n} for row, (i, n) in zip(rows, places, strict=True)]
        tables.write(table, tables.columns(TWO), moved)
        if good:
            assert evaluate(table, labels, samples=10).scans == 4
        else:
            with pytest.raises(
                LiquidLensError, match=r"goes by the order of the scans, and r\.csv lacks some .* `merge`"
            ):
                evaluate(table, labels)


def test_a_scan_may_be_there_twice_with_the_same_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1), 0.5)
    rows = ["scans/000.png,1", "scans/000.png,1", f"{tmp_path}/scans/000.png,1", "scans/001.png,0"]
    found = evaluate(table, read_labels(sheet(tmp_path, "\n".join(["path,label", *rows]))), samples=10)
    assert (found.scans, found.labels_without_scan) == (2, 0)


@pytest.mark.parametrize(
    ("text", "names", "numbers"),
    [
        ("path,label,reader\na.png,1,Ann\na.png,,Bob\na.png,1,Eve\n", TWO, [1]),
        ("path,label\na.png,\na.png,1\n", TWO, [1]),
        ("path,a,b,reader\na.png,1,0,Ann\na.png,1,0,Bob\nb.png,,,Bob\n", ("a", "b"), [[1, 0]]),
    ],
)
def test_other_columns_and_rows_without_a_label_do_not_matter(tmp_path, text, names, numbers):
    assert read_labels(sheet(tmp_path, text)).numbers(names).tolist() == numbers


def test_errors_with_labels_are_no_labels_without_scan(tmp_path):
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1, 0.2), 0.5, errors=(0,))
    found = evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,1\n001.png,0\n")), samples=10)
    assert (found.scans, found.errors, found.without_label, found.labels_without_scan) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the header must name a column 'path', and has nothing."),
        ("file;label\na.png;1\n", "the header must name a column 'path', and has 'file;label'."),
        ("path,item\na.png,1\n", "the header names no column 'label', nor one for each label of the model."),
        ("path,label,label\na.png,1,1\n", "the header has two columns 'label'."),
        ("path,label\n", "there are no labels below the header."),
        ("path,label\na.png,1\nb.png\n", "row 3 differs in length from the header: 1 and 2 cells."),
        ("path,label\na.png,1\na.png,0\n", "a.png is there twice with different labels."),
        ("path,label\na.png,1\n./a.png,0\n", "a.png is there twice with different labels, the second time as ./a.png."),
        ("path,item,label\na.npz,1,1\na.npz,1,0\n", "a.npz#1 is there twice with different labels."),
        ("path,a,b,reader\na.png,1,0,A\na.png,1,1,B\n", "a.png is there twice with different labels."),
    ],
)
def test_a_broken_sheet_is_found_before_any_scan_is_read(tmp_path, text, sentence):
    source = sheet(tmp_path, text)
    with pytest.raises(LiquidLensError) as raised:
        read_labels(source)
    assert str(raised.value) == f"{source}: {sentence}"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.zeros((2, 2, 2)), "labels are (scans,) or (scans, labels), and this array is of shape 2x2x2."),
        (np.array(1), "labels are (scans,) or (scans, labels), and this array is of shape ()."),
        (np.zeros(0), "labels are (scans,) or (scans, labels), and this array is of shape 0."),
        (np.array([0.5]), "labels in an array are whole numbers, counted from 0."),
        (np.array([0, np.inf]), "labels in an array are whole numbers, counted from 0."),
        (np.array([0, -1]), "labels in an array are whole numbers, counted from 0."),
        (np.array(["vessel"]), "labels in an array are whole numbers, counted from 0."),
        (np.array([[0, 2]]), "of several labels for each scan, each is 0 or 1."),
    ],
)
def test_a_broken_array_is_found_before_any_scan_is_read(tmp_path, labels, sentence):
    source = array(tmp_path, labels)
    with pytest.raises(LiquidLensError) as raised:
        read_labels(source)
    assert str(raised.value) == f"{source}: {sentence}"


def test_arrays_of_an_archive_have_names(tmp_path):
    np.savez(tmp_path / "all.npz", test_images=np.zeros(2), test_labels=[[1], [0]])
    assert read_labels(f"{tmp_path}/all.npz#test_labels").values.tolist() == [1, 0]
    for source in ("all.npz", "all.npz#labels"):
        with pytest.raises(LiquidLensError, match=r"holds test_images, test_labels; .* as in all.npz#test_labels\.$"):
            read_labels(f"{tmp_path}/{source}")
    np.savez(tmp_path / "one.npz", [0, 1])
    assert read_labels(f"{tmp_path}/one.npz").values.tolist() == [0, 1]


def test_files_that_hold_no_labels(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(LiquidLensError, match=r"objects.npy: not a readable NumPy file.*allow_pickle=False"):
        read_labels(str(tmp_path / "objects.npy"))
    (tmp_path / "latin.csv").write_bytes(b"path,label\n\xe4.png,1\n")
    with pytest.raises(LiquidLensError, match=r"latin.csv: not a readable CSV file"):
        read_labels(str(tmp_path / "latin.csv"))
    (tmp_path / "labels.txt").touch()
    for source in ("labels.txt", "latin.csv#label", "objects.npy#0"):
        with pytest.raises(LiquidLensError, match=r"labels are a \.csv or \.npy file, or an array in an \.npz file"):
            read_labels(str(tmp_path / source))
    with pytest.raises(LiquidLensError, match=r"nothing\.csv: there is no such file of labels\."):
        read_labels("nothing.csv")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array([0, 1]), "and r.jsonl differ in length, 2 and 3: labels in an array go by the order"),
        (np.array([0, 1, 2]), "holds the label 2: the model's 2 labels are counted from 0 to 1."),
        (np.eye(3, dtype=int), "has 3 labels for each scan, the model 2: vessel, aneurysm."),
        (np.eye(2, dtype=int)[[0, 1, 1]], "gives 0 or 1 for each label and scan, and the model .* one label for each"),
        ("path,label\n000.png,anurysm\n", "There is no label named 'anurysm'. Did you mean aneurysm?"),
        ("path,label\n000.png,2\n", "There is no label named '2'. There are vessel, aneurysm."),
        ("path,labels\n000.png,1\n", "has no column 'label', nor one of 0 and 1 for each .* 'vessel' is missing"),
        ("path,vessel,aneurysm\n0.png,,1\n", "0.png has '', '1' where each label needs 0 or 1."),
        (
            "path,label\n7.png,0\n8.png,0\n",
            r"No scan of r.jsonl \('scans/000.png', ...\) has a label in .* \('7.png', ...\): items",
        ),
        ("path,label\n000.png,\n", "has nothing to evaluate: scans 3, with an error 1, without a label in .* 3."),
    ],
)
def test_labels_that_do_not_fit_the_table(tmp_path, labels, sentence):
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.1, 0.2, 0.7), 0.5, errors=(2,))
    source = sheet(tmp_path, labels) if isinstance(labels, str) else array(tmp_path, labels)
    kept = r".* The table is kept; --resume --labels evaluates it\.$"
    with pytest.raises(LiquidLensError, match=sentence.replace("?", r"\?") + kept):
        evaluate(table, read_labels(source))
