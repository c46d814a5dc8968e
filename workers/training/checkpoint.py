"""The state of a training on disk: written whole or not at all, and never mixed with another's."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file that holds the variables of a training, and how far it has come."""

    path: Path
    training: str
    """What is trained: seed, steps. The state of another training is refused."""

    def save(self, done: int, state: Sequence[Any]) -> None:
        """Keep the variables as they are after ``done`` steps."""
        arrays = {f"v{n}": variable.numpy() for n, variable in enumerate(state)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".writing")
        with beside.open("wb") as file:
            np.savez(file, allow_pickle=False, done=done, training=self.training, **arrays)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    def restore(self, state: Sequence[Any]) -> int:
        """Set the variables to what was kept; returns the steps done, 0 where nothing was.

        Raises ConfigurationError where the file is of another training.
        """
        if not self.path.exists():
            return 0
        with np.load(self.path, allow_pickle=False) as kept:
            if str(kept["training"]) != self.training or f"v{len(state) - 1}" not in kept:
                raise ConfigurationError(
                    f"{self.path} holds the state of another training ({kept['training']}), and "
                    f"this one is {self.training}: remove the file, or name another folder"
                )
            for number, variable in enumerate(state):
                variable.assign(kept[f"v{number}"])
            return int(kept["done"])
