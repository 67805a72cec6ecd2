"""Signed bundles: who exported this model, and has anything in its folder changed since?

A signature is a file ``model.sig`` in the bundle, in the format of the OpenSSF's model-signing (a Sigstore bundle with
the digests of all files), made with an elliptic-curve key that is kept offline.  No service is asked, neither to sign
nor to verify.
"""

import base64
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from liquidlens.errors import LiquidLensError
from liquidlens.files import is_plain

NAME = "model.sig"
#: Where the password of a private key comes from: never the command line, which every user of the machine can read.
PASSWORD = "LIQUIDLENS_KEY_PASSWORD"  # noqa: S105  (a variable's name)
#: A bundle is a flat folder of few files.
MOST_FILES = 100


def new_key(private: Path) -> Path:
    """Make a key pair on the curve P-256: the private key in `private`, readable by its owner alone and encrypted if
    LIQUIDLENS_KEY_PASSWORD is set, and the public one beside it with the ending .pub; returns that.

    Raises LiquidLensError if either file is there already or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ec

    if private.suffix == ".pub" or not private.name:
        raise LiquidLensError(f"{private}: name the private key, as in key.pem; the public one is named after it.")
    key, public = ec.generate_private_key(ec.SECP256R1()), private.with_suffix(".pub")
    password = _password()
    encryption = pem.NoEncryption() if password is None else pem.BestAvailableEncryption(password)
    secret = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption)
    shown = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    _create(public, shown, 0o644)
    try:
        _create(private, secret, 0o600)
    except LiquidLensError:
        public.unlink()
        raise
    return public


def _create(path: Path, content: bytes, mode: int) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise LiquidLensError(f"{path} is there already: a key in use would be lost; choose another name.") from None
    except OSError as error:
        raise LiquidLensError(f"{path}: cannot be written ({error.strerror}).") from error


def sign(bundle: Path, private_key: Path) -> Path:
    """Sign all files of a bundle; returns the signature, which replaces an older one.

    Raises LiquidLensError if the folder is no bundle, or the key cannot be used.
    """
    model_signing = _library()
    files = _files(bundle)
    if bundle / "model.onnx" not in files:
        raise LiquidLensError(f"{bundle} is no bundle: it has no model.onnx.")
    signer = model_signing.signing.Config()
    try:
        signer.use_elliptic_key_signer(private_key=_existing(private_key), password=_password())
    except (ValueError, TypeError, AttributeError) as error:  # of another kind, damaged, or a password is missing
        raise LiquidLensError(
            f"{private_key} is no private key on an elliptic curve, or its password (${PASSWORD}) is another: {error}."
        ) from error
    signer.set_hashing_config(_everything(model_signing))
    signature = bundle / NAME
    partial = Path(tempfile.mkdtemp()) / NAME  # beside the files, it would be one of them
    try:
        signer.sign(bundle, partial)
        shutil.move(partial, signature)
    except OSError as error:
        raise LiquidLensError(f"{signature}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(partial.parent, ignore_errors=True)
    return signature


def verified(model: Path, public_key: Path) -> bytes:
    """The content of a bundle's file, if the bundle is as the owner of a key has signed it: every file unchanged, none
    missing, none more.

    What is verified and what is returned are one copy, so that nothing can be exchanged in between.  Raises
    LiquidLensError if there is no signature, or it is not that.
    """
    model_signing = _library()
    bundle = model.parent
    if not model.is_file():
        raise LiquidLensError(f"{model}: there is no such file.")
    if not (bundle / NAME).is_file():
        raise LiquidLensError(f"{model} is not signed: there is no {NAME} beside it.")
    verifier = model_signing.verifying.Config()
    try:
        verifier.use_elliptic_key_verifier(public_key=_existing(public_key))
    except (ValueError, TypeError, AttributeError) as error:
        raise LiquidLensError(f"{public_key} is no public key on an elliptic curve: {error}.") from error
    verifier.set_hashing_config(_everything(model_signing))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for file in _files(bundle):
            shutil.copyfile(file, copy / file.name)
        try:
            verifier.verify(copy, copy / NAME)
            unsigned = {file.name for file in copy.iterdir()} - _signed(copy / NAME) - {NAME}
        except Exception as error:  # whatever a damaged signature leads to
            raise LiquidLensError(
                f"{bundle} is not as the owner of {public_key} signed it: {_difference(str(error))}."
            ) from error
        if unsigned:  # a signature of another program may say itself what it leaves out
            raise LiquidLensError(
                f"{bundle} is not as the owner of {public_key} signed it: {', '.join(sorted(unsigned))} was added."
            )
        return (copy / model.name).read_bytes()


def _everything(model_signing: Any) -> Any:
    """Which files are signed: all but the signature.  The library leaves git's files out, unless it is told."""
    return model_signing.hashing.Config().set_ignored_paths(paths=[NAME], ignore_git_paths=False)


def _signed(signature: Path) -> set[str]:
    """The names of the files that a signature, which was verified, says something of."""
    envelope = json.loads(signature.read_text(encoding="utf-8"))["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    return {resource["name"] for resource in statement["predicate"]["resources"]}


def _difference(said: str) -> str:
    """What the library says of the files, in the words of this project."""
    said = said.replace("\\'", "'")
    found = [f"{name} was changed" for name in re.findall(r"Hash mismatch for '([^']+)'", said)]
    found += [f"{names} was added" for names in re.findall(r"Extra files found in model '[^']*': ([^'\"]+)", said)]
    found += [f"{names} is missing" for names in re.findall(r"Missing files in model '[^']*': ([^'\"]+)", said)]
    return "; ".join(found) or "the signature is another key's, or damaged"


def _files(bundle: Path) -> list[Path]:
    """The files of a bundle.  Raises LiquidLensError if the folder holds anything else."""
    if not bundle.is_dir():
        raise LiquidLensError(f"{bundle} is no bundle: there is no such folder.")
    entries = sorted(bundle.iterdir())
    if len(entries) > MOST_FILES:
        raise LiquidLensError(f"{bundle} is no bundle: it holds more than {MOST_FILES} files.")
    for entry in entries:
        if not is_plain(entry):
            raise LiquidLensError(f"{bundle} is no bundle: {entry.name} is not a plain file.")
    return entries


def _existing(key: Path) -> Path:
    if not key.is_file():
        raise LiquidLensError(f"{key}: there is no such key; `liquidlens keygen` makes a pair.")
    return key


def _password() -> bytes | None:
    password = os.environ.get(PASSWORD)
    return password.encode() if password else None


def _library():
    """The package model-signing, which takes a second to import and is needed by few."""
    try:
        import model_signing
    except ImportError as error:
        raise LiquidLensError("Signatures need the package model-signing: `make environments` installs it.") from error
    return model_signing
