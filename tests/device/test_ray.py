"""The Ray engine, with real clusters: one on this machine, and one of two nodes that all tests share."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.batch import cluster, job, tables
from liquidlens.serve.batch import table_parts as parts
from liquidlens.serve.batch.cluster import Cluster
from liquidlens.serve.batch.engine import Options
from liquidlens.serve.batch.inputs import Inputs
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor

pytest.importorskip("ray")

PART = 6
SOURCES = ["single.npy", "folder", "stack.npz", "broken.nii.gz", "flat.npy", "single.npy"]
SCANS = 1 + 5 + 18 + 1 + 1 + 1
OPTIONS = Options(batch_size=2, readers=1)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with scans of all sorts, under paths that are relative to it."""
    import nibabel

    folder = tmp_path_factory.mktemp("scans")
    scans = vessel3d(splits={"test": 18})
    volumes = scans["test_images"]
    np.savez(folder / "stack.npz", **scans)
    np.save(folder / "single.npy", volumes[0])
    np.save(folder / "flat.npy", volumes[0, 0])
    (folder / "folder" / "deeper").mkdir(parents=True)
    for i in range(4):
        np.save(folder / "folder" / f"{i}.npy", volumes[i])
    nibabel.save(nibabel.Nifti1Image(volumes[4], np.eye(4)), folder / "folder" / "deeper" / "4.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    return folder


@pytest.fixture(autouse=True)
def in_folder(here: Path, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setattr(parts, "SCANS", PART)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("vessel", "cpu", 1)


@pytest.fixture(scope="module")
def plain(here: Path, predictor: Predictor, tmp_path_factory) -> list[tables.Row]:
    """The rows of the plain engine."""
    out = tmp_path_factory.mktemp("plain") / "plain.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        job.run(predictor, Inputs(SOURCES, 3), out, OPTIONS)
    return list(tables.rows(out))


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes with a core each, and the address of their head."""
    from ray.cluster_utils import Cluster as Nodes

    settings = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    nodes = Nodes(initialize_head=True, head_node_args={"include_dashboard": False, **settings})
    nodes.add_node(**settings)
    yield nodes
    nodes.shutdown()


@pytest.fixture(scope="module")
def joined(nodes) -> Iterator[Cluster]:
    """The cluster of two nodes, joined once for several jobs."""
    import ray
    import ray.data

    ray.init(nodes.address, log_to_driver=False, logging_level="CRITICAL")
    ray.data.DataContext.get_current().wait_for_min_actors_s = 60  # no actor is to do all before the other is there
    yield Cluster(nodes.address, actors=2)
    ray.shutdown()


def run(predictor: Predictor, out: Path, where: Cluster, sources=SOURCES, **again):
    return cluster.run(predictor, Inputs(sources, 3), out, OPTIONS, where, threads=1, **again)


def assert_same(out: Path, plain: list[tables.Row]) -> None:
    """All columns are equal but the time, and the probabilities up to rounding."""
    rows = list(tables.rows(out))
    assert len(rows) == len(plain) == SCANS
    for row, expected in zip(rows, plain, strict=True):
        assert list(row) == list(expected)
        for name, value in expected.items():
            if name.startswith("p_") or name == "ood_score":
                assert row[name] == pytest.approx(value, abs=1e-6)
            elif name != "milliseconds":
                assert row[name] == value, name


def actors() -> list[dict]:
    """What Ray knows of the actors of the jobs that it was given."""
    from ray._private import state

    return [actor for actor in state.actors().values() if "Judge" in actor["ActorClassName"]]


def complaints(errors: str) -> list[str]:
    """What was printed there but progress, a line every half minute on a slow machine."""
    return [line for line in errors.splitlines() if not re.fullmatch(r"[\d.]+% +\d+ scans, \d+/s", line)]


def command(*arguments: str) -> list[str]:
    """``liquidlens batch`` with small parts."""
    small = f"from liquidlens.serve.batch import table_parts; table_parts.SCANS = {PART}"
    script = f"{small}; from liquidlens.commands import main; main()"
    return [sys.executable, "-c", script, "batch", "vessel", *SOURCES, "--batch-size", "2", *arguments]


def family(process: int) -> set[int]:
    """A process with its children, their children, ..."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def works(process: int) -> bool:
    with suppress(OSError):  # there is no such process
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())  # nothing, if it has ended and nobody asked how
    return False


def listens(process: int) -> set[str]:
    """The IPv4 addresses at which a process listens; 0.0.0.0 is all of them."""
    sockets = set()
    with suppress(OSError):
        sockets = {os.readlink(file) for file in Path(f"/proc/{process}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                address = bytes.fromhex(words[1].partition(":")[0])[-4:]  # an IPv4 address stands at the end of IPv6's
                found.add(".".join(map(str, reversed(address))))
    return found


def test_a_missing_cluster_and_a_missing_ray_are_said(predictor, tmp_path, monkeypatch):
    with pytest.raises(LiquidLensError, match=r"127.0.0.1:9: there is no Ray cluster that can be joined"):
        run(predictor, tmp_path / "rows.csv", Cluster("127.0.0.1:9"), ["single.npy"])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LiquidLensError, match=r"--engine ray needs Ray: pip install 'liquidlens\[ray\]'"):
        run(predictor, tmp_path / "others.csv", Cluster())
    assert not list(tmp_path.glob("others*"))


def test_two_nodes_give_the_rows_of_the_plain_engine(joined, predictor, plain, tmp_path):
    import ray

    out, states = tmp_path / "new" / "rows.csv", []
    summary = run(predictor, out, joined, say=states.append)
    assert_same(out, plain)
    assert summary.scans == summary.predicted == SCANS
    assert summary.errors == 2
    assert [state.places for state in states] == list(range(states[0].of + 1))
    assert states[0].of > SCANS // PART
    assert [file.name for file in out.parent.iterdir()] == ["rows.csv"]
    assert ray.is_initialized()
    until, worked = time.monotonic() + 120, set()
    while len(worked) < 2:  # Ray hears of what was done a second later
        assert time.monotonic() < until
        done = [event["args"]["task_id"] for event in ray.timeline() if event["name"] == "submit"]
        of = {actor["ActorID"]: actor["Address"]["NodeID"] for actor in actors()}
        worked = {node for actor, node in of.items() if any(task.endswith(actor) for task in done)}
    assert worked == {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def test_a_killed_actor_is_replaced(joined, predictor, plain, tmp_path):
    killed, restarts = [], []

    def say(state):
        if state.predicted and not killed:
            killed.append(next(actor for actor in actors() if actor["State"] == "ALIVE"))
            os.kill(killed[0]["Pid"], signal.SIGKILL)
        elif killed:
            restarts.extend(a["NumRestarts"] for a in actors() if a["ActorID"] == killed[0]["ActorID"])

    summary = run(predictor, tmp_path / "rows.jsonl", joined, say=say)
    assert_same(tmp_path / "rows.jsonl", plain)
    assert summary.predicted == SCANS
    assert killed
    assert max(restarts) == 1


def test_a_killed_job_goes_on_with_the_missing_parts(joined, here, predictor, plain, tmp_path):
    import ray

    out = tmp_path / "rows.parquet"
    folder = tmp_path / "rows.parquet.parts"
    line = command("--out", str(out), "--engine", "ray", "--ray-address", joined.address)
    # It kills itself: from here a kill might come when all is over.
    kill = "lambda done, *others: os.kill(os.getpid(), 9) if done >= 2 else State(done, *others)"
    script = f"import os; from liquidlens.serve.batch import cluster; State = cluster.State; cluster.State = {kill}"
    killed = subprocess.run([*line[:2], f"{script}; {line[2]}", *line[3:]], cwd=here)
    assert killed.returncode == -9
    assert not out.exists()
    with pytest.raises(LiquidLensError, match=r"holds the parts of an unfinished run: go on with them by --resume"):
        run(predictor, out, joined)
    with pytest.raises(LiquidLensError, match="holds rows of other inputs"):
        run(predictor, out, joined, ["folder"], resume=True)
    with pytest.raises(LiquidLensError, match=r"holds rows of another model: LiquidLens-S"):
        run(Predictor("adrenal", "cpu", 1), out, joined, resume=True)

    next(iter(folder.glob("part-*"))).write_bytes(b"cut off")  # as if the machine had gone down
    kept = sum(1 for file in folder.glob("part-*") if file.read_bytes() != b"cut off")
    ended = subprocess.run([*line, "--resume", "--json"], cwd=here, capture_output=True, text=True, check=True)
    assert complaints(ended.stderr) == []
    answer = json.loads(ended.stdout)
    assert answer["scans"] == SCANS
    assert 0 < answer["predicted"] <= SCANS - kept
    assert_same(out, plain)
    assert not folder.exists()
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    assert run(predictor, out, joined, resume=True).predicted == 0
    with pytest.raises(LiquidLensError, match="is there already"):
        run(predictor, out, joined)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_one_machine_gives_the_same_rows_quietly_and_is_left_as_it_was(here, plain, tmp_path):
    line = command("--out", str(tmp_path / "rows.csv"), "--engine", "ray", "--actors", "2")
    started, addresses = set(), set()
    with subprocess.Popen(line, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        while job.poll() is None:
            started |= family(job.pid)
            addresses |= set().union(*map(listens, started))
            time.sleep(0.2)
        printed, errors = job.communicate()
    assert (job.returncode, complaints(errors)) == (0, [])
    assert printed.startswith(f"{SCANS} scans, ")
    assert printed.endswith(f"{tmp_path / 'rows.csv'}\n")
    assert len(printed.splitlines()) < 8
    assert_same(tmp_path / "rows.csv", plain)
    assert len(started) > 5
    assert addresses == {"127.0.0.1"}
    until = time.monotonic() + 120
    while any(map(works, started)):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_node_with_another_model_is_said(joined, tmp_path):
    model = shutil.copy(pretrained.find("vessel"), tmp_path / "model.onnx")
    predictor = Predictor(model, "cpu", 1)
    shutil.copy(pretrained.find("adrenal"), model)
    with pytest.raises(
        LiquidLensError, match=r"^On node .*model.onnx is another file here than the one that was asked for"
    ):
        run(predictor, tmp_path / "rows.csv", joined, ["single.npy"])
    assert not (tmp_path / "rows.csv").exists()


def test_what_is_in_the_way_is_said(predictor, tmp_path):
    folder, journal = tmp_path / "rows.csv.parts", tmp_path / "rows.csv.journal"
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    for again in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(LiquidLensError, match="holds no parts of a batch; move it out of the way"):
            run(predictor, tmp_path / "rows.csv", Cluster(), **again)
    journal.write_text("{}\n")
    with pytest.raises(LiquidLensError, match="is of an unfinished run without --engine ray"):
        run(predictor, tmp_path / "rows.csv", Cluster(), resume=True)
    assert (folder / "holiday.jpg").exists()


def test_parts_hold_about_equally_many_scans(predictor):
    numbers = []
    for part in parts.cut(Inputs(SOURCES, 3), predictor.manifest.input, OPTIONS.budget):
        scans = [range(18)[place.first : place.end] if "stack" in place.path else [0] for _, place in part]
        assert 1 <= sum(map(len, scans)) <= PART
        numbers += [(number, scan) for (number, _), piece in zip(part, scans, strict=True) for scan in piece]
    files = sum(1 for _ in Inputs(SOURCES, 3))
    assert numbers == [(i, scan) for i in range(files) for scan in range(18 if i == 6 else 1)]
