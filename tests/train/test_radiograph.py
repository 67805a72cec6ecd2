"""truong-2022's augmentation, on images whose right answer is known."""

import numpy as np
import pytest
import torch

from liquidlens.train.loop.radiograph import ChestAugmentation


@pytest.fixture
def images() -> torch.Tensor:
    """A bright square in the upper left of a dark image, many times."""
    images = torch.full((48, 1, 40, 50), 0.2)
    images[:, :, 8:16, 10:20] = 0.7
    return images


def test_images_stay_images(images):
    augmented = ChestAugmentation(seed=0)(images)
    assert augmented.shape == images.shape
    assert type(augmented) is torch.Tensor
    assert 0 <= augmented.min() < augmented.max() <= 1
    assert len({image.numpy().tobytes() for image in augmented}) == len(images), "each image is augmented by itself"


def test_the_seed_decides(images):
    first, again, other = (ChestAugmentation(seed)(images[:4]) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_the_report_lists_happens(images):
    augmented = ChestAugmentation(seed=0)(images)[:, 0]
    brightest = [np.unravel_index(int(image.argmax()), image.shape) for image in augmented]
    mirrored = sum(column > 25 for _, column in brightest)
    assert 10 < mirrored < 38, "about half are flipped left to right"
    assert all(row < 30 for row, _ in brightest), "none upside down"
    areas = (augmented > (augmented.amin((1, 2)) + augmented.amax((1, 2)))[:, None, None] / 2).sum((1, 2)) / 80
    assert areas.median() > 1.05, "crops of 0.8 to 1 of the size are enlarged to the whole"
    assert (augmented[:, 0, 0] == 0).float().mean() > 0.2, "turned images have dark corners"
    contrast = augmented.amax((1, 2)) - augmented.amin((1, 2))
    assert contrast.std() > 0.03
