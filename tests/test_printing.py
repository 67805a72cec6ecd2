"""What is printed and written: text of strangers steers no terminal, and files are what they seem to be."""

import hashlib
import io
import shutil

import pytest
from rich.table import Table

from liquidlens.console import Terminal
from liquidlens.errors import LiquidLensError, printable
from liquidlens.export.checks.audit import audit
from liquidlens.files import replacing
from liquidlens.serve.predict import Predictor, pretrained

HOSTILE = "DOE^JANE\x1b]0;owned\x07\r\u202ereversed\u2028line\x9b2J"


def test_nothing_that_is_printed_steers_the_terminal():
    buffer = io.StringIO()
    terminal = Terminal(file=buffer, width=500)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    for shown in (HOSTILE, f"two\n{HOSTILE}", table):
        terminal.print(shown)
        terminal.print(shown, style="bold", soft_wrap=True)
    printed = buffer.getvalue()
    assert printed.count("DOE^JANE") == 10
    assert all(line.isprintable() for line in printed.split("\n"))


def test_what_is_printable_stays():
    for text in ("caf\u00e9", "\u4e2d\u6587", "a\u00a0b\u202fc\u3000d", "\U0001f600", "", "C:\\temp"):
        assert printable(text) == text
    assert printable("a\nb\ud800") == "a\\nb\\ud800"
    assert str(LiquidLensError(HOSTILE)) == printable(HOSTILE)


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.partial").symlink_to("precious")
    with replacing(tmp_path / "out") as partial:
        partial.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "out").read_text() == "new"
    assert not (tmp_path / "out").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious"]


@pytest.fixture
def bundle(tmp_path):
    shutil.copytree(pretrained.FOLDER / "vessel", tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize("form", ["{}  {}", "{} *{}"])
def test_checksums_are_compared_in_both_forms_of_sha256sum(bundle, form):
    digest = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
    (bundle / "SHA256SUMS").write_text(form.format(digest.upper(), "model.onnx") + "\r\n\n")
    assert Predictor(bundle, "cpu")
    (bundle / "SHA256SUMS").write_text(form.format("0" * 64, "model.onnx") + "\n")
    with pytest.raises(LiquidLensError, match="is not the file that was exported"):
        Predictor(bundle, "cpu")
    assert any("is not the file that was exported" in problem for problem in audit(bundle).problems)


@pytest.mark.parametrize(
    "line", ["0" * 64 + " model.onnx", "model.onnx: " + "0" * 64, "SHA256 (model.onnx) = " + "0" * 64]
)
def test_checksums_in_no_known_form_are_refused(bundle, line):
    (bundle / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(LiquidLensError, match="is not as `sha256sum` writes it"):
        Predictor(bundle, "cpu")


@pytest.mark.parametrize("name", ["SHA256SUMS", "model.onnx"])
def test_links_in_a_bundle_are_not_audited(bundle, name):
    (bundle / name).rename(bundle.parent / name)
    (bundle / name).symlink_to(bundle.parent / name)
    with pytest.raises(LiquidLensError, match=f"{name} is not a plain file: a bundle holds no links"):
        Predictor(bundle, "cpu")
    try:
        problems = audit(bundle).problems
    except LiquidLensError as error:
        problems = (str(error),)
    assert any("is not a plain file" in problem for problem in problems)
