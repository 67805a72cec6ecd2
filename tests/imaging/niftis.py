"""NIfTI files for the tests of the readers."""

import nibabel
import numpy as np


def save_nifti(path, data_xyz, axes="RAS", zooms=(1.0, 2.0, 3.0)):
    """A NIfTI file whose array axes point to `axes`."""
    orientation = nibabel.orientations.axcodes2ornt(axes)
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(orientation):
        affine[int(world), axis] = sign * zooms[axis]
    affine[3, 3] = 1
    nibabel.save(nibabel.Nifti1Image(data_xyz, affine), path)
    return path
