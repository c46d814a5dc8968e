"""Instance, Series, Study: what was received, in DICOM's own terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

AttributeValue = str | int | float | list[str] | list[float] | None
"""A header value as routing sees it: text, a number, or a list of them."""


class StudyState(StrEnum):
    """Where a study is before any job exists for it, and what became of it."""

    RECEIVING = "RECEIVING"
    """Images arrive, or the quiet period still runs."""
    ROUTED = "ROUTED"
    """Jobs were opened for it."""
    NO_MODEL = "NO_MODEL"
    """No model wants it; ``reason`` and the selection trace say why."""
    QUARANTINED = "QUARANTINED"
    """It contradicts itself, or the node failed on it three times (INTERNAL: tried again when the
    sweep starts anew); ``reason`` says which, the instances are kept."""
    REMOVED = "REMOVED"
    """It was kept for as long as the site wants; what is left of it names no patient. An image
    that still comes starts it anew."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance as it lies in the store."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    size_bytes: int
    pack: str = ""
    """The pack of the store that holds it; empty: it is a file of its own."""
    pack_offset: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series, with the attributes that routing may ask for."""

    series_instance_uid: str
    instances: tuple[Instance, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    """By keyword: of the first instance, plus ``Frames`` (images in all instances together)
    and ``Orientation`` (AXIAL, CORONAL, SAGITTAL, OBLIQUE, MIXED or none)."""
    unreadable: int = 0
    """How many of the instances have headers that cannot be read."""


@dataclass(frozen=True, slots=True)
class Study:
    """All that was received under one Study Instance UID, at one moment."""

    study_instance_uid: str
    series: tuple[Series, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Every instance of every series."""
        return tuple(instance for series in self.series for instance in series.instances)
