"""Camera poses: what a camera sees of landmarks in space, as the feature maps that PoseNet's regression heads read.

Channel c belongs to landmark c.  It shows the landmark as a blob where a pinhole camera sees it, brighter when it is
nearer, and nothing when it is behind the camera or outside the field of view.  Axes, of the world and of the camera:
x to the right, y down, z forwards; lengths in metres.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from liquidlens.imaging.phantoms.draw import draw

SPLITS = {"train": 400, "val": 100, "test": 100}
NEAREST, FARTHEST = np.array([-20.0, -6.0, 4.0]), np.array([20.0, 2.0, 20.0])  # the box of the landmarks
REACH = np.array([8.0, 1.0, 5.0])  # how far the camera may be from the origin, along each axis
TURN = np.radians([15.0, 45.0, 10.0])  # how far it may be turned about x, y and z: pitch, yaw, roll
HALF_VIEW = np.tan(np.radians(35.0))
BLOB = 0.05  # a blob's standard deviation, as a share of the map's length
FULL = 8.0  # metres from which on a landmark is shown at less than its strength


def pose(
    channels: int = 1024, length: int = 7, seed: int = 0, splits: dict[str, int] | None = None
) -> dict[str, NDArray]:
    """Feature maps under MedMNIST's keys: ``train_images`` (n, channels, length, length) float16 in 0..1, and
    ``train_labels`` (n, 7) float32: the camera's position (3) and its unit quaternion (4: w, x, y, z with w >= 0),
    which turns the camera's axes into the world's.

    The poses do not depend on channels and length: the three feature maps of PoseNet show the same journey.
    """
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(NEAREST, FARTHEST, (channels, 3))
    strengths = rng.uniform(0.3, 1.0, channels)
    return draw(partial(_seen, landmarks=landmarks, strengths=strengths, length=length), splits or SPLITS, seed)


def _seen(
    rng: np.random.Generator, landmarks: NDArray, strengths: NDArray, length: int
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    position = rng.uniform(-REACH, REACH)
    quaternion = _quaternion(*rng.uniform(-TURN, TURN))
    x, y, z = ((landmarks - position) @ _rotation(quaternion)).T  # in the camera's axes
    depth = np.maximum(z, 1e-6)
    across, down = x / depth / HALF_VIEW, y / depth / HALF_VIEW  # -1..1 inside the field of view
    visible = (z > 0) & (np.abs(across) <= 1) & (np.abs(down) <= 1)
    distance = np.sqrt(x**2 + y**2 + z**2)
    brightness = np.where(visible, strengths * FULL / np.maximum(distance, FULL), 0.0)
    centres = (np.arange(length) + 0.5) / length * 2 - 1
    width = max(BLOB * 2, 1 / length)  # not narrower than a pixel, or blobs between pixels would vanish
    columns = np.exp(-0.5 * ((centres - across[:, None]) / width) ** 2)
    rows = np.exp(-0.5 * ((centres - down[:, None]) / width) ** 2)
    maps = brightness[:, None, None] * rows[:, :, None] * columns[:, None, :]
    return maps.astype(np.float16), np.concatenate([position, quaternion]).astype(np.float32)


def _quaternion(pitch: float, yaw: float, roll: float) -> NDArray[np.float64]:
    """The unit quaternion (w, x, y, z) that turns about z by roll, then about x by pitch, then about y by yaw."""
    quaternion = np.array([1.0, 0.0, 0.0, 0.0])
    for axis, angle in ((2, yaw), (1, pitch), (3, roll)):
        turn = np.zeros(4)
        turn[0], turn[axis] = np.cos(angle / 2), np.sin(angle / 2)
        quaternion = _product(quaternion, turn)
    return quaternion if quaternion[0] >= 0 else -quaternion


def _product(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Hamilton's product of two quaternions."""
    vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.concatenate([[a[0] * b[0] - a[1:] @ b[1:]], vector])


def _rotation(quaternion: NDArray) -> NDArray[np.float64]:
    """The rotation matrix (3, 3) of a unit quaternion."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
