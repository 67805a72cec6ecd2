"""Signed bundles: one byte changed anywhere is refused, by `verify`, `predict` and `serve`."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from liquidlens import signing
from liquidlens.errors import LiquidLensError
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server import app
from liquidlens.serve.settings import Settings


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return folder / "key.pem", signing.new_key(folder / "key.pem")


@pytest.fixture
def bundle(tmp_path, keys) -> Path:
    """A signed bundle."""
    path = tmp_path / "vessel"
    shutil.copytree(pretrained.FOLDER / "vessel", path)
    assert signing.sign(path, keys[0]) == path / "model.sig"
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_signed_bundle_is_verified_and_predicts(bundle, keys, tmp_path):
    assert signing.verified(bundle / "model.onnx", keys[1]) == (bundle / "model.onnx").read_bytes()
    assert Predictor(bundle / "model.onnx", "cpu", public_key=keys[1]).manifest.labels == ("vessel", "aneurysm")
    assert list(app.load([str(bundle)], Settings(device="cpu", public_key=keys[1]))) == ["vessel"]
    bundle.rename(tmp_path / "elsewhere")  # what it is called is not part of it
    assert signing.verified(tmp_path / "elsewhere" / "model.onnx", keys[1])


@pytest.mark.parametrize("name", ["model.onnx", "CARD.md", "AUDIT.html", "SHA256SUMS", "model.sig"])
@pytest.mark.parametrize("place", [0, 200, -3])
def test_a_changed_byte_is_refused(bundle, keys, name, place):
    flip(bundle / name, place)
    sentence = "another key's, or damaged" if name == "model.sig" else f"{name} was changed"
    with pytest.raises(LiquidLensError, match=f"is not as the owner of .*key.pub signed it: .*{sentence}"):
        signing.verified(bundle / "model.onnx", keys[1])
    with pytest.raises(LiquidLensError, match="is not as the owner of"):
        Predictor(bundle / "model.onnx", "cpu", public_key=keys[1])
    with pytest.raises(LiquidLensError, match="is not as the owner of"):
        app.load([str(bundle)], Settings(device="cpu", public_key=keys[1]))


def test_who_can_change_a_model_can_change_its_checksums_but_not_its_signature(bundle, keys):
    other = bundle.with_name("other")
    shutil.copytree(pretrained.FOLDER / "adrenal", other)
    for name in ("model.onnx", "SHA256SUMS"):
        shutil.copy(other / name, bundle)
    assert Predictor(bundle / "model.onnx", "cpu"), "sound by its checksums"
    with pytest.raises(LiquidLensError, match=r"SHA256SUMS was changed; model\.onnx was changed"):
        Predictor(bundle / "model.onnx", "cpu", public_key=keys[1])


def test_files_that_come_and_go(bundle, keys):
    (bundle / "model-int8.onnx").write_bytes(b"")
    with pytest.raises(LiquidLensError, match=r"model-int8\.onnx was added"):
        signing.verified(bundle / "model.onnx", keys[1])
    (bundle / "model-int8.onnx").unlink()
    (bundle / "CARD.md").rename(bundle / "AUDIT.md")
    with pytest.raises(LiquidLensError, match=r"AUDIT\.md was added; CARD\.md is missing"):
        signing.verified(bundle / "model.onnx", keys[1])


def test_links_are_refused(bundle, keys, tmp_path):
    (bundle / "CARD.md").rename(tmp_path / "CARD.md")
    (bundle / "CARD.md").symlink_to(tmp_path / "CARD.md")
    with pytest.raises(LiquidLensError, match=r"CARD\.md is not a plain file"):
        signing.verified(bundle / "model.onnx", keys[1])
    with pytest.raises(LiquidLensError, match=r"CARD\.md is not a plain file"):
        signing.sign(bundle, keys[0])


@pytest.mark.parametrize("name", [".git", ".github", ".gitignore", ".gitattributes", ".hidden.onnx"])
def test_no_file_is_left_out(bundle, keys, tmp_path, name):
    """Git's files too, which the library leaves out by itself: one that was added, or changed, is refused."""
    shutil.copy(pretrained.FOLDER / "adrenal" / "model.onnx", bundle / name)
    with pytest.raises(LiquidLensError, match=f"{name} was added"):
        signing.verified(bundle / name, keys[1])
    with pytest.raises(LiquidLensError, match=f"{name} was added"):
        Predictor(bundle / name, "cpu", public_key=keys[1])
    signing.sign(bundle, keys[0])
    assert signing.verified(bundle / "model.onnx", keys[1])
    flip(bundle / name, 200)
    with pytest.raises(LiquidLensError, match=f"{name} was changed"):
        signing.verified(bundle / "model.onnx", keys[1])


