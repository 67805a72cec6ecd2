"""The job: every scan one row, whatever happens to scans, disks and the process itself."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.files import lock
from liquidlens.imaging import Budget, read
from liquidlens.imaging.collection import named
from liquidlens.serve.batch import tables
from liquidlens.serve.batch.engine import Options
from liquidlens.serve.batch.inputs import Inputs, Shard
from liquidlens.serve.batch.job import State, journal_of, parts_of, run
from liquidlens.serve.batch.merge import merge
from liquidlens.serve.predict.predictor import Predictor

OPTIONS = Options(batch_size=4, readers=2)
ROOT = Path(__file__).parents[3]


def batch(predictor, out, *sources, options=OPTIONS, shard="1/1", **others):
    inputs = Inputs([str(source) for source in sources], 3, shard=Shard.parse(shard))
    return run(predictor, inputs, out, options, **others)


def rows(path: Path) -> list[tables.Row]:
    """All columns but the one that is never the same twice."""
    return [row | {"milliseconds": None} for row in tables.rows(path)]


def command(*arguments, **others) -> subprocess.Popen:
    return started([sys.executable, "-m", "liquidlens", "batch", *map(str, arguments)], **others)


def started(line: list[str], **others) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT, **others
    )


def doomed(deed: str, delay: float, *arguments) -> subprocess.Popen:
    """`command`, which does this to itself so many seconds after it has kept its first rows.  Done from here it might
    come when all is over."""
    script = f"""
import os, threading
from liquidlens.commands import main
from liquidlens.serve.batch.journal import Journal

kept = Journal.append

def once(*given):
    Journal.append = kept
    kept(*given)
    threading.Timer({delay}, lambda: {deed}).start()

