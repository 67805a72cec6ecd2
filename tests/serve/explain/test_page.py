"""The page about one answer, and the command that writes it."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np

from liquidlens.imaging import Scan
from liquidlens.serve.explain.page import page, pictures


def test_the_page_is_self_contained_and_escapes_names(liquid, finder, aneurysms):
    scan, _ = aneurysms[0]
    html = page(liquid, scan, "<script>x</script>")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert set(re.findall(r'(?:src|href)="(\w+:)', html)) == {"data:"}
    assert html.count("data:image/png;base64,") == 3
    assert html.count("<svg") == 3, "slices, trace, wiring"
    assert "not a medical device" in html
    assert "Neurons:" not in page(finder, scan, "here")


def test_pictures_have_the_aspect_of_the_body():
    peak = np.zeros((4, 10, 10), np.float32)
    peak[3, 2, 1] = -1
    found = SimpleNamespace(map=peak, strongest=1.0, peak=(3, 2, 1))
    drawn = pictures(Scan(np.ones((4, 10, 10), np.float32), spacing=(5.0, 1.0, 1.0)), found)
    assert [picture.caption for picture in drawn] == ["slice 4 of 4", "row 3 of 10", "column 2 of 10"]
    assert drawn[0].width == drawn[0].height
    assert drawn[1].height == 2 * drawn[1].width


def test_the_command_writes_the_page(liquid_bundle, aneurysms, tmp_path):
    np.savez(tmp_path / "scans.npz", test_images=np.stack([scan.pixels for scan, _ in aneurysms[:2]]))
    command = [sys.executable, "-m", "liquidlens", "explain", liquid_bundle.model, tmp_path / "scans.npz#test_images/1"]
    done = subprocess.run(
        [*command, "--device", "cpu", "--out", tmp_path / "page.html"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "scans.npz#test_images/1" in (tmp_path / "page.html").read_text()
