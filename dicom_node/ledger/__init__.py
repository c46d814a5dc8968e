"""The ledger: every fact of the node, one row each, committed before anyone is told.

``studies``, ``jobs`` and ``deliveries`` hold the transitions, ``pauses`` what is put off,
``answers`` what is said in place of a result, ``rejections`` what readers take back,
``commitments`` what proves a delivery, ``expectations`` what others announce, ``pages`` what people
and monitors look at, ``inventory`` what the store must hold, ``removals`` what it need not any
more, ``erasures`` what is still to go. Only these write SQL.
"""

from dataclasses import dataclass
from typing import Self

from dicom_node.ledger.answers import Answers
from dicom_node.ledger.breaker import Breaker
from dicom_node.ledger.commitments import Commitments
from dicom_node.ledger.database import Database
from dicom_node.ledger.deliveries import Deliveries, Shipment
from dicom_node.ledger.erasures import Erasures
from dicom_node.ledger.expectations import Expectations
from dicom_node.ledger.inventory import Inventory
from dicom_node.ledger.jobs import Jobs
from dicom_node.ledger.pages import Pages
from dicom_node.ledger.pauses import Pauses
from dicom_node.ledger.rejections import Rejections
from dicom_node.ledger.removals import Removals
from dicom_node.ledger.roles import Roles
from dicom_node.ledger.studies import OpenStudy, Recording, Studies

__all__ = ["Ledger", "OpenStudy", "Recording", "Shipment"]


@dataclass(frozen=True)
class Ledger:
    """The parts of the ledger over one database."""

    database: Database
    studies: Studies
    expectations: Expectations
    jobs: Jobs
    deliveries: Deliveries
    commitments: Commitments
    pages: Pages
    roles: Roles
    answers: Answers
    rejections: Rejections
    inventory: Inventory
    breaker: Breaker
    pauses: Pauses
    removals: Removals
    erasures: Erasures

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, and bring the schema up to date."""
        database = Database(url)
        database.require_current_schema()
        return cls(
            database,
            Studies(database),
            Expectations(database),
            Jobs(database),
            Deliveries(database),
            Commitments(database),
            Pages(database),
            Roles(database),
            Answers(database),
            Rejections(database),
            Inventory(database),
            Breaker(database),
            Pauses(database),
            Removals(database),
            Erasures(database),
        )

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()