Journal.append = once
main()
"""
    return started([sys.executable, "-c", script, "batch", *map(str, arguments)], start_new_session=True)


def finished(*arguments, **others) -> tuple[int, str, str]:
    process = command(*arguments, **others)
    said, complained = process.communicate(timeout=900)
    return process.returncode, said, complained


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_a_row_for_each_scan_in_order(predictor, folder, tmp_path, ending):
    out = tmp_path / f"out{ending}"
    summary = batch(predictor, out, folder, options=Options(batch_size=1, readers=2))
    assert (summary.scans, summary.errors, summary.predicted) == (21, 1, 21)
    found = list(tables.rows(out))
    assert [(row["input"], row["number"]) for row in found[-8:]] == [*((13, i) for i in range(6)), (14, 0), (14, 1)]
    for row in found:
        if row["error"] is not None:
            assert (
                row["error"]
                == f"{folder}/broken.npy: not a readable NPY file; it may be damaged (the file ends before its array)."
            )
            continue
        alone = predictor.predict(read(named(row["path"], row["item"])))
        assert row["label"] == alone.label
        assert row["p_aneurysm"] == pytest.approx(alone.probabilities["aneurysm"], abs=1e-6)
        assert row["ood_score"] == pytest.approx(alone.ood_score, rel=1e-4)
        assert (row["abstained"], row["ood"], row["threshold"]) == (alone.abstained, alone.ood, alone.threshold)
        assert (row["device"], row["model"], row["model_sha256"]) == ("cpu", "LiquidLens-S", predictor.sha256)
    assert {path.name for path in tmp_path.iterdir()} == {"scans", out.name}
    together = tmp_path / f"together{ending}"
    batch(predictor, together, folder)  # several scans at a time, whose sums are rounded in another order
    for row, alone in zip(tables.rows(together), found, strict=True):
        assert (row["path"], row["item"], row["label"]) == (alone["path"], alone["item"], alone["label"])
        assert row["error"] or row["p_aneurysm"] == pytest.approx(alone["p_aneurysm"], abs=1e-5)


def test_scans_of_other_kinds_are_errors_and_nothing_else(predictor, tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((28, 28)))
    np.save(tmp_path / "nan.npy", np.full((3, 4, 5), np.nan))
    np.save(tmp_path / "large.npy", np.ones((40, 40, 40), np.uint8))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    batch(predictor, tmp_path / "out.jsonl", tmp_path, options=Options(readers=1, budget=Budget(pixels=30_000)))
    errors = [row["error"].removeprefix(f"{row['path']}: ") for row in tables.rows(tmp_path / "out.jsonl")]
    assert errors == [
        "LiquidLens-S reads a volume, and this is a 2D image.",
        "64,000 pixels are over the budget of 30,000; raise 'pixels' if you trust the file.",
        "60 of 60 pixels are not finite (NaN or infinite): give them the background value.",
        "pixels are numbers, this array holds <U1.",
    ]


def test_parts_are_joined_into_the_whole(predictor, folder, tmp_path):
    whole = tmp_path / "whole.csv"
    batch(predictor, whole, folder)
    parts = [tmp_path / f"part{i}.csv" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        batch(predictor, part, folder, shard=f"{i}/3")
    assert all(len(rows(part)) in (6, 7, 8) for part in parts)
    for order in (parts, parts[::-1]):
        summary = merge(order, tmp_path / "joined.csv", overwrite=True)
        assert (summary.scans, summary.errors) == (21, 1)
        for mine, theirs in zip(rows(tmp_path / "joined.csv"), rows(whole), strict=True):
            assert mine | {"p_vessel": 0, "p_aneurysm": 0, "ood_score": 0} == theirs | {
                "p_vessel": 0,
                "p_aneurysm": 0,
                "ood_score": 0,
            }
            assert mine["p_aneurysm"] == pytest.approx(theirs["p_aneurysm"], abs=1e-6)
    for wrong, sentence in (
        (parts[:2], "is one of 3 parts, and 2 were named"),
        ([parts[0], parts[1], parts[1]], "comes twice: is a part given twice"),
        ([tmp_path / "joined.csv"], "is one of the parts"),
        ([tmp_path / "none.csv"], "there is no such table"),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            merge(wrong, tmp_path / "joined.csv", overwrite=True)
    with pytest.raises(LiquidLensError, match="is there already"):
        merge(parts, tmp_path / "joined.csv")
    assert len(rows(tmp_path / "joined.csv")) == 21


class _StopError(Exception):
    pass


def stop_after(number: int):
    def say(state: State) -> None:
        if state.predicted >= number:
            raise _StopError

    return say


def test_an_interrupted_job_goes_on_where_it_stopped(predictor, folder, tmp_path):
    """Windows of 4 scans.  What was done is not done again, and the table is that of a job that was not interrupted."""
    options = Options(batch_size=1, readers=2)
    batch(predictor, tmp_path / "whole.csv", folder, options=options)
    out = tmp_path / "out.csv"
    done = []
    for stop in (4, 4, 8):
        with pytest.raises(_StopError):
            batch(predictor, out, folder, options=options, resume=True, say=stop_after(stop))
        assert not out.exists()
        done.append(sum(len(json.loads(line)["rows"]) for line in journal_of(out).read_text().splitlines()[1:]))
    assert done == [4, 8, 16]
    summary = batch(predictor, out, folder, options=options, resume=True)
    assert (summary.scans, summary.predicted) == (21, 5)
    assert rows(out) == rows(tmp_path / "whole.csv")
    assert batch(predictor, out, folder, resume=True).predicted == 0


def test_a_journal_of_before_there_was_a_task_goes_on(predictor, folder, tmp_path):
    out, options = tmp_path / "out.csv", Options(batch_size=1, readers=2)
    with pytest.raises(_StopError):
        batch(predictor, out, folder, options=options, say=stop_after(4))
    journal = journal_of(out)
    older = [json.loads(line) for line in journal.read_text().splitlines()]
    kept = sum(row.pop("task") == "classes" for entry in older[1:] for row in entry["rows"])
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in older))
    batch(predictor, out, folder, options=options, resume=True)
    assert [row["task"] for row in rows(out)] == [None] * kept + ["classes"] * (21 - kept)
    assert kept == 4


def test_other_inputs_do_not_go_on(predictor, folder, tmp_path):
    """Neither with a journal, nor with a finished table."""
    out = tmp_path / "out.csv"
    with pytest.raises(_StopError):
        batch(predictor, out, folder, options=Options(batch_size=1, readers=1), say=stop_after(8))
    for finished_table in (False, True):
        for sources, shard, sentence in (
            ((folder / "left",), "1/1", "holds rows of other inputs"),
            ((folder, folder / "0.npy"), "1/1", "holds rows of other inputs"),
            ((folder,), "1/2", "holds rows of another part of the scans: 1/1, not 1/2|other inputs"),
        ):
            with pytest.raises(LiquidLensError, match=sentence):
                batch(predictor, out, *sources, shard=shard, resume=True)
        batch(predictor, out, folder, resume=True)
        assert len(rows(out)) == 21, finished_table


def test_a_stack_that_shrank_while_a_job_was_interrupted_loses_no_row(predictor, vessels, tmp_path):
    stack, out = tmp_path / "stack.npy", tmp_path / "out.csv"
    options = Options(batch_size=1, readers=1)
    named = tmp_path / "list.csv"
    named.write_text(f"path\n{stack}\n")
    for change in (lambda: np.save(stack, vessels[:3]), stack.unlink):
        np.save(stack, vessels[:12])
        with pytest.raises(_StopError):
            batch(predictor, out, named, options=options, say=stop_after(8))
        change()
        summary = batch(predictor, out, named, options=options, resume=True)
        assert (summary.scans, summary.errors) == (9, 1)
        assert next(row for row in tables.rows(out) if row["error"])["number"] == 8
        out.unlink()


def test_a_part_without_scans_is_an_empty_table(predictor, folder, tmp_path):
    parts = [tmp_path / f"{i}.csv" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        batch(predictor, part, folder / "0.npy", folder / "1.npy", shard=f"{i}/3")
    assert [len(rows(part)) for part in parts] == [1, 1, 0]
    with pytest.raises(LiquidLensError, match="is one of 3 parts, and 2 were named"):
        merge(parts[:2], tmp_path / "joined.csv")
    assert merge(parts, tmp_path / "joined.csv").scans == 2
    assert {row["shard"] for row in tables.rows(tmp_path / "joined.csv")} == {"1/1"}


def test_an_array_that_cannot_be_opened_is_told_by_one_shard(predictor, folder, tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"")
    errors = []
    for i in (1, 2, 3):
        batch(predictor, tmp_path / f"{i}.csv", folder / "0.npy", tmp_path / "broken.npy", shard=f"{i}/3")
        errors += [row["path"] for row in rows(tmp_path / f"{i}.csv") if row["error"]]
    assert errors == [str(tmp_path / "broken.npy")]


def listed(folder: Path, *files: Path) -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join(["path", *map(str, files)]) + "\n")
    return path


@pytest.mark.parametrize("out_of_reach", [1, 2, 3])
def test_an_array_that_one_machine_cannot_open_is_an_error_and_no_gap(predictor, vessels, tmp_path, out_of_reach):
    """A mount that is missing there, for example; all other machines have their scans of it."""
    stack, one = tmp_path / "stack.npy", tmp_path / "one.npy"
    np.save(stack, vessels[:7])
    np.save(one, vessels[7])
    parts = []
    for i in (1, 2, 3):
        parts.append(tmp_path / f"{i}.csv")
        if i == out_of_reach:
            stack.rename(tmp_path / "away.npy")
        batch(predictor, parts[-1], listed(tmp_path, stack, one), shard=f"{i}/3")
        if i == out_of_reach:
            (tmp_path / "away.npy").rename(stack)
    joined = merge(parts, tmp_path / "joined.csv")
    lost = [out_of_reach - 1 + 3 * k for k in range(3) if out_of_reach - 1 + 3 * k < 7]
    assert (joined.scans, joined.errors) == (8 - len(lost) + 1, 1)
    numbers = [row["number"] for row in rows(tmp_path / "joined.csv") if row["input"] == 0]
    assert numbers == [n for n in range(7) if n not in lost[1:]]


def test_an_array_that_nobody_can_reach_is_one_row(predictor, folder, tmp_path):
    parts = [tmp_path / f"{i}.csv" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        batch(predictor, part, listed(tmp_path, tmp_path / "none.npy", folder / "0.npy"), shard=f"{i}/3")
    joined = merge(parts, tmp_path / "joined.csv")
    assert (joined.scans, joined.errors) == (2, 1)


def test_a_finished_part_notices_that_scans_came(predictor, folder, tmp_path):
    for sources, shard in (([folder / "left"], "2/2"), ([folder / "0.npy"], "2/2")):
        out = tmp_path / f"{len(str(sources))}.csv"
        batch(predictor, out, *sources, shard=shard)
        assert batch(predictor, out, *sources, shard=shard, resume=True).predicted == 0
        with pytest.raises(LiquidLensError, match="holds rows of other inputs"):
            batch(predictor, out, *sources, folder / "1.npy", folder / "2.npy", shard=shard, resume=True)


def test_parts_that_a_cluster_is_at_work_on_are_not_removed(predictor, folder, tmp_path):
    out = tmp_path / "out.csv"
    parts = parts_of(out)
    parts.mkdir()
    (parts / "job.json").write_text("{}")
    with journal_of(out).open("ab") as journal:
        lock(journal, journal_of(out))
        with pytest.raises(LiquidLensError, match="another process is at work on it"):
            batch(predictor, out, folder, overwrite=True)
    assert (parts / "job.json").exists()


def test_nothing_is_overwritten_unasked(predictor, folder, tmp_path):
    out = tmp_path / "out.csv"
    with pytest.raises(_StopError):
        batch(predictor, out, folder, options=Options(batch_size=1, readers=1), say=stop_after(1))
    with pytest.raises(LiquidLensError, match=r"holds 4 rows of an unfinished run: go on with it by --resume"):
        batch(predictor, out, folder)
    batch(predictor, out, folder / "left", overwrite=True)
    before = out.read_bytes()
    with pytest.raises(LiquidLensError, match=r"is there already: .* anew with .* --overwrite"):
        batch(predictor, out, folder)
    assert out.read_bytes() == before
    assert batch(predictor, out, folder, overwrite=True).scans == 21


def test_parts_of_a_cluster_are_not_passed_over(predictor, folder, tmp_path):
    parts = tmp_path / "out.csv.parts"
    parts.mkdir()
    (parts / "job.json").write_text("{}")
    for resume in (False, True):
        with pytest.raises(LiquidLensError, match="is of an unfinished run with --engine ray"):
            batch(predictor, tmp_path / "out.csv", folder, resume=resume)
    batch(predictor, tmp_path / "out.csv", folder, overwrite=True)
    assert not parts.exists()


def test_another_model_does_not_go_on(predictor, folder, tmp_path):
    out = tmp_path / "out.csv"
    with pytest.raises(_StopError):
        batch(predictor, out, folder, options=Options(batch_size=1, readers=1), say=stop_after(1))
    code, _, error = finished("nodule", folder, "--out", out, "--resume")
    assert code == 2
    assert f"{out}.journal holds rows of another model: LiquidLens-S" in error
    batch(predictor, out, folder, resume=True)
    code, _, error = finished("nodule", folder, "--out", out, "--resume")
    assert code == 2
    assert f"{out} holds rows of another model: LiquidLens-S" in error


@pytest.fixture(scope="module")
def many(tmp_path_factory, vessels) -> Path:
    """1,600 scans: half in files, half in a compressed stack."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(800):
        np.save(folder / f"{i:03}.npy", np.roll(vessels[i % 60], i % 7, axis=1))
    np.savez_compressed(folder / "stack.npz", images=np.concatenate([vessels] * 14)[:800])
    return folder