def test_what_a_signature_leaves_out_is_refused(bundle, keys):
    """One that another program made, which leaves out what it is told to."""
    import model_signing

    (bundle / "model.sig").unlink()
    (bundle / ".github").write_bytes(b"")
    ignoring = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig", "CARD.md"])
    signer = model_signing.signing.Config().set_hashing_config(ignoring)
    signer.use_elliptic_key_signer(private_key=keys[0]).sign(bundle, bundle / "model.sig")
    with pytest.raises(LiquidLensError, match="was added"):
        signing.verified(bundle / "model.onnx", keys[1])
    (bundle / ".github").unlink()
    with pytest.raises(LiquidLensError, match=r"CARD\.md was added"):
        signing.verified(bundle / "model.onnx", keys[1])


def test_another_key_is_another_owner(bundle, tmp_path):
    other = signing.new_key(tmp_path / "other.pem")
    with pytest.raises(LiquidLensError, match="the signature is another key's, or damaged"):
        signing.verified(bundle / "model.onnx", other)
    signing.sign(bundle, tmp_path / "other.pem")
    assert signing.verified(bundle / "model.onnx", other)


def test_keys_are_private_encrypted_on_demand_and_never_overwritten(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv(signing.PASSWORD, "s3cret")
    private = tmp_path / "k.pem"
    public = signing.new_key(private)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "ENCRYPTED" in private.read_text()
    signing.sign(bundle, private)
    assert signing.verified(bundle / "model.onnx", public)
    for password in ("other", ""):
        monkeypatch.setenv(signing.PASSWORD, password)
        with pytest.raises(LiquidLensError, match="is no private key on an elliptic curve, or its password"):
            signing.sign(bundle, private)
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(LiquidLensError, match="is there already"):
        signing.new_key(private)
    private.unlink()
    with pytest.raises(LiquidLensError, match=r"k\.pub is there already"):
        signing.new_key(private)
    assert not private.exists()
    assert before[1] == public.read_bytes()
    public.unlink()
    private.write_bytes(before[0])
    with pytest.raises(LiquidLensError, match=r"k\.pem is there already"):
        signing.new_key(private)
    assert not public.exists()
    for name in (public, Path()):
        with pytest.raises(LiquidLensError, match=r"name the private key, as in key\.pem"):
            signing.new_key(name)
    assert not public.exists(), "no secret in the place of what is given away"


def test_what_cannot_be_signed_or_verified(bundle, keys, tmp_path):
    (tmp_path / "rsa.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    unsigned = tmp_path / "unsigned"
    shutil.copytree(pretrained.FOLDER / "vessel", unsigned)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LiquidLensError, match=r"is not signed: there is no model\.sig beside it"):
        signing.verified(unsigned / "model.onnx", keys[1])
    with pytest.raises(LiquidLensError, match="there is no such file"):
        signing.verified(tmp_path / "none" / "model.onnx", keys[1])
    with pytest.raises(LiquidLensError, match="is no public key on an elliptic curve"):
        signing.verified(bundle / "model.onnx", tmp_path / "rsa.pem")
    with pytest.raises(LiquidLensError, match="there is no such key; `liquidlens keygen"):
        signing.verified(bundle / "model.onnx", tmp_path / "none.pub")
    for folder, key, sentence in (
        (tmp_path / "empty", keys[0], r"it has no model\.onnx"),
        (tmp_path / "none", keys[0], "there is no such folder"),
        (unsigned, keys[1], "is no private key on an elliptic curve"),
        (unsigned, tmp_path / "none.pem", "there is no such key"),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            signing.sign(folder, key)
    assert not (unsigned / "model.sig").exists()


def test_on_the_command_line(bundle, keys, tmp_path):
    """The sentences that people see."""

    def run(*arguments, code=0) -> str:
        command = [sys.executable, "-m", "liquidlens", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return " ".join((done.stdout + done.stderr).split())

    assert "Public key: " in run("keygen", tmp_path / "mine.pem")
    assert "Signature: " in run("sign", bundle, "--key", tmp_path / "mine.pem")
    assert "nothing has changed since" in run("verify", bundle, "--key", tmp_path / "mine.pub")
    flip(bundle / "model.onnx", 5000)
    sentence = "model.onnx was changed"
    assert sentence in run("verify", bundle, "--key", tmp_path / "mine.pub", code=2)
    required = ["--require-signature", tmp_path / "mine.pub"]
    assert sentence in run("predict", bundle, "any.npy", *required, code=2)
    assert sentence in run("predict", bundle, "any.npy", "--out", tmp_path / "out.csv", *required, code=2)
    assert not (tmp_path / "out.csv").exists()
    assert sentence in run("serve", bundle, *required, code=2)
