"""Job: one model, one frozen set of images. Its states and who may follow whom.

::

                      ┌──────── lease lost, attempts left ────────┐
                      ▼                                           │
    (opened) ──▶ READY ──claim──▶ ANALYSING ──complete──▶ ANALYSED
                  │ ▲                 │
                  │ └── retry ──┐     ├──fail──▶ FAILED             (the model cannot be used here)
                  │             │     ├──quarantine──▶ QUARANTINED  (no further try will help)
                  │             │     └──third try ended badly──▶ QUARANTINED
                  └──cancel──▶ CANCELLED        (superseded by a later generation, or by a person)

    (opened) ──▶ DECLINED    no model may read the study: the row carries the node's own answer

``retry`` is a person's word: it takes FAILED, QUARANTINED and CANCELLED back to READY.

Whatever is not being worked on becomes REMOVED with its study (``ledger.removals``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from dicom_node.domain.study import Series


class JobState(StrEnum):
    """The states of the drawing above."""

    READY = "READY"
    ANALYSING = "ANALYSING"
    ANALYSED = "ANALYSED"
    FAILED = "FAILED"
    """The model is missing, changed, or cannot be run or explained here (``ModelRefused``): mend
    the installation, then retry. It says nothing of the study."""
    QUARANTINED = "QUARANTINED"
    """This study and this model do not go together: the images are unusable (pixels, geometry,
    values, an incomplete set), the model's answer is (MODEL_OUTPUT), or three tries ended badly.
    All but the last is known at the first try. ``breaker`` holds only the model's part against
    it."""
    CANCELLED = "CANCELLED"
    DECLINED = "DECLINED"
    REMOVED = "REMOVED"
    """Its study was; that it answered, and under which UIDs, is still known."""


NODE = "dicom-node"
"""Stands for a model's name in a job that no model may have: the node itself answers."""
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.READY: frozenset({JobState.ANALYSING, JobState.CANCELLED, JobState.REMOVED}),
    JobState.ANALYSING: frozenset(
        {
            JobState.ANALYSED,
            JobState.FAILED,
            JobState.READY,
            JobState.QUARANTINED,
            JobState.CANCELLED,
        }
    ),
    JobState.ANALYSED: frozenset({JobState.REMOVED}),
    JobState.FAILED: frozenset({JobState.READY, JobState.REMOVED}),
    JobState.QUARANTINED: frozenset({JobState.READY, JobState.REMOVED}),
    JobState.CANCELLED: frozenset({JobState.READY, JobState.REMOVED}),
    JobState.DECLINED: frozenset({JobState.REMOVED}),
    JobState.REMOVED: frozenset(),
}

MAX_ATTEMPTS = 3
"""Claims of one job before it is quarantined; a crash counts, for the claim is committed first. One
that ended because the disk is full or fails is given back."""
POISON = frozenset({"LEASE_LOST", "TIME_LIMIT", "MEMORY", "DEVICE_MEMORY", "INTERNAL"})
"""Reasons of a try that a crash, a hang or a lack of memory ended."""

UNTELLABLE = frozenset({"PATIENT_MIX"})
"""Reasons that no document may tell: what names two patients belongs to neither of them."""


@dataclass(frozen=True, slots=True)
class SelectedSeries:
    """A series that a model is to read: the input manifest of a job, frozen when it was opened."""

    series_instance_uid: str
    instances: tuple[tuple[str, str], ...]
    """(SOP Instance UID, SHA-256 of the stored bytes), in the order of the UIDs."""

    @classmethod
    def whole(cls, series: Series) -> Self:
        """All instances of a series."""
        pairs = sorted((i.sop_instance_uid, i.sha256) for i in series.instances)
        return cls(series.series_instance_uid, tuple(pairs))


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """Why a model took a series, or why it did not: one line of the selection trace."""

    series_instance_uid: str
    series_description: str
    modality: str
    images: int
    taken: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What routing says of one model and one study: the series it takes, and why."""

    model_name: str
    model_version: str
    bundle_sha256: str
    inputs: tuple[SelectedSeries, ...]
    """Empty: the model does not want this study."""
    selection: tuple[SeriesChoice, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the ledger's job table."""

    id: str
    study_instance_uid: str
    generation: int
    """1 for the first closing of the study; a late image makes the next."""
    model_name: str
    model_version: str
    bundle_sha256: str
    config_sha256: str
    """Of the settings that can change a result's content."""
    input_sha256: str
    """Of ``inputs``: the same images make the same hash."""
    inputs: tuple[SelectedSeries, ...]
    selection: tuple[SeriesChoice, ...]
    state: JobState
    attempt: int
    reason: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a job or a delivery; ``token`` guards every later write."""

    id: str
    token: str
    attempt: int
