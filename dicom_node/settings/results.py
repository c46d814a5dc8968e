"""What is made of an analysis, and who gets it."""

import hashlib
from typing import Literal

from pydantic import Field

from dicom_node.domain.delivery import DEFAULT_KINDS, ResultKind
from dicom_node.domain.job import JobState
from dicom_node.settings.section import AETitle, Port, Section


class Results(Section):
    """What is made of an analysis; every field here can change a result's content."""

    kinds: tuple[ResultKind, ...] = DEFAULT_KINDS
    language: Literal["en", "de", "zh-Hans"] = "en"
    """Of the report, the SR's texts and the words in pictures."""
    segmentation: Literal["BINARY", "LABELMAP", "FRACTIONAL"] = "BINARY"
    """LABELMAP is smaller, FRACTIONAL keeps probabilities; fewer viewers read them."""
    parametric_map: Literal["FLOAT", "INTEGER"] = "FLOAT"
    """INTEGER: 16 bits a value, for viewers that read no floating point pixels."""
    series_number_base: int = Field(default=9000, ge=1, le=90000)
    institution: str = Field(default="", max_length=64)
    answers: Literal["every", "failures", "none"] = "every"
    """When SR and PDF are sent in place of a result: also of studies that no model reads, or only
    where a model that took the study failed."""

    @property
    def answered(self) -> frozenset[JobState]:
        """States of jobs whose reason is told in place of a result."""
        failures = {JobState.FAILED, JobState.QUARANTINED}
        states = {"every": failures | {JobState.DECLINED}, "failures": failures, "none": set()}
        return frozenset(states[self.answers])

    @property
    def sha256(self) -> str:
        """Identity of these settings: a part of every result's UID."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Destination(Section):
    """A DICOM peer that results are sent to by C-STORE."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")
    host: str
    port: Port
    ae_title: AETitle
    kinds: tuple[ResultKind, ...] = tuple(ResultKind)
    """What it gets of ``results.kinds``; of STRUCTURED_REPORT, FLAT_REPORT and ENHANCED_REPORT only
    the first whose SOP class it accepts."""
