"""Broker: rings for work that waits in the ledger. A ring carries ids and nothing else."""

from typing import Protocol

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from dicom_node.domain.errors import BrokerUnavailable

ANALYSE, DELIVER = "dicom_node.analyse", "dicom_node.deliver"
"""Task names."""
QUEUES = {ANALYSE: "analyse", DELIVER: "deliver"}
SOCKET_TIMEOUT_S = 5


class Broker(Protocol):
    """Whoever takes a ring to the workers. A lost ring is no loss: the sweep rings again."""

    def ring_job(self, job_id: str) -> None:
        """Say that a job waits; ``BrokerUnavailable`` if the ring did not get out."""

    def ring_shipment(self, job_id: str, destination: str) -> None:
        """Say that results of a job wait for a destination."""

    def unheard(self, task: str) -> int:
        """How many rings for a task lie with the broker, and no worker has taken them yet."""


class CeleryBroker:
    """Rings through Celery over Redis; only the sweep does."""

    def __init__(self, url: str) -> None:
        self._app = celery_app(url)

    def ring_job(self, job_id: str) -> None:
        """See ``Broker``."""
        self._send(ANALYSE, job_id)

    def ring_shipment(self, job_id: str, destination: str) -> None:
        """See ``Broker``."""
        self._send(DELIVER, job_id, destination)

    def unheard(self, task: str) -> int:
        """See ``Broker``."""
        try:
            with self._app.connection_or_acquire() as connection:
                return int(connection.default_channel._size(QUEUES[task]))
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailable("the broker does not say what it holds") from error

    def close(self) -> None:
        """Close the connections."""
        self._app.close()

    def _send(self, task: str, *ids: str) -> None:
        try:
            self._app.send_task(task, args=ids, queue=QUEUES[task], ignore_result=True, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailable(
                f"the broker did not take a ring for {task}; the sweep rings again"
            ) from error


def celery_app(url: str) -> Celery:
    """The Celery application that rings and workers share: JSON only, no results, bounded waits."""
    app = Celery("dicom_node", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        result_backend=None,
        broker_connection_timeout=SOCKET_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "max_retries": 1,
        },
    )
    return app
