"""A model that looks at a field of view in millimetres: points on the command line, in lists, in requests."""

import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from starlette.exceptions import HTTPException

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, read, read_safely
from liquidlens.imaging.phantoms import nodules
from liquidlens.serve import explain
from liquidlens.serve.batch import tables
from liquidlens.serve.batch.engine import Options
from liquidlens.serve.batch.inputs import Inputs
from liquidlens.serve.batch.job import run
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server import codec
from liquidlens.train.evaluation import evaluate_run


@pytest.fixture(scope="module")
def predictor(nodule_bundle) -> Predictor:
    return Predictor(nodule_bundle.model, "cpu", threads=1)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return nodules.lung_nodule(3).pixels.astype(np.float32)


def malignant(predictor: Predictor, scan: Scan) -> float:
    return predictor.predict(scan).probabilities["malignant"]


def command(*arguments, code=0) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "liquidlens", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def test_the_file_gives_what_the_run_was_judged_by(predictor, nodule_run, nodule_table):
    """On the files themselves, at the centroids of their masks."""
    found = evaluate_run(nodule_run.path)
    masks = {row["path"]: row["mask"] for row in csv.DictReader(nodule_table.open())}
    for path, expected in zip(found.paths, found.probabilities[:, 1], strict=True):
        mask = read(nodule_table.parent / masks[path]).pixels > 0
        scan = read(nodule_table.parent / path).pointed([axis.mean() for axis in np.nonzero(mask)])
        assert malignant(predictor, scan) == pytest.approx(expected, abs=1e-4)


def test_scans_of_one_shape_with_other_points_go_together(predictor, volume):
    spacings = ((2, 0.7, 0.7), (2, 0.7, 0.7), None, (1.1, 0.9, 0.9))
    centres = ((4, 20, 25), (9, 30, 10), None, (2, 3, 40))
    scans = [Scan(volume, mm, units="HU", centre=at) for mm, at in zip(spacings, centres, strict=True)]
    together = predictor.predict_many(scans)
    alone = [predictor.predict(scan) for scan in scans]
    assert len({round(one.probabilities["malignant"], 6) for one in alone}) == 4
    for many, one in zip(together, alone, strict=True):
        assert many.probabilities["malignant"] == pytest.approx(one.probabilities["malignant"], abs=1e-6)
        assert many.notes == one.notes
    assert together[0].notes == ()
    assert together[2].notes == (
        "The file does not say how far its voxels are apart: 1.2 x 1.2 x 1.2 mm was taken, the model's own.",
        "No point was given: the model looked at 33.6 x 33.6 x 33.6 mm around the middle of the scan.",
    )


