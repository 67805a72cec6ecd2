"""The commands about who exported a model: `keygen`, `sign`, `verify`."""

from pathlib import Path
from typing import Annotated

import typer

from liquidlens.console import console

Bundle = Annotated[Path, typer.Argument(help="The folder of a bundle.")]


def keygen(
    private_key: Annotated[Path, typer.Argument(help="Where to write it; the public key lies beside it, as .pub.")],
) -> None:
    """Make a pair of keys to sign bundles with; $LIQUIDLENS_KEY_PASSWORD encrypts the private one."""
    from liquidlens.signing import new_key

    public = new_key(private_key)
    console.print(f"Private key: {private_key}; keep it offline. Public key: {public}; give it away.", soft_wrap=True)


def sign(
    bundle: Bundle,
    key: Annotated[Path, typer.Option(help="The private key, in PEM; $LIQUIDLENS_KEY_PASSWORD if it has one.")],
) -> None:
    """Sign all files of a bundle; its model.sig lets others verify where it is from."""
    from liquidlens import signing

    console.print(f"Signature: {signing.sign(bundle, key)}", soft_wrap=True)


def verify(bundle: Bundle, key: Annotated[Path, typer.Option(help="The public key of who signed it.")]) -> None:
    """Say whether a bundle is as its owner signed it; exit code 2 if anything in it has changed since."""
    from liquidlens.serve.predict.predictor import Predictor

    predictor = Predictor(bundle / "model.onnx", "cpu", public_key=key)
    console.print(f"{bundle}: signed by the owner of {key}, and nothing has changed since.", soft_wrap=True)
    console.print(f"{predictor.manifest.model}, SHA-256 {predictor.sha256}", soft_wrap=True)
