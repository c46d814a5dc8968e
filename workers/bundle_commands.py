"""``dicom-worker sign``: what a maker of models does with a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.signing import is_encrypted, read_private_key
from workers.console import console

BundleArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False)]


def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option(exists=True, help="An Ed25519 private key in PEM.")],
) -> None:
    """Sign a bundle, so that hospitals can see from whom it is.

    Make a key with `openssl genpkey -algorithm ed25519 -out KEY.pem`, and give the hospital what
    `openssl pkey -in KEY.pem -pubout` says: it goes into models.trusted_keys.
    """
    from workers.bundle import sign_bundle

    passphrase = typer.prompt("Passphrase", hide_input=True) if is_encrypted(key) else None
    sign_bundle(bundle, read_private_key(key, passphrase))
    console.print(f"{bundle} is signed with {key.name}", highlight=False)