@pytest.mark.parametrize("number", [1, 6])
def test_every_way_to_store_a_scan_gives_the_same_answer(predictor, tmp_path, number):
    """NIfTI; a series whose files are named in no order; twice the resolution; a piece of the scan."""
    nodule = nodules.lung_nodule(number)
    smooth = np.clip(nodule.pixels, -1000, 400)
    nodules.write_nifti(tmp_path / "a.nii.gz", smooth, nodule.spacing)
    nodules.write_series(tmp_path / "series", dataclasses.replace(nodule, pixels=smooth), number)
    at = tuple((n - 1) // 2 for n in smooth.shape)
    point = tuple(index * mm for index, mm in zip(at, nodule.spacing, strict=True))[::-1]
    nifti, series = read(tmp_path / "a.nii.gz"), read_safely(tmp_path / "series")
    expected = malignant(predictor, nifti.pointed(at))
    assert nifti.voxel_at(point) == pytest.approx(at, abs=1e-4)
    assert series.voxel_at(point) == pytest.approx(at, abs=1e-4)
    assert malignant(predictor, series.pointed(series.voxel_at(point))) == pytest.approx(expected, abs=1e-5)
    fine = smooth.astype(np.float32)
    for axis in range(3):
        fine = halfway(fine, axis)
    twice = Scan(fine, tuple(mm / 2 for mm in nodule.spacing), centre=tuple(2.0 * index for index in at))
    assert malignant(predictor, twice) == pytest.approx(expected, abs=1e-3)
    padded = np.pad(nifti.pixels, 7, constant_values=-1000)
    shifted = dataclasses.replace(nifti, pixels=padded).pointed([index + 7 for index in at])
    assert malignant(predictor, shifted) == pytest.approx(expected, abs=1e-5), "outside is air"


def halfway(volume: np.ndarray, axis: int) -> np.ndarray:
    """A value between every two, the mean of both: twice the resolution."""
    volume = np.moveaxis(volume, axis, 0)
    finer = np.empty((2 * len(volume) - 1, *volume.shape[1:]), volume.dtype)
    finer[::2], finer[1::2] = volume, (volume[1:] + volume[:-1]) / 2
    return np.moveaxis(finer, 0, axis)


def test_points_on_the_command_line(nodule_bundle, predictor, nodule_table, tmp_path):
    path = nodule_table.parent / "image" / "scan-001.nii.gz"
    scan = read(path)
    at = tuple(n // 3 for n in scan.pixels.shape)
    point = ",".join(f"{index * mm:.6f}" for index, mm in zip(at[::-1], scan.spacing[::-1], strict=True))
    expected = malignant(predictor, scan.pointed(at))
    for option, text in (("--at", ",".join(map(str, at))), ("--at-mm", point)):
        found = json.loads(command("predict", nodule_bundle.model, path, option, text, "--json").stdout)
        (row,) = found["predictions"]
        assert row["probabilities"]["malignant"] == pytest.approx(expected, abs=1e-6), option
        assert row["centre"] == pytest.approx(at, abs=1e-4)
    np.save(tmp_path / "a.npy", scan.pixels)
    for arguments, sentence in (
        ((path, "--at", "4,500,3"), f"{path}: the point 4 x 500 x 3 lies outside of the scan of"),
        ((path, "--at-mm", "-9,0,0"), "lies outside of the scan of"),
        ((path, "--at", "4,5"), "--at takes three numbers, as in 40,120,88, not '4,5'."),
        ((path, "--at", "4,5,nan"), "--at takes three numbers"),
        ((path, "--at", "4,5,6", "--at-mm", "1,2,3"), "--at and --at-mm say the same in two ways"),
        ((path, path, "--at", "4,5,6"), "A point is of one scan, and 2 are given; `batch` takes a list"),
        ((path, "--at", "4,5,6", "--out", tmp_path / "out.csv"), "for a table, give a list of scans"),
        ((tmp_path / "a.npy", "--at-mm", "1,2,3"), "a.npy: it does not tell the patient's coordinates"),
    ):
        assert sentence in command("predict", nodule_bundle.model, *arguments, code=2).stderr
    refused = command("predict", "vessel", tmp_path / "a.npy", "--at", "4,5,6", code=2).stderr
    assert "reads scans as wholes, and has no use for --at" in refused


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_points_in_lists(predictor, nodule_table, tmp_path, ending):
    """By voxel, by millimetre, by mask, by none; one outside, one with a mask of another scan."""
    image = nodule_table.parent / "image" / "scan-001.nii.gz"
    scan, mask = read(image), nodule_table.parent / "mask" / "scan-001.nii.gz"
    at = (4.0, 11.0, 20.0)
    x, y, z = (index * mm for index, mm in zip(at[::-1], scan.spacing[::-1], strict=True))
    rows = [
        {"path": str(image), "slice": at[0], "row": at[1], "column": at[2]},
        {"path": str(image), "x": x, "y": y, "z": z},
        {"path": str(image), "mask": str(mask)},
        {"path": str(image)},
        {"path": str(image), "slice": 4.0, "row": 500.0, "column": 3.0},
        {"path": str(image), "mask": str(mask.with_name("scan-002.nii.gz"))},
    ]
    path = tmp_path / f"list{ending}"
    write(path, rows)
    out = tmp_path / "out.jsonl"
    run(predictor, Inputs([str(path)], 3, pointed=True), out, Options(batch_size=4, readers=1))
    found = list(tables.rows(out))
    said = [row["at"] for row in found]
    assert (said[0], said[3], said[4]) == ("4,11,20", None, "4,500,3")
    assert said[1].endswith(" mm")
    assert said[2] == f"mask {mask}"
    middle = [axis.mean() for axis in np.nonzero(read(mask).pixels)]
    for row, place in zip(found[:4], (at, at, middle, None), strict=True):
        expected = malignant(predictor, scan if place is None else scan.pointed(place))
        assert row["p_malignant"] == pytest.approx(expected, abs=1e-5)
    assert "the point 4 x 500 x 3 lies outside of the scan of" in found[4]["error"]
    assert "a mask lies in the space of its scan" in found[5]["error"]
    write(path, [rows[0] | {"column": 21.0}, *rows[1:]])
    with pytest.raises(LiquidLensError, match="other inputs"):
        run(predictor, Inputs([str(path)], 3, pointed=True), out, Options(), resume=True)
    write(path, [rows[0] | {"column": "left"}] if ending == ".csv" else [rows[0] | {"column": None}])
    with pytest.raises(LiquidLensError, match=r"row 2: slice, row, column are three numbers, not '4.0', '11.0', '"):
        Inputs([str(path)], 3, pointed=True)
    assert Inputs([str(path)], 3).count == 1, "for a model of whole scans, these columns say nothing"


def write(path: Path, rows: list[dict]) -> None:
    names = ("path", "slice", "row", "column", "x", "y", "z", "mask")
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in names}), path)


