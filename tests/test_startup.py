"""What a command loads before it answers: nothing that takes seconds, if the answer needs none of it."""

import gc
import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from liquidlens.commands import app
from liquidlens.lazy import lazily

SLOW = {
    "gradio", "lightning", "matplotlib", "monai", "onnxscript", "optimum", "optuna", "pandas", "scipy", "sklearn",
    "tensorboard", "torch", "torchmetrics", "transformers",
}  # fmt: skip
#: Runs command lines from standard input in one process, and prints after each what was loaded until then.
RUN = """
import contextlib, io, json, sys
from liquidlens.commands import main
for line in json.load(sys.stdin):
    sys.argv = ["liquidlens", *line]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as end:
        code = end.code or 0
    print(json.dumps([line, code, said.getvalue(), sorted(name for name in sys.modules if "." not in name)]))
"""
NAMES = [command.name or command.callback.__name__ for command in app.registered_commands]
ANSWERS = [
    [],
    *([name, "--help"] for name in NAMES),
    ["models"],
    ["models", "truong"],
    ["recipes"],
    ["recipes", "quick"],
    ["data"],
]
REFUSALS = [
    (["train", "LiqExp4N22", "vesselmnist3d"], "Did you mean LiqExp4N2"),
    (["train", "LiqExp4N2", "vesselmnist"], "Did you mean vesselmnist3d"),
    (["train", "LiqExp4N2", "no/folder"], "There is no image folder and no table no/folder"),
    (["train", "LiqExp4N2", "no.csv"], "There is no image folder and no table no.csv"),
    (["train", "LiqExp4N2", "cifar10-jpeg", "--data-root", "none"], "--data-root names none"),
    (["train", "LiqExp4N2", "phantom-vessel3d", "--recipe", "fast"], "There is no recipe named 'fast'"),
    (["train", "LiqExp4N2", "phantom-vessel3d", "--set", "rate=1"], "There is no field of a recipe named 'rate'"),
    (["train", "LiqExp4N2", "phantom-vessel3d", "--set", "batch_size=0"], "batch_size=0 does not fit"),
    (["train", "LiqExp4N2", "phantom-vessel3d", "--flag", "bare"], "LiqExp4N2 has no flag 'bare'"),
    (["train", "LiqExp4N2", "phantom-vessel3d", "--size", "big"], "--size is a number of pixels"),
    (["train", "LiqExp4N2", "phantom-vessel3d", "--size", "9x9"], "LiqExp4N2 reads volumes, not images"),
    (["train", "no.csv"], "no.csv is no table and no folder of scans"),
    (["evaluate", "no/run"], "There is no run folder no/run"),
    (["compare", "no/run", "no/twin"], "There is no run folder no/run"),
    (["sweep", "mnist", "EQ2425", "--rates", "fast"], "--rates takes numbers separated by commas"),
    (["sweep", "mnist", "EQ"], "There is no model named 'EQ'"),
    (["search", "CNNExp4N", "phantom-vessel3d", "--over", "shift=1,2"], "There is no model named 'CNNExp4N'"),
    (["study", "hse"], "There is no study named 'hse'"),
    (["study", "hse-2024", "--seeds", "all"], "--seeds takes numbers and ranges"),
    (["study", "hse-2024", "--models", "EQ2425"], "There is no model of this study named 'EQ2425'"),
    (["tables", "hse"], "There is no study named 'hse'"),
    (["export", "no/run"], "There is no run folder no/run"),
    (["export", "no/run", "--opset", "11"], "Operator set 11 is too old"),
    (["export", "no/run", "--threshold", "high"], "A threshold is youden, a number from 0 to 1"),
    (["export", "no/run", "--variants", "int4"], "--variants takes some of"),
    (["onnx", "no.py:build", "out.onnx"], "no.py: there is no such file"),
    (["data", "vesselmnist"], "Did you mean vesselmnist3d"),
    (["models", "resnet50"], "No model and no paper has 'resnet50'"),
    (["recipes", "fast"], "There is no recipe named 'fast'"),
    (["audit", "none.onnx"], "there is no such file"),
    (["predict", "vesse", "scan.npy"], "There is no file or pretrained model named 'vesse'"),
    (["batch", "vesse", "scan.npy", "--out", "table.csv"], "There is no file or pretrained model named 'vesse'"),
    (["explain", "vesse", "scan.npy"], "There is no file or pretrained model named 'vesse'"),
    (["serve", "vesse"], "There is no file or pretrained model named 'vesse'"),
    (["bench", "none.onnx"], "there is no such file"),
    (["train", "--batch"], "No such option"),
]


def loaded(*lines: list[str]) -> list[tuple[list[str], int, str, set[str]]]:
    done = subprocess.run([sys.executable, "-c", RUN], input=json.dumps(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [(line, code, said, set(modules)) for line, code, said, modules in map(json.loads, done.stdout.splitlines())]


def test_what_lists_and_helps_loads_nothing_slow():
    for line, code, said, modules in loaded(*ANSWERS):
        assert code == (2 if not line else 0), (line, said)
        assert said
        assert not modules & (SLOW | {"onnx", "onnxruntime"}), line


def test_what_refuses_loads_nothing_slow():
    answers = loaded(*(line for line, _ in REFUSALS))
    for (line, sentence), (_, code, said, modules) in zip(REFUSALS, answers, strict=True):
        assert code == 2, (line, said)
        assert sentence in " ".join(said.split()), line
        assert not modules & SLOW, line


def test_an_audit_needs_no_torch():
    (_, code, said, modules), *_ = loaded(["audit", "vessel"])
    assert code == 0
    assert said.startswith("Sound: nothing was changed, and every number is accounted for.")
    assert not modules & SLOW


def test_shell_completion_loads_nothing_slow():
    code = "import runpy, sys, atexit; sys.argv = ['liquidlens']; atexit.register(lambda: print(*sys.modules)); "
    code += "runpy.run_module('liquidlens', run_name='__main__')"
    environment = {"_LIQUIDLENS_COMPLETE": "complete_bash", "COMP_WORDS": "liquidlens tr", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "train" in done.stdout.split()
    assert not set(done.stdout.split()) & (SLOW | {"numpy", "onnx", "onnxruntime"})


@pytest.mark.parametrize("module", ["liquidlens.train.loop.fit", "liquidlens.export.pipeline"])
def test_training_and_exporting_import_no_language_models(module):
    """Lightning's torchmetrics would, where it finds them; afterwards it still knows what is installed."""
    code = f"""
import sys, {module}
from torchmetrics.utilities.imports import _SCIPY_AVAILABLE, _TRANSFORMERS_GREATER_EQUAL_4_4
print(*sys.modules)
print(bool(_SCIPY_AVAILABLE), bool(_TRANSFORMERS_GREATER_EQUAL_4_4))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules, known = done.stdout.splitlines()
    assert not {"transformers", "optimum", "monai", "tensorboard", "matplotlib"} & set(modules.split())
    assert known == f"True {find_spec('transformers') is not None}"


def test_no_garbage_is_sought_while_a_package_loads(tmp_path, monkeypatch):
    (tmp_path / "loaded_lazily.py").write_text("import gc\nsought = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert lazily("here", {"sought": "loaded_lazily:sought"})("sought") is False
    assert gc.isenabled()
