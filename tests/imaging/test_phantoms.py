"""The phantoms: MedMNIST's schema, determined by their seed, and no trivial tasks."""

from functools import partial
from importlib import import_module

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from liquidlens.imaging import phantoms

pose = import_module("liquidlens.imaging.phantoms.pose")  # whose name in the package is that of its function


def test_schema_is_that_of_medmnist():
    arrays = phantoms.vessel3d(splits={"train": 6, "val": 2, "test": 3})
    assert {key: value.shape for key, value in arrays.items()} == {
        "train_images": (6, 28, 28, 28),
        "train_labels": (6, 1),
        "val_images": (2, 28, 28, 28),
        "val_labels": (2, 1),
        "test_images": (3, 28, 28, 28),
        "test_labels": (3, 1),
    }
    assert all(value.dtype == np.uint8 for value in arrays.values())
    assert set(np.unique(arrays["train_images"])) == {0, 255}


def test_the_seed_determines_every_scan():
    few, many = phantoms.vessel3d(3, {"train": 4}), phantoms.vessel3d(3, {"train": 8})
    assert np.array_equal(few["train_images"], many["train_images"][:4])
    assert not np.array_equal(phantoms.vessel3d(4, {"train": 4})["train_images"], few["train_images"])


def test_splits_share_no_scan():
    arrays = phantoms.vessel3d(splits={"train": 60, "test": 60})
    train, test = ({image.tobytes() for image in arrays[f"{split}_images"]} for split in ("train", "test"))
    assert len(train) == len(test) == 60
    assert not train & test


def test_counting_voxels_does_not_solve_the_task():
    arrays = phantoms.vessel3d(splits={"train": 300})
    share = (arrays["train_images"] > 0).mean((1, 2, 3))
    assert share.min() > 0.005
    assert share.max() < 0.25
    assert 0.3 < arrays["train_labels"].mean() < 0.5
    assert roc_auc_score(arrays["train_labels"][:, 0], share) < 0.85


@pytest.mark.parametrize("make", [phantoms.vessel3d, phantoms.chest_xray, partial(phantoms.pose, 8, 7)])
def test_the_seed_determines_every_phantom(make):
    few, many = make(seed=3, splits={"train": 2}), make(seed=3, splits={"train": 4, "test": 4})
    for key in ("train_images", "train_labels"):
        assert np.array_equal(few[key], many[key][:2])
    assert not np.array_equal(make(seed=4, splits={"train": 2})["train_images"], few["train_images"])
    assert not np.array_equal(many["train_images"], many["test_images"])


@pytest.fixture(scope="module")
def chests():
    return phantoms.chest_xray(splits={"train": 150})


def test_chest_xrays_are_images_whose_brightness_does_not_tell(chests):
    images, labels = chests["train_images"], chests["train_labels"][:, 0]
    assert images.shape == (150, 128, 128)
    assert images.dtype == np.uint8
    assert 0.4 < labels.mean() < 0.6
    assert (images == 255).mean() < 0.02, "not overexposed"
    assert (images.std((1, 2)) > 25).all(), "nor without contrast"
    for brightness in (images.mean((1, 2)), images[:, 30:90, 20:108].mean((1, 2))):
        assert roc_auc_score(labels, brightness) < 0.75


def test_pneumonia_is_in_the_lungs(chests):
    """The classes differ, on average, where the lungs are, and nowhere else."""
    sick = chests["train_labels"][:, 0] == 1
    images = chests["train_images"].astype(float)
    images -= np.median(images, (1, 2), keepdims=True)  # exposures differ
    difference = images[sick].mean(0) - images[~sick].mean(0)
    assert difference[45:85, 25:45].mean() > 10
    assert difference[45:85, 85:105].mean() > 10
    assert abs(difference[100:, :].mean()) < 3


def rotated(quaternion, vectors):
    """The vectors turned by a unit quaternion: v + 2 w (u x v) + 2 u x (u x v)."""
    w, u = quaternion[0], quaternion[1:]
    return vectors + 2 * w * np.cross(u, vectors) + 2 * np.cross(u, np.cross(u, vectors))


def test_poses_explain_what_the_feature_maps_show():
    channels, length, seed = 64, 29, 5
    arrays = phantoms.pose(channels, length, seed, {"train": 12})
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(pose.NEAREST, pose.FARTHEST, (channels, 3))
    checked = 0
    for maps, label in zip(arrays["train_images"].astype(float), arrays["train_labels"].astype(float), strict=True):
        position, quaternion = label[:3], label[3:]
        assert np.linalg.norm(quaternion) == pytest.approx(1, abs=1e-6)
        assert quaternion[0] >= 0
        x, y, z = rotated(quaternion * [1, -1, -1, -1], landmarks - position).T  # the inverse: world to camera
        column, row = ((1 + coordinate / z / pose.HALF_VIEW) * length / 2 for coordinate in (x, y))
        for channel in range(channels):
            inside = z[channel] > 0 and 1 < column[channel] < length - 1 and 1 < row[channel] < length - 1
            hidden = z[channel] <= 0 or max(abs(column[channel] - length / 2), abs(row[channel] - length / 2)) > length
            if inside:
                peak = np.unravel_index(maps[channel].argmax(), (length, length))
                assert np.abs(np.array(peak) + 0.5 - (row[channel], column[channel])).max() < 0.6
                checked += 1
            if hidden:
                assert maps[channel].max() == 0
    assert checked > 100
    assert arrays["train_images"].dtype == np.float16
    assert 0 <= arrays["train_images"].min() <= arrays["train_images"].max() <= 1


def test_all_feature_maps_of_a_journey_belong_to_the_same_poses():
    final, auxiliary = (phantoms.pose(*size, splits={"val": 3}) for size in ((1024, 7), (512, 14)))
    assert np.array_equal(final["val_labels"], auxiliary["val_labels"])
    assert final["val_images"].shape == (3, 1024, 7, 7)
    assert auxiliary["val_images"].shape == (3, 512, 14, 14)
    seen = (final["val_images"].max((2, 3)) > 0.05).mean(1)
    assert (seen > 0.1).all(), "a camera sees some of the landmarks"
    assert (seen < 0.9).all(), "but not all"
