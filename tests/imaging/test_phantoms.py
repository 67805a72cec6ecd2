"""The vessel phantom: MedMNIST's schema, determined by its seed, and no trivial task."""

import numpy as np
from sklearn.metrics import roc_auc_score

from imaging import phantoms


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