def test_ten_kills_lose_nothing(many, tmp_path):
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    options = ("--threads", "1", "--batch-size", "8")
    assert finished("vessel", many, "--out", whole, *options)[0] == 0
    chance = random.Random(0)  # noqa: S311
    rows_before = [0]
    for _ in range(10):
        delay = chance.uniform(0, 0.2)
        killed = doomed("os.kill(os.getpid(), 9)", delay, "vessel", many, "--out", out, *options, "--resume")
        killed.communicate()  # the workers notice by themselves
        assert killed.returncode == -9
        rows_before.append(_rows(journal_of(out)))
    assert all(one < other for one, other in pairwise(rows_before)), rows_before
    assert len(rows_before) == 11
    code, said, error = finished("vessel", many, "--out", out, *options, "--resume")
    assert code == 0, error
    assert "1,600 scans" in said
    assert rows(out) == rows(whole)


def _rows(journal: Path) -> int:
    lines = journal.read_bytes().split(b"\n")[1:-1] if journal.exists() else []
    return sum(len(json.loads(line)["rows"]) for line in lines)


def test_a_full_disk_keeps_what_is_done(predictor, many, tmp_path):
    """A limit of the size of files stands for the disk."""
    limit = 200_000

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    out = tmp_path / "out.csv"
    code, _, error = finished("vessel", many / "stack.npz", "--out", out, preexec_fn=small_disk)
    assert code == 2
    assert "out.csv.journal: File too large. The rows before are kept, and --resume goes on from there." in error
    assert not out.exists()
    kept = _rows(journal_of(out))
    assert kept >= 128
    assert batch(predictor, out, many / "stack.npz", resume=True).predicted == 800 - kept
    assert len(rows(out)) == 800


