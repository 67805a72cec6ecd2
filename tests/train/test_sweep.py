"""A learning-rate sweep: every combination once, a table and a picture."""

import csv
import resource
import signal

import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.files import add_line, growing
from liquidlens.train.loop import fit
from liquidlens.train.run import RunFolder
from liquidlens.train.studies import sweep


def run(tmp_path, rates=(1e-3, 1e-2), epochs=1, out="sweep.csv"):
    changes = {"max_epochs": epochs, "subset": 100}
    options = {"recipe": "quick", "runs": tmp_path, "progress": False}
    return sweep.sweep(["CNNExp4N1"], "phantom-vessel3d", rates, [0, 1], changes, tmp_path / out, **options)


def test_every_combination_once(tmp_path, monkeypatch):
    with run(tmp_path).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["learning_rate"]) for row in rows] == [
        (seed, rate) for seed in ("0", "1") for rate in ("0.001", "0.01")
    ]
    losses = {folder: RunFolder(folder).metrics().best.val["loss"] for folder in tmp_path.glob("phantom-*")}
    assert len(set(losses.values())) == 4, "seed and rate reach the training"
    assert all(row["model"] == "CNNExp4N1" and 0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    with Image.open(tmp_path / "sweep.png") as picture:
        assert picture.width > 500
        assert len(picture.convert("RGB").getcolors(100_000) or ()) > 10, "not blank"

    before = (tmp_path / "sweep.csv").read_text()
    run(tmp_path, rates=(3e-3,))
    assert (tmp_path / "sweep.csv").read_text().startswith(before), "another rate joins them"
    monkeypatch.setattr(fit, "_run_trainer", lambda *_: pytest.fail("it trained again"))
    run(tmp_path)
    with pytest.raises(LiquidLensError, match=r"sweep\.csv holds another sweep"):
        run(tmp_path, epochs=2)
    for other in (b"data,model\nphantom-vessel3d,1MLP-LSTM\n", b"patient,age\n", before.encode().replace(b"md5", b"")):
        (tmp_path / "other.csv").write_bytes(other)
        with pytest.raises(LiquidLensError, match=r"other\.csv holds another sweep"):
            run(tmp_path, out="other.csv")
        assert (tmp_path / "other.csv").read_bytes() == other
    with growing(tmp_path / "sweep.csv"), pytest.raises(LiquidLensError, match="another process is at work on it"):
        run(tmp_path)


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path):
    path, before = tmp_path / "table.csv", "a,b\n1,2\n"
    path.write_text(before)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with growing(path) as table:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))
            with pytest.raises(LiquidLensError, match=r"table\.csv: cannot be written"):
                add_line(table, path, {"a": "x" * 60, "b": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"rates": ()}, "at least one"),
        ({"models": ["CNNExp4N1", "CNNExp4N11"]}, "There is no model named 'CNNExp4N11'"),
        ({"models": ["CNNExp4N1", "EQ2425"]}, "EQ2425 reads images, and phantom-vessel3d holds volumes"),
        ({"seeds": [0, -1]}, "A seed is a number from 0"),
        ({"rates": [0.1, -1]}, "learning_rate=-1 does not fit"),
        ({"changes": {"learning_rate": 3}}, "are its --rates"),
        ({"out": "sweep.png"}, "ends in .csv"),
        ({"data": "phantom-pose", "models": ["PoseNet-final"], "recipe": "tum-2018-pose"}, "poses have none"),
    ],
)
def test_everything_is_checked_before_anything_is_trained(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.setattr(sweep, "train", lambda *_, **__: pytest.fail("it trained"))
    whole = {"models": ["CNNExp4N1"], "data": "phantom-vessel3d", "rates": [0.1], "seeds": [0], **arguments}
    out = tmp_path / whole.pop("out", "sweep.csv")
    with pytest.raises(LiquidLensError, match=sentence):
        sweep.sweep(out=out, runs=tmp_path, **whole)
    assert not list(tmp_path.iterdir())


def test_another_sweeps_table_is_not_overwritten(tmp_path):
    (tmp_path / "sweep.csv").write_text("data,model\nmnist,1MLP-LSTM\n")
    with pytest.raises(LiquidLensError, match=r"sweep\.csv holds another sweep"):
        run(tmp_path)
