"""What is made of an analysis, and who gets it."""

import hashlib
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dicom_node.domain.delivery import DEFAULT_KINDS, Proof, ResultKind
from dicom_node.domain.job import JobState
from dicom_node.settings.section import AETitle, Host, Port, Section


def _chosen(kinds: tuple[ResultKind, ...]) -> tuple[ResultKind, ...]:
    if ResultKind.REJECTION_NOTE in kinds:
        raise ValueError("REJECTION_NOTE goes by itself to whoever got what is rejected: remove it")
    return kinds


def _some(kinds: tuple[ResultKind, ...]) -> tuple[ResultKind, ...]:
    if not kinds:
        raise ValueError("a destination that gets nothing: name kinds, or remove the destination")
    return kinds


Kinds = Annotated[tuple[ResultKind, ...], AfterValidator(_chosen)]


class Results(Section):
    """What is made of an analysis; every field here can change a result's content."""

    kinds: Kinds = DEFAULT_KINDS
    """What every destination gets that names no kinds of its own."""
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
    host: Host
    port: Port
    ae_title: AETitle
    kinds: Annotated[Kinds, AfterValidator(_some)] | None = None
    """What it gets, whether others get it or not; left out: ``results.kinds``. Of
    STRUCTURED_REPORT, FLAT_REPORT and ENHANCED_REPORT only the first whose SOP class it accepts.
    What it gets names no other results than it gets; colours of a heat map come with the map."""
    proof: Literal["commitment", "query", "none"] = "commitment"
    """How a delivery is proven: Storage Commitment, and C-FIND where the peer does not take it or
    never answers; C-FIND alone; not at all."""

    @property
    def to_prove(self) -> Proof:
        """What it is to be asked once it has taken an object."""
        return Proof.NONE if self.proof == "none" else Proof(self.proof.upper())
