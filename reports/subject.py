"""Subject: what every result is about, whether a model ran on the study or not."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Protocol, Self

from pydicom.dataset import Dataset

from dicom_node import __version__
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.provenance import Provenance
from dicom_node.domain.uid import uuid_uid
from reports.settings import ReportSettings
from reports.source import Sources

NODE = f"dicom-node {__version__}"


@dataclass(frozen=True, slots=True)
class Maker:
    """Who answers: a model, or the node itself where no model could run."""

    title: str
    id: str
    """``name@version``."""
    version: str
    manufacturer: str
    serial_number: str
    """Tells one build from another: the SHA-256 of a bundle, the version of the node."""
    content_qualification: str

    @classmethod
    def model(cls, manifest: ModelManifest, bundle_sha256: str) -> Self:
        """A version of a model, down to its bytes."""
        return cls(
            manifest.title,
            manifest.id,
            manifest.version,
            manifest.manufacturer,
            bundle_sha256,
            manifest.content_qualification,
        )

    @classmethod
    def node(cls) -> Self:
        """This product."""
        name = "DICOM AI node"
        version = __version__
        return cls(name, f"dicom-node@{version}", version, f"{name} project", version, "RESEARCH")

    @property
    def device_uid(self) -> str:
        """Device UID: the same on every machine that runs these very bytes (IHE AIR)."""
        return uuid_uid(f"device|{self.serial_number}")


class Subject(Protocol):
    """A Case or an Answer."""

    @property
    def sources(self) -> Sources:
        """Repaired headers; the first gives patient and study."""

    @property
    def settings(self) -> ReportSettings:
        """What the site chose."""

    @property
    def provenance(self) -> Provenance:
        """What the UIDs are made of."""

    @property
    def maker(self) -> Maker:
        """Who answers."""

    @property
    def made_at(self) -> datetime:
        """The date that results carry: on the clock of the study, the same in every run."""


def study_time(opened_at: datetime, header: Dataset) -> datetime:
    """A moment on the clock of the study (PS3.3 C.12.1.1.8).

    Results must carry dates that compare with the study's own: by its offset from UTC if it states
    one, else in this machine's time zone.
    """
    return opened_at if opened_at.tzinfo is None else opened_at.astimezone(_zone(header))


def _zone(header: Dataset) -> timezone | None:
    offset = str(header.get("TimezoneOffsetFromUTC") or "")
    try:
        sign, hours, minutes = offset[:1], int(offset[1:3]), int(offset[3:5])
    except ValueError:
        return None
    delta = timedelta(hours=hours, minutes=minutes)
    return timezone(-delta if sign == "-" else delta)
