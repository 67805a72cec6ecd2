"""CRNet's last tensors and sequences, by the shapes that the report states."""

import pytest
import torch

from liquidlens import models
from liquidlens.models.layers.liquid import LTC
from liquidlens.models.papers import truong2022


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("CRNet-FC", (128, 13, 13)),
        ("CRNet-NCP-y", (4, 8, 8)),
        ("CRNet-NCP-z", (16, 13, 13)),
        ("CRNet-NCP-patch", (16, 16, 16)),
        ("CRNet-NCP-y-double", (8, 16, 16)),
        ("CRNet-NCP-y-custom", (32, 16, 16)),
        ("CRNet-NCP-y-fashion", (4, 8, 8)),
    ],
)
def test_last_tensors(name, tensor):
    model = models.build(name).eval()
    with torch.no_grad():
        assert model.features(torch.rand(1, *models.entry(name).input_shape)).shape[1:] == tensor


def test_sequences_hold_what_they_are_named_after():
    maps = torch.arange(16 * 16 * 16.0).reshape(1, 16, 16, 16)
    assert torch.equal(truong2022.along_y(maps)[0, 3], maps[0, :, 3, :].flatten())
    assert torch.equal(truong2022.along_x(maps)[0, 3], maps[0, :, :, 3].flatten())
    assert torch.equal(truong2022.along_z(maps)[0, 3], maps[0, 3].flatten())
    patches = truong2022.patches(maps)
    assert patches.shape == (1, 16, 256)
    assert torch.equal(patches[0, 6], maps[0, :, 4:8, 8:12].flatten()), "raster order: row 1, column 2"
    assert truong2022.patches(maps, stride=2).shape == (1, 49, 256)


def test_the_original_policy_has_the_synapses_of_its_paper():
    (layer,) = (module for module in models.build("CRNet-NCP-y").modules() if isinstance(module, LTC))
    wires = layer.wires()
    assert (int(wires.sensory.exists.sum()), len(wires.source)) == (192, 58)


def test_eight_inputs_are_the_last_eight_outputs():
    head = models.build("CRNet-NCP-z-fc8").eval().head
    maps = torch.rand(2, 16, 13, 13)
    with torch.no_grad():
        steps = head.readers[0](maps)
        assert steps.shape == (2, 16)
        assert torch.equal(head(maps), head.output(steps[:, 8:]))


def test_both_ways_read_the_sequence_backwards_with_another_policy():
    reader = models.build("CRNet-NCP-z-bi").eval().head.readers[0]
    onwards, backwards = reader.layers
    assert (onwards._wiring.adjacency_matrix != backwards._wiring.adjacency_matrix).any()
    maps = torch.rand(1, 16, 13, 13)
    with torch.no_grad():
        steps = reader.projection(reader.sequence(maps))
        outputs = reader(maps).reshape(1, 16, 2)
        assert torch.allclose(outputs[0, 0, 1], backwards(steps.flip(1))[0][0, -1, 0]), (
            "realigned: the last comes first"
        )
        assert torch.allclose(outputs[..., 0], onwards(steps)[0][..., 0])


def test_the_reducer_keeps_the_whole_backbone():
    plain, reduced = models.build("CRNet-NCP-y"), models.build("CRNet-NCP-y", flags=["reducer"])
    counts = [sum(p.numel() for p in model.features.parameters()) for model in (plain, reduced)]
    assert counts == [106_444, 503_616 + 128 * 4 + 4]
    assert reduced(torch.rand(2, 1, 224, 224)).shape == (2, 2)