def test_ctrl_c_is_a_sentence(many, tmp_path):
    out = tmp_path / "out.csv"
    group = f"os.killpg(0, {signal.SIGINT.value})"  # as a terminal does: the workers get it, too
    process = doomed(group, 0, "vessel", many, "--out", out, "--threads", "1")
    _, error = process.communicate(timeout=900)
    assert process.returncode == 130
    assert error == "Error: Interrupted. What is done is kept, and --resume goes on from there.\n"
    assert finished("vessel", many, "--out", out, "--threads", "1", "--resume")[0] == 0
    assert len(rows(out)) == 1600


def test_strict_and_summary(folder, tmp_path):
    code, said, _ = finished("vessel", folder, "--out", tmp_path / "a.csv")
    assert code == 0
    assert said.startswith("21 scans, ")
    assert f"1 could not be predicted:\n  {folder}/broken.npy: not a readable NPY file" in said
    code, said, error = finished("vessel", folder, "--out", tmp_path / "b.csv", "--strict", "--json")
    assert code == 3
    assert error == "Error: 1 of 21 scans could not be predicted.\n"
    assert json.loads(said)["errors"] == 1
    assert len(rows(tmp_path / "b.csv")) == 21


def test_folders_that_cannot_be_written_are_found_before_the_work(predictor, folder, tmp_path):
    (tmp_path / "file").touch()
    seen = []
    with pytest.raises(LiquidLensError, match="a file is in the place of its folder"):
        batch(predictor, tmp_path / "file" / "out.csv", folder, say=seen.append)
    assert not seen
    code, _, error = finished("vessel", folder, "--out", tmp_path / "file" / "out.csv")
    assert code == 2
    assert error.startswith("Error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--out", "table.txt"), "table.txt: a table's name ends in .csv, .jsonl or .parquet."),
        (("--out", "a.csv", "--shard", "3/2"), "--shard is a part and the number of parts"),
        (("--out", "a.csv", "--limit", "size=3"), "There is no limit named 'size'."),
        (("--out", "a.csv", "--limit", "pixels=many"), "A limit is a number above 0"),
        (("--out", "a.csv", "--labels", "none.csv"), "none.csv: there is no such file"),
        (("--out", "a.csv", "--resume", "--overwrite"), "give one of them"),
        (("--out", "a.csv", "--actors", "2"), "--actors is for --engine ray."),
        (("--out", "a.csv", "none"), "none: there is no such file or folder."),
    ],
)
def test_bad_options_are_sentences(folder, arguments, sentence):
    code, _, error = finished("vessel", folder, *arguments)
    assert code == 2
    assert sentence in error
    assert error.count("\n") == 1