def test_what_the_predictor_takes(predictor, volume):
    middle = (np.array(volume.shape) - 1) / 2
    given = predictor.run(volume[None], spacing=[[1.2, 1.2, 1.2]], centre=[middle])
    assert np.array_equal(predictor.run(volume[None])["logits"], given["logits"])
    for wrong in (0, -1, np.inf):
        with pytest.raises(LiquidLensError, match="three lengths in millimetres, above 0"):
            predictor.run(volume[None], spacing=[[1, 1, wrong]])
    with pytest.raises(LiquidLensError, match="takes no spacing and no centre"):
        Predictor("vessel", "cpu").run(volume[None], centre=[[1, 2, 3]])


def test_explanations_are_in_the_scans_own_places(predictor):
    nodule = nodules.lung_nodule(1)
    whole = np.full((60, 120, 130), -1000, np.float32)
    place = tuple(slice(at, at + n) for at, n in zip((20, 40, 50), nodule.pixels.shape, strict=True))
    whole[place] = nodule.pixels
    centre = tuple(part.start + (part.stop - part.start - 1) / 2 for part in place)
    scan = Scan(whole, nodule.spacing, units="HU", centre=centre)
    occlusion = explain.occlusion(predictor, scan)
    assert occlusion.map.shape == whole.shape
    assert occlusion.baseline == pytest.approx(malignant(predictor, scan), abs=1e-5)
    reached = np.argwhere(occlusion.map != 0)
    assert len(reached) > 0
    half = np.array([33.6 / 2 / mm for mm in nodule.spacing])
    assert (np.abs(reached - centre) <= half + 1e-6).all()
    (trace,) = explain.trace(predictor, scan)
    contribution = explain.slices(predictor, scan)
    for positions in (trace.positions, contribution.positions):
        steps = np.diff(positions[(positions > 0) & (positions < 59)])
        assert steps == pytest.approx(1.2 / nodule.spacing[0])
        assert positions.mean() == pytest.approx(centre[0], abs=1)


def body(tensors: dict[str, np.ndarray], binary: bool) -> tuple[bytes, str | None]:
    described = [{"name": name, "shape": values.shape, "datatype": "FP32"} for name, values in tensors.items()]
    for tensor, values in zip(described, tensors.values(), strict=True):
        tensor |= {"parameters": {"binary_data_size": values.nbytes}} if binary else {"data": values.ravel().tolist()}
    header = json.dumps({"inputs": described}).encode()
    if not binary:
        return header, None
    return b"".join([header, *(values.tobytes() for values in tensors.values())]), str(len(header))


@pytest.mark.parametrize("binary", [True, False])
def test_requests_with_spacing_and_centre(predictor, volume, binary):
    """In any order, each of them or none; NaN, which JSON has no number for, only in binary."""
    inputs = {
        "centre": np.float32([[4, 20, 30], [7, 30, 10]]),
        "scan": np.stack([volume[:8, :40, :40]] * 2),
        "spacing": np.float32([[2, 0.7, 0.7], [1, 1, 1]]),
    }
    for left_out in (set(), {"spacing"}, {"centre"}, {"spacing", "centre"}):
        given = {name: values for name, values in inputs.items() if name not in left_out}
        content, length = body(given, binary)
        answer = json.loads(codec.answer("nodule", predictor, content, length).body)
        found = {output["name"]: output["data"] for output in answer["outputs"]}
        expected = predictor.run(inputs["scan"], given.get("spacing"), given.get("centre"))
        assert np.float32(found["logits"]) == pytest.approx(expected["logits"].ravel())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"spacing": np.float32([[1, 1, 0]])}, "The input spacing is millimetres, above 0"),
        ({"spacing": np.float32([[1, np.inf, 1]])}, "The input spacing is millimetres, above 0"),
        ({"spacing": np.float32([[1, 1]])}, r"The input spacing is \(batch, 3\), not \[1, 2\]"),
        ({"spacing": np.ones((2, 3), np.float32)}, "There are 1 scans, and the input spacing is of 2"),
        ({"centre": np.float32([[4, 40, 3]])}, r"The input centre lies in the scan of \[8, 40, 40\]"),
        ({"centre": np.float32([[4, np.inf, 3]])}, "The input centre lies in the scan"),
        ({"place": np.float32([[4, 4, 3]])}, "the input scan, and if wanted spacing and centre"),
    ],
)
def test_requests_that_are_refused(predictor, volume, changes, sentence):
    content, length = body({"scan": volume[None, :8, :40, :40], **changes}, binary=True)
    with pytest.raises(HTTPException) as refused:
        codec.answer("nodule", predictor, content, length)
    assert refused.value.status_code == 400
    assert re.search(sentence, refused.value.detail)


def test_a_few_bytes_do_not_ask_for_all_memory(predictor, monkeypatch):
    """Voxels a nanometre apart: the whole scan lies between two points of the field of view."""
    monkeypatch.setattr(codec, "MAX_REACHED", 40**3)
    scan = np.zeros((1, 50, 50, 50), np.float32)
    content, length = body({"scan": scan, "spacing": np.full((1, 3), 1e-6, np.float32)}, binary=True)
    with pytest.raises(HTTPException, match="413"):
        codec.answer("nodule", predictor, content, length)
