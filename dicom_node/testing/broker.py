"""RecordingBroker: a broker that only writes down who was rung for."""

from collections.abc import Sequence

from dicom_node.broker import ANALYSE, DELIVER
from dicom_node.domain.errors import BrokerUnavailable


class RecordingBroker:
    """Takes every ring; raises ``BrokerUnavailable`` while ``down`` is true."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.shipments: list[tuple[str, str]] = []
        self.down = False
        self.keeps = False
        """Whether it has all rings still, for no worker is there; else it has none."""

    def ring_job(self, job_id: str) -> None:
        """See ``dicom_node.broker.Broker``."""
        self._check()
        self.jobs.append(job_id)

    def ring_shipment(self, job_id: str, destination: str) -> None:
        """See ``dicom_node.broker.Broker``."""
        self._check()
        self.shipments.append((job_id, destination))

    def unheard(self, task: str) -> int:
        """See ``dicom_node.broker.Broker``."""
        self._check()
        rings: dict[str, Sequence[object]] = {ANALYSE: self.jobs, DELIVER: self.shipments}
        return len(rings[task]) if self.keeps else 0

    def _check(self) -> None:
        if self.down:
            raise BrokerUnavailable("the recording broker is down")
