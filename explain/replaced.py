"""An attribute of a layer in another form for a while: how a network is looked into and sped up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(operation: Any, name: str, value: Any) -> Iterator[None]:
    """While open, the operation's own attribute ``name`` is ``value``; then it is as it was."""
    own = name in vars(operation)
    before = getattr(operation, name)
    setattr(operation, name, value)
    try:
        yield
    finally:
        if own:
            setattr(operation, name, before)
        else:
            del vars(operation)[name]
