"""What the sweep does to remove studies, without the hours that it waits."""

from dicom_node import orphans
from dicom_node.erasing import Eraser
from dicom_node.ledger import Ledger
from dicom_node.retention import Retention
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore

LOOKS = 4


def tidy(settings: Settings) -> None:
    """Remove all that is due, and its bytes."""
    now = 0.0

    def clock() -> float:
        return now

    ledger, store = Ledger.open(settings.ledger_url), InstanceStore(settings.store_dir)
    retention = Retention(settings, ledger, clock, clock)
    eraser = Eraser(ledger, store, clock)
    orphans.put_back(store)
    for _ in range(LOOKS):
        now += orphans.SETTLED_S
        retention.once()
        eraser.once()
    ledger.close()
