"""Slices as pictures: which way up, in which proportions, through which window; and the surface."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from liquidlens.drawing.palette import ABOVE, BELOW, rgb
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.imaging.field_of_view import FieldOfView
from liquidlens.manifest import InputContract
from liquidlens.serve.demo.surface import level_range, surface
from liquidlens.serve.demo.viewer import PLANES, Window, clicked, cut, figure, is_mask, paint, presets, proportions


def volume(**facts) -> Scan:
    """4 slices of 5 rows and 6 columns, in which every voxel says where it is: slice, row, column as digits."""
    s, r, c = np.mgrid[:4, :5, :6]
    return Scan((100 * s + 10 * r + c).astype(np.float32), **facts)


def shown(html: str) -> np.ndarray:
    """The picture inside a figure."""
    content = re.search(r'src="data:image/png;base64,([^"]+)"', html).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_the_head_is_up_and_the_patients_right_is_on_the_left():
    pixels = volume().pixels
    assert cut(pixels, "axial", 2)[0, 0] == 200  # anterior above, right on the left
    assert cut(pixels, "coronal", 2)[0, 0] == 320  # the last slice, nearest to the head, is on top
    assert cut(pixels, "sagittal", 2)[0, 0] == 302
    assert cut(pixels, "sagittal", 2)[-1, -1] == 42  # below: the first slice; on the right: posterior


def test_letters_stand_only_where_the_file_says_how_the_patient_lies():
    window = Window(150, 300)
    letters = re.findall(r'class="letter (\w+)"[^>]*>(\w)<', figure(volume(oriented=True), "coronal", 0, window))
    assert dict(letters) == {"left": "R", "right": "L", "top": "S", "bottom": "I"}
    assert "letter" not in figure(volume(), "coronal", 0, window)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_click_gives_the_voxel_that_is_shown_there(plane):
    scan, at = volume(), [3, 2, 5]
    picture = cut(scan.pixels, plane, at[PLANES[plane]] - 1)
    for row, column in np.ndindex(picture.shape):
        click = f"{plane} {(column + 0.5) / picture.shape[1]:.4f} {(row + 0.5) / picture.shape[0]:.4f}"
        assert scan.pixels[tuple(clicked(scan, click, at))] == picture[row, column]
    assert clicked(scan, "axial 1.0000 0.0000", at) == [2, 0, 5]
    for wrong in ("", "axial 2 0.1", "axial nan 0.1", "oblique 0.1 0.1", "axial 0.1"):
        with pytest.raises(LiquidLensError, match="no place in a slice"):
            clicked(scan, wrong, at)


def test_what_a_model_sees_is_drawn_around_its_point():
    """5 voxels wide, 3 high and 2 deep around row 1 and column 2 of slice 1, in voxels of the picture."""
    contract = InputContract("grey", (2, 3, 5), spacing=(1, 1, 1))
    view = FieldOfView.of(contract, (4, 5, 6), None, (1, 1, 2))
    axial = figure(volume(), "axial", 1, Window(150, 300), view=view)
    assert '<rect x="0.00" y="0.00" width="5.00" height="3.00"/>' in axial
    assert 'd="M0 1.50H6M2.50 0V5"' in axial
    coronal = figure(volume(), "coronal", 1, Window(150, 300), view=view)
    assert '<rect x="0.00" y="1.50" width="5.00" height="2.00"/>' in coronal, "the head is up"
    assert 'd="M0 2.50H6M2.50 0V4"' in coronal
    beyond = figure(volume(), "axial", 3, Window(150, 300), view=view)
    assert "<rect" not in beyond
    assert 'd="M0 1.50H6M2.50 0V5"' in beyond
    assert "<svg" not in figure(volume(), "axial", 1, Window(150, 300))


def test_spacing_gives_the_proportions():
    thick = volume(spacing=(5.0, 1.0, 0.5))
    assert proportions(thick, "axial") == (5.0, 3.0)
    assert proportions(thick, "coronal") == (20.0, 3.0)
    assert proportions(thick, "sagittal") == (20.0, 5.0)
    assert "width:15.00%;height:100.00%" in figure(thick, "coronal", 0, Window(150, 300))
    assert "2.5 mm" in figure(thick, "axial", 0, Window(150, 300))


def test_the_window_maps_its_ends_to_black_and_white():
    grey = Window(level=40, width=400).grey(np.array([-1000, -160, 40, 240, 3000], np.float32))
    assert grey.tolist() == [0, 0, 128, 255, 255]
    picture = shown(figure(volume(), "axial", 1, Window.between(100, 145)))
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[-1, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("scan", "first", "others"),
    [
        (Scan(np.eye(9, dtype=np.float32) * 255), "Mask", []),
        (volume(), "Middle 98 %", ["Full range"]),
        (volume(units="HU"), "Lung", ["Mediastinum", "Bone", "Middle 98 %", "Full range"]),
        (volume(window=(0.0, 80.0)), "From the file", ["Middle 98 %", "Full range"]),
    ],
)
def test_presets_suit_the_scan(scan, first, others):
    found = presets(scan)
    assert next(iter(found)) == first
    assert set(others) <= set(found)
    assert ("Lung" in found) == (scan.units == "HU")


def test_a_scan_of_two_values_is_a_mask():
    assert is_mask(Scan(np.zeros((3, 3), np.float32)))
    assert not is_mask(volume())


def test_the_overlay_is_warm_where_it_speaks_for_the_label_and_cold_where_against():
    black = np.zeros((1, 3), np.float32)
    weights = np.array([[2.0, 0.0, -2.0]], np.float32)
    picture = paint(black, Window(50, 100), weights, scale=2.0, opacity=1.0)
    assert picture[0].tolist() == [list(rgb(ABOVE)), [0, 0, 0], list(rgb(BELOW))]
    assert (paint(black, Window(50, 100), weights, scale=2.0, opacity=0.0) == 0).all()


def test_large_images_are_thinned_and_colour_stays():
    large = Scan(np.zeros((5000, 100), np.float32))
    html = figure(large, None, 0, Window(0, 1))
    assert max(shown(html).shape) <= 2048
    assert "shown at" in html
    red = Scan(np.zeros((4, 4, 3), np.float32) + np.array([255, 0, 0], np.float32))
    assert shown(figure(red, None, 0, Window.between(0, 255)))[0, 0].tolist() == [255, 0, 0]


def ball(length: int, radius: float) -> np.ndarray:
    axis = np.arange(length) - (length - 1) / 2
    return (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)


@pytest.mark.parametrize("length", [20, 130])
def test_the_surface_of_a_ball_has_its_size_and_place(length):
    """Also where the volume is thinned: 130 voxels become 44."""
    spacing = (2.0, 1.0, 0.5)
    scan = Scan(255 * ball(length, length / 4), spacing)
    (mesh,) = surface(scan, level_range(scan)[2]).data
    for corners, step in zip((mesh.z, mesh.y, mesh.x), spacing, strict=True):
        assert np.ptp(corners) == pytest.approx(length / 2 * step, rel=0.1)
        assert (corners.max() + corners.min()) / 2 == pytest.approx((length - 1) / 2 * step, abs=2 * step)
    assert len(mesh.x) < 64**3 / 10


def test_a_surface_ends_where_the_volume_ends():
    """The border closes it, so that no hole is seen where the scan was cut."""
    (mesh,) = surface(Scan(np.pad(np.ones((6, 6, 6), np.float32), ((0, 0), (3, 3), (3, 3)))), 0.5).data
    pairs = np.concatenate(
        [np.stack([mesh.i, mesh.j], 1), np.stack([mesh.j, mesh.k], 1), np.stack([mesh.k, mesh.i], 1)]
    )
    _, counts = np.unique(np.sort(pairs, 1), axis=0, return_counts=True)
    assert (counts == 2).all()  # each edge belongs to two triangles


def test_a_level_that_nothing_crosses_is_said():
    figure_ = surface(volume(), 9000)
    assert not figure_.data
    assert "crosses" in figure_.layout.annotations[0].text
