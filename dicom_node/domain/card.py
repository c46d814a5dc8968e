"""The card of a model: what it is for, what it learnt from, and what was measured of it."""

from typing import Literal

from pydantic import Field

from dicom_node.domain.part import Part


class Performance(Part):
    """One measured figure, with its interval and what it was measured on."""

    name: str
    value: float
    low: float
    high: float
    cases: int = Field(ge=1)
    data: str
    subgroup: str = ""
    """Of the cases: such as ``Sex: F``; empty: of all of them."""

    @property
    def title(self) -> str:
        """The figure, and the subgroup that it is of."""
        return f"{self.name} ({self.subgroup})" if self.subgroup else self.name


class Learnt(Part):
    """Cases that the model is made of: figures of them say too much."""

    data: str
    """The name of their folder."""
    folds: tuple[str, ...] = ()
    """Of them; empty: all."""
    use: Literal["training", "choosing"]
    """What it was trained on; or what epochs, thresholds, calibration or maps were chosen by."""


class Card(Part):
    """What a reader must know of the model."""

    intended_use: str
    not_for: str
    training_data: str
    limits: tuple[str, ...] = Field(min_length=1)
    performance: tuple[Performance, ...] = ()
    learnt: tuple[Learnt, ...] = ()
    """Written by ``train own`` and ``package --cases``, and told by ``evaluate``."""
    citation: str = ""
