"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Told what is being done and which part of it is finished, 0 to 1."""


def silent(what: str, part: float) -> None:
    """A Progress that tells nobody."""
