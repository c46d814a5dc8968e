"""A sweep over a real ledger and store, with a clock that the test moves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.catalog import BundleFolder
from dicom_node.domain.manifest import ModelManifest, SeriesSelection
from dicom_node.domain.rule import TagRule
from dicom_node.domain.study import Instance
from dicom_node.ledger import Ledger, Recording
from dicom_node.settings.completeness import Completeness
from dicom_node.settings.node import Settings
from dicom_node.settings.work import Sweep as SweepSettings
from dicom_node.store import InstanceStore
from dicom_node.sweep import Sweep
from dicom_node.testing.broker import RecordingBroker
from dicom_node.testing.study import file_bytes

QUIET_S, DEADLINE_S = 60, 1000


def bundle(name: str = "model", *rules: TagRule) -> BundleFolder:
    """A bundle of which only the selection is looked at."""
    selection = SeriesSelection(modality=("CT",), rules=rules)
    manifest = ModelManifest.model_construct(name=name, version="1.0.0", selection=selection)
    return BundleFolder(Path(name), manifest, name.encode().hex().ljust(64, "f"))


class World:
    """The sweep and all that it works on."""

    def __init__(
        self, folder: Path, bundles: Sequence[BundleFolder] = (), **completeness: Any
    ) -> None:
        self.now = 0.0
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
        self.store = InstanceStore(folder / "store")
        self.broker = RecordingBroker()
        self.bundles = bundles or [bundle()]
        periods = {"quiet_s": QUIET_S, "deadline_s": DEADLINE_S} | completeness
        self.settings = Settings(
            completeness=Completeness(**periods), sweep=SweepSettings(ring_again_s=30, lease_s=45)
        )
        self.sweep = self.new_sweep()

    def new_sweep(self) -> Sweep:
        """Another one, as after a restart."""
        return Sweep(
            self.settings, self.ledger, self.store, self.broker, self.bundles, lambda: self.now
        )

    def restart(self) -> None:
        """End the sweep and start it again."""
        self.sweep.close()
        self.sweep = self.new_sweep()

    def receive(self, data: Dataset) -> Recording:
        """Keep one instance, as the listener does."""
        kept = self.store.keep([file_bytes(data)])
        data = dcmread(self.store.path(kept.sha256))
        instance = Instance(
            data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID, data.SOPClassUID,
            data.file_meta.TransferSyntaxUID, kept.sha256, kept.size_bytes,
        )  # fmt: skip
        return self.ledger.studies.record(instance, "MODALITY")

    def pass_time(self, seconds: float, step: float = 10) -> None:
        """Let the sweep look every ``step`` seconds."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            self.sweep.once()

    def close(self) -> None:
        """Give everything back."""
        self.sweep.close()
        self.ledger.close()


def state_of(world: World, study: Sequence[Dataset]) -> Any:
    """The study's row."""
    page = world.ledger.pages.study(study[0].StudyInstanceUID)
    assert page
    return page.study


def receive_all(world: World, study: Sequence[Dataset]) -> None:
    """Keep every instance, and let the sweep see them."""
    for data in study:
        world.receive(data)
    world.sweep.once()
