"""Inputs: which scans a person means."""

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.collection import Place
from liquidlens.serve.batch.inputs import Inputs, Shard
from tests.imaging.dicoms import image, phantom, save


def places(*sources, axes=3, **others) -> list[str]:
    return [str(place) for _, place in Inputs([str(source) for source in sources], axes, **others)]


def test_a_folder_is_searched_in_the_order_of_names(folder):
    names = [path.removeprefix(f"{folder}/") for path in places(folder)]
    assert names == [
        *(f"{i}.npy" for i in range(6)),
        "broken.npy",
        *(f"left/{i}.npy" for i in range(6)),
        "stack.npz",
        "two.npy",
    ]


def test_what_is_hidden_or_no_scan_is_left_out(folder):
    (folder / ".hidden.npy").touch()
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "0.npy").touch()
    (folder / "notes.txt").write_text("see README")
    assert len(places(folder)) == 15


def test_links_to_folders_are_followed_and_loops_end(folder):
    (folder / "left" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "more").symlink_to(folder / "left", target_is_directory=True)
    found = places(folder)
    assert len(found) == 15 + 6
    assert f"{folder}/more/3.npy" in found


def test_dicom_files_are_one_place_for_volumes_and_one_each_for_images(tmp_path):
    for i in range(3):
        save(image(phantom()[0]), tmp_path / f"slice{i}")  # without an ending
    np.save(tmp_path / "other.npy", np.zeros((3, 4)))
    assert list(Inputs([str(tmp_path)], 3)) == [
        (0, Place(str(tmp_path / "other.npy"))),
        (1, Place(str(tmp_path), series=True)),
    ]
    assert len(places(tmp_path, axes=2)) == 4


def test_patterns(folder):
    assert places(folder / "left" / "[13].npy") == [f"{folder}/left/1.npy", f"{folder}/left/3.npy"]
    assert len(places(folder / "**" / "*.npy")) == 14
    assert places(folder / "**" / "*.np*") == sorted(places(folder))
    assert len(places(folder / "**")) == 16  # the README as well, and no folder
    assert len(places(folder / "l*")) == 6


def test_a_pattern_finds_folders_of_a_name_and_nothing_twice(folder, tmp_path):
    for name in ("s1/CT/a.npy", "s2/CT/CT.npy", "CT.npy", "s1/MR/a.npy"):
        (tmp_path / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "study" / name, np.zeros((3, 4, 5)))
    both = [f"{tmp_path}/study/s1/CT/a.npy", f"{tmp_path}/study/s2/CT/CT.npy"]
    assert places(tmp_path / "study" / "**" / "CT") == both == places(tmp_path / "study" / "*" / "CT")
    assert places(tmp_path / "study" / "**" / "CT*") == [f"{tmp_path}/study/CT.npy", *both]
    (tmp_path / "study" / "s1" / "CT" / "deep").mkdir()
    np.save(tmp_path / "study" / "s1" / "CT" / "deep" / "b.npy", np.zeros((3, 4, 5)))
    found = [both[0], f"{tmp_path}/study/s1/CT/deep/b.npy", both[1]]
    assert places(tmp_path / "study" / "**" / "CT" / "*") == found
    everything = places(tmp_path / "study")
    for pattern in ("**/", "**/*/", "**", "*"):
        assert set(places(f"{tmp_path}/study/{pattern}")) <= set(everything), pattern
    assert places(f"{tmp_path}/study/**/") == everything


def test_items_and_arrays_are_taken_as_they_are_named(folder):
    assert places(folder / "stack.npz#images", folder / "two.npy#1") == [
        f"{folder}/stack.npz#images",
        f"{folder}/two.npy#1",
    ]


def test_a_list_names_paths_from_here_or_from_beside_it(folder, tmp_path, monkeypatch):
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerows([("patient", "path", "item"), (1, "scans/0.npy", ""), (2, "scans/two.npy", 1), (3, "", "")])
        writer.writerow((4, "scans/none.npy", ""))
    monkeypatch.chdir(tmp_path)
    assert places("list.csv") == ["scans/0.npy", "scans/two.npy#1", "scans/none.npy"]
    monkeypatch.chdir("/")
    assert places(tmp_path / "list.csv")[:2] == [f"{folder}/0.npy", f"{folder}/two.npy#1"]
    parquet.write_table(pa.table({"path": ["scans/0.npy", None], "item": [None, "3"]}), tmp_path / "list.parquet")
    assert places(tmp_path / "list.parquet") == [f"{folder}/0.npy"]


