"""Provenance: what a result was made of, and the UIDs that follow from it."""

from dataclasses import dataclass
from datetime import datetime

from dicom_node.domain.uid import uuid_uid


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything that can change the content of a result; its UIDs are made of it."""

    study_instance_uid: str
    generation: int
    input_sha256: str
    bundle_sha256: str
    config_sha256: str
    opened_at: datetime
    """When the job was opened; results carry this date, so that a second run writes the same."""

    def uid(self, kind: str, index: int = 0) -> str:
        """Deterministic UID: the same work gives the same instances, any change gives others."""
        name = "|".join(
            (
                self.study_instance_uid,
                str(self.generation),
                self.input_sha256,
                self.bundle_sha256,
                self.config_sha256,
                kind,
                str(index),
            )
        )
        return uuid_uid(name)

    def tracking_uid(self, model_name: str, tracking_id: str) -> str:
        """UID of a finding, the same in every run of any version of one model on one study."""
        return uuid_uid(f"tracking|{self.study_instance_uid}|{model_name}|{tracking_id}")