def test_the_whole_test_set_gives_the_figures_of_the_export(predictor, medmnist_root, tmp_path):
    file = medmnist_root / "vesselmnist3d.npz"
    table = ("--out", tmp_path / "out.csv", "--labels", f"{file}#test_labels", "--json")
    code, said, error = finished("vessel", f"{file}#test_images", *table)
    assert code == 0, error
    figures, exported = json.loads(said)["evaluation"]["figures"], predictor.manifest.metrics["test"]
    assert json.loads(said)["scans"] == 382
    assert figures["auc"]["value"] == pytest.approx(exported["auc"], abs=1e-6)
    assert figures["accuracy_most_probable"]["value"] == pytest.approx(exported["accuracy"], abs=1e-6)
    assert figures["ece"]["value"] == pytest.approx(exported["ece_calibrated"], abs=1e-5)
    for name in ("evaluation.json", "confusion.png", "coverage-risk.png"):
        assert (tmp_path / f"out.{name}").stat().st_size > 100


def test_624_xrays_from_files_give_the_figures_of_the_export(data_root, tmp_path):
    """The test split of the X-rays that PneumoniaMNIST is made of: a JPEG file each, and a list of labels."""
    file = next(data_root.rglob("kermany_cxr224_jpeg.npz"), None)
    if file is None:
        pytest.skip(f"needs kermany_cxr224_jpeg.npz in {data_root}")
    folder = tmp_path / "xrays"
    folder.mkdir()
    with np.load(file) as arrays, (tmp_path / "labels.csv").open("w") as labels:
        content, offsets = arrays["jpeg"], arrays["offsets"]
        labels.write("path,label\n")
        for i in np.flatnonzero(arrays["split"] == 2):
            (folder / f"{i}.jpeg").write_bytes(content[offsets[i] : offsets[i + 1]].tobytes())
            labels.write(f"xrays/{i}.jpeg,{('normal', 'pneumonia')[arrays['labels'][i]]}\n")
    table = ("--out", tmp_path / "out.parquet", "--labels", tmp_path / "labels.csv", "--json")
    code, said, error = finished("chest-xray", folder, *table)
    assert code == 0, error
    answer = json.loads(said)
    assert (answer["scans"], answer["errors"]) == (624, 0)
    figures = answer["evaluation"]["figures"]
    exported = Predictor("chest-xray").manifest.metrics["test"]
    assert figures["auc"]["value"] == pytest.approx(exported["auc"], abs=1e-5)
    assert figures["accuracy_most_probable"]["value"] == pytest.approx(exported["accuracy"], abs=1e-6)
    assert figures["ece"]["value"] == pytest.approx(exported["ece_calibrated"], abs=1e-4)