def test_standard_input_is_a_list(folder):
    lines = [f"{folder}/0.npy\n", "\n", f"{folder}/left\n"]
    assert len(places("-", lines=lines)) == 7


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("none.npy", r"none\.npy: there is no such file or folder"),
        ("none*", r"none\*: no file has such a name"),
        ("empty", "empty: no scans were found"),
        ("-", "standard input: no scans were found"),
        ("columns.csv", "a list of scans has a column named path; its columns are file, label"),
        ("empty.csv", "a list of scans has a column named path; it is empty"),
        ("broken.parquet", r"broken\.parquet: not a readable list"),
        ("binary.csv", r"binary\.csv: not a readable list"),
        ("sixteen.csv", r"sixteen\.csv: this list is written in UTF-16; save it as UTF-8"),
        ("semicolons.csv", "the columns of this list are parted by semicolons; save it with commas"),
        ("tabs.csv", "the columns of this list are parted by tabs; save it with commas"),
    ],
)
def test_bad_inputs_are_sentences(tmp_path, monkeypatch, source, sentence):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("columns.csv").write_text("file,label\n")
    Path("empty.csv").touch()
    Path("broken.parquet").write_bytes(b"PAR1")
    Path("binary.csv").write_bytes(b"\xff\xfd\x00path")
    Path("sixteen.csv").write_text("path,label\n", encoding="utf-16")
    Path("semicolons.csv").write_text("label;path\n")
    Path("tabs.csv").write_text("path\tlabel\n")
    with pytest.raises(LiquidLensError, match=sentence):
        places(source)


def test_shards_share_files_and_the_items_of_arrays(folder):
    parts = [list(Inputs([str(folder)], 3, shard=Shard.parse(f"{i}/4"))) for i in range(1, 5)]
    whole = list(Inputs([str(folder)], 3))
    single = [(number, place) for part in parts for number, place in part if place.step == 1]
    assert not {place.path for _, place in single} & {str(folder / "stack.npz")}
    for part in parts:
        assert {number for number, _ in part} >= {number for number, p in whole if p.path.endswith(("npz", "npy"))}
    firsts = sorted(place.first for part in parts for _, place in part if place.path.endswith("stack.npz"))
    assert firsts == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "a/b", "1/0", "-1/2", "1/2/3"])
def test_parts_that_do_not_exist(text):
    with pytest.raises(LiquidLensError, match="--shard is a part and the number of parts"):
        Shard.parse(text)


def test_a_folder_that_cannot_be_read_is_a_place(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    (tmp_path / "b").mkdir()
    real = os.scandir

    def refuse(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root, as which tests may run, can read everything
    assert places(tmp_path, axes=2) == [f"{tmp_path}/a.npy", f"{tmp_path}/b"]


def test_one_bad_entry_does_not_end_the_search(folder):
    (folder / "itself").symlink_to("itself")
    deep = folder
    for _ in range(150):
        deep = deep / "d"
        deep.mkdir()
    np.save(deep / "deep.npy", np.zeros((3, 4, 5)))
    found = places(folder)
    assert len(found) == 16
    lines = [f"{folder}/{'x' * 300}.npy", f"{folder}/0.npy"]
    assert places("-", lines=lines) == lines


def test_a_folder_with_the_name_of_an_array_is_a_folder(tmp_path):
    (tmp_path / "study.npy").mkdir()
    for i in range(3):
        save(image(phantom()[0]), tmp_path / "study.npy" / f"{i}.dcm")
    parts = [list(Inputs([str(tmp_path)], 3, shard=Shard(i, 2))) for i in (0, 1)]
    assert parts == [[(0, Place(str(tmp_path / "study.npy"), series=True))], []]


def test_the_fingerprint_is_that_of_all_inputs(folder):
    whole = Inputs([str(folder)], 3)
    assert Inputs([str(folder)], 3, shard=Shard(1, 4)).fingerprint == whole.fingerprint
    assert Inputs([str(folder / "left")], 3).fingerprint != whole.fingerprint
    (folder / "more.npy").touch()
    assert Inputs([str(folder)], 3).fingerprint != whole.fingerprint
