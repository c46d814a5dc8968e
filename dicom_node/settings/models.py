"""Which models a node offers studies to."""

from pathlib import Path

from dicom_node.settings.section import Section


class Models(Section):
    """Which bundles this node offers studies to."""

    paths: tuple[Path, ...] = ()
    """Bundle folders, or folders of bundles."""
    reference: bool = True
    """The bundles that ship with the product."""
    trusted_keys: tuple[Path, ...] = ()
    """Ed25519 public keys (PEM) of those whose bundles are welcome; a key is called as its file."""
    require_signature: bool = False
    """Refuse each bundle, a reference bundle too, that none of the trusted keys has signed."""
