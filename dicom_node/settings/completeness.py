"""When a study is ready for analysis."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dicom_node.domain.rule import TagRule
from dicom_node.settings.section import AETitle, Host, Port, Section

Notice = Literal["MPPS", "IAN"]


class Archive(Section):
    """A DICOM peer that is asked how many images a study has (C-FIND, study root)."""

    host: Host
    port: Port
    ae_title: AETitle


class NamedSeries(Section):
    """A series that must be there before a study is ready."""

    name: str = Field(min_length=1, max_length=64)
    rules: tuple[TagRule, ...] = Field(min_length=1)
    """All of them must hold for one and the same series."""
    min_images: int = Field(default=1, ge=1)
    modalities: tuple[str, ...] = ()
    """Asked for only in studies that hold one of these; empty: in every study."""


class Completeness(Section):
    """When a study is ready for analysis: whichever of these comes first."""

    quiet_s: float = Field(default=60, gt=0)
    """No image for this long."""
    deadline_s: float = Field(default=5400, gt=0)
    """The end of waiting, counted from the first image."""
    at_deadline: Literal["analyse", "incomplete"] = "analyse"
    """What then: analyse what is there, or hold the study back as INCOMPLETE."""
    expect: tuple[Notice, ...] = ()
    """Take these notices, and wait for exactly the images that they name: MPPS (the modality's
    performed procedure step), IAN (Instance Availability Notification). List only what comes from
    systems that send here all that they announce."""
    pacs: Archive | None = None
    """Wait for as many images as this archive has of the study."""
    series: tuple[NamedSeries, ...] = ()
    grace_s: float = Field(default=2, gt=0)
    """What was announced and is here must have stood still for this long."""

    @model_validator(mode="after")
    def _periods_in_order(self) -> Self:
        if self.quiet_s >= self.deadline_s:
            raise ValueError("quiet_s must be below deadline_s, or it never comes first")
        if (self.expect or self.pacs) and self.grace_s > self.quiet_s:
            raise ValueError("grace_s must not be above quiet_s, or expect and pacs save no time")
        names = [s.name for s in self.series]
        if len(set(names)) < len(names):
            raise ValueError("series: every name may appear once")
        return self
