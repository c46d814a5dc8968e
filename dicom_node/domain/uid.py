"""UIDs of our own: ``2.25.`` and a UUID as one integer (PS3.5 section B.2)."""

import uuid

UID_NAMESPACE = uuid.UUID("6f3d2b0e-52a5-5d8e-9a51-1f0c8d6e7b42")
"""Root of every UID that this product makes."""


def uuid_uid(name: str) -> str:
    """The UID of a name: the same name gives the same UID."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, name).int}"
