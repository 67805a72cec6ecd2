"""truong-2022's augmentation of chest images, with MONAI's transforms.

The report names the transforms and most ranges; where it does not (probability, amount of noise), the values here are
ours.  A blur kernel of k pixels is taken as OpenCV's standard deviation 0.3 ((k - 1) / 2 - 1) + 0.8.
"""

import math

import torch
from monai import transforms
from monai.data import get_track_meta, set_track_meta
from torch import Tensor
from torch.nn.functional import interpolate


class ChestAugmentation:
    """Maps a batch of images (batch, channels, rows, columns) in [0, 1] to another of the same shape, in [0, 1]."""

    def __init__(self, seed: int):
        self.crop = transforms.RandScaleCrop(0.8, max_roi_scale=1.0, random_size=True)
        self.others = transforms.Compose(
            [
                transforms.RandFlip(prob=0.5, spatial_axis=1),
                transforms.RandRotate(range_x=math.radians(15), prob=1.0, padding_mode="zeros"),
                transforms.RandGaussianNoise(prob=0.5, std=0.02),
                transforms.RandGaussianSmooth(sigma_x=(0.8, 1.4), sigma_y=(0.8, 1.4), prob=0.5),  # kernels 3 to 7
                transforms.RandScaleIntensity(0.2, prob=1.0),  # brightness
                transforms.RandScaleIntensityFixedMean(factors=0.2, prob=1.0),  # contrast
            ]
        )
        for transform in (self.crop, self.others):
            transform.set_random_state(seed % 2**32)

    def __call__(self, images: Tensor) -> Tensor:
        tracked = get_track_meta()
        set_track_meta(False)  # what MONAI notes of every step takes longer than the steps
        try:
            return torch.stack([self._one(image) for image in images]).clamp(0.0, 1.0)
        finally:
            set_track_meta(tracked)

    def _one(self, image: Tensor) -> Tensor:
        cropped = self.crop(image)[None]
        enlarged = interpolate(cropped, image.shape[1:], mode="bilinear", antialias=True)
        return self.others(enlarged[0])
