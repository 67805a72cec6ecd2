"""The whole zoo: counts against the published ones, and every model on a batch."""

import csv
from pathlib import Path

import pytest
import torch

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.models.registry import TABLE
from scripts import zoo

COUNTS = Path(__file__).with_name("counts.csv")
#: Built after the papers' ideas, not printed or worked out from them.
EXTRA = ("CfC", "1MLP-LSTM-h", "2MLP-LSTM-h", "2MLP-LSTM-first", "3MLP-LSTM-h", "LiquidLens")


def counted(name: str) -> tuple[int, int]:
    """Trainable and frozen parameters; the frozen ones are the masks of liquid layers."""
    with torch.device("meta"):
        parameters = list(models.build(name).parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return trainable, sum(p.numel() for p in parameters) - trainable


def test_all_130_counts():
    with COUNTS.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 130
    assert {row["model"] for row in rows} | {n for n in models.names() if n.startswith(EXTRA)} == set(models.names())
    mismatches = []
    for row in rows:
        entry = models.entry(row["model"])
        assert entry.paper == row["paper"]
        expected = int(row["trainable_parameters"]), int(row["frozen_values"])
        if counted(row["model"]) != expected:
            mismatches.append(f"{row['definition']} ({row['model']}): {counted(row['model'])}, not {expected}")
        if (row["printed_in_paper"] == "yes") != (entry.published_parameters is not None):
            mismatches.append(f"{row['model']}: printed in the paper, or not?")
        if entry.published_parameters not in (None, expected[0]):
            mismatches.append(f"{row['model']}: published {entry.published_parameters}, counted {expected[0]}")
    assert not mismatches, "\n".join(mismatches)


def test_the_table_of_the_zoo_is_what_the_papers_files_say():
    assert TABLE.read_text(encoding="utf-8") == zoo.written(), "run `make docs`"


@pytest.mark.parametrize("name", models.names())
def test_every_model_learns_from_a_batch_and_explains_its_logits(name):
    torch.manual_seed(0)
    entry = models.entry(name)
    random_states = "zero_states" in entry.flags
    model = models.build(name, flags=("zero_states",) if random_states else ())
    inputs = torch.rand(2, *entry.input_shape)
    model(inputs).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

    model.eval()
    with torch.no_grad():
        decision = model.decide(inputs)
        assert decision.logits.shape == (2, entry.outputs)
        assert torch.equal(decision.logits, model(inputs))
        assert torch.allclose(model(inputs[:1]), decision.logits[:1], atol=1e-5), "scans of a batch must not mix"
        slices = 28 if entry.paper in ("hse-2024", "liquidlens") else 1
        slices = {"LiquidLens-X": 1, "LiquidLens-V": 27}.get(name, slices)
        assert decision.activations.shape[:2] == (2, slices)
        if slices == 1 or name in ("CNNExp3N6", "LiquidLens-V"):
            assert decision.slice_logits is None
        else:
            assert decision.slice_logits.shape == (2, 28, 1)
            assert torch.allclose(decision.slice_logits.mean(1), decision.logits, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "input_shape", "outputs"),
    [
        ("LiqExp1N2", (1, 20, 32, 30), 3),
        ("LiqExp3N5", (1, 28, 28, 28), 4),
        ("CfCExp2N2", (1, 9, 28, 28), 5),
        ("LSTMExp5N3", (1, 28, 28, 28), 11),
        ("CNNExp3N6", (1, 28, 40, 40), 11),
        ("CRNet-FC", (3, 112, 96), 9),
        ("CRNet-NCP-mixed-bi", (1, 112, 112), 3),
        ("2MLP-LSTM", (1, 64, 64), 4),
        ("1MLP-LSTM", (1, 20, 30), 4),
        ("CNN-FC-for-GRU", (3, 40, 40), 4),
        ("RecNet", (1, 28, 28), 4),
        ("EQ2425-best", (1, 48, 48), 7),
    ],
)
def test_models_take_other_sizes_channels_and_classes(name, input_shape, outputs):
    model = models.build(name, input_shape, outputs)
    assert model(torch.rand(2, *input_shape)).shape == (2, outputs)


def test_misfits_are_named():
    with pytest.raises(LiquidLensError, match="LiqExp4N2"):
        models.build("LiqExp4N")
    with pytest.raises(ValueError, match="CRNet-FC reads images, not volumes"):
        models.build("CRNet-FC", (1, 28, 28, 28))
    with pytest.raises(ValueError, match="LiqExp1N2 has no flag 'source_layout': it has none"):
        models.build("LiqExp1N2", flags=["source_layout"])
    with pytest.raises(ValueError, match="a shape begins with the channels"):
        models.build("EQ2425", (64, 64))
    with pytest.raises(ValueError, match="at least one output"):
        models.build("EQ2425", outputs=0)
    with pytest.raises(ValueError, match="its flags are source_layout"):
        models.build("RNNExp5N5", flags=["batch_first"])
    for name, shape in [("LiqExp1N2", (1, 28, 6, 6)), ("CRNet-FC", (1, 16, 16)), ("EQ2425", (3, 12, 12))]:
        with pytest.raises(ValueError, match="too small"):
            models.build(name, shape)
