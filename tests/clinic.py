"""A node without its processes: what is sent is taken, closed, analysed and answered at once.

Everything is real but the network, which sees nothing and answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from scipy.special import expit
from world import QUIET_S, World

from dicom_node.catalog import Catalog, shipped_bundles
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.manifest import ModelManifest
from dicom_node.ledger.pages import StudyPage
from dicom_node.receive.intake import Intake, Outcome
from dicom_node.testing.study import file_bytes
from explain.explainer import Attribution
from explain.projection import Grid
from workers import tasks
from workers.bootstrap import Worker
from workers.model import Output

GRAD_CAM = Code("130404", "DCM", "Grad-CAM")


@dataclass
class Blind:
    """A model that finds nothing, and an explainer with nothing to say."""

    manifest: ModelManifest
    versions: Mapping[str, str]
    method: Code = GRAD_CAM
    layer: str = "features"
    one_pass: bool = True
    reference: Mapping[str, FloatArray] = field(default_factory=dict)

    def predict(self, batch: FloatArray) -> Output:
        heads = {
            "classification": self._no(len(batch), 1),
            "segmentation": self._no(*batch.shape[:3], 2),
        }
        explained = self.explain(batch, [0])
        return Output(heads, explained, explained.features)

    def _no(self, *shape: int) -> FloatArray:
        return np.full(shape, -9, np.float32)

    def probabilities(self, logits: FloatArray) -> FloatArray:
        return np.asarray(expit(logits), np.float32)

    mask_probabilities = probabilities

    def shares(self, item: FloatArray, target: int) -> tuple[()]:
        return ()

    def explainer(self) -> "Blind":
        return self

    def explain(self, inputs: FloatArray, targets: Sequence[int]) -> Attribution:
        cells = (len(inputs), len(targets), 8, 8)
        grid = Grid.covering((int(inputs.shape[1]), int(inputs.shape[2])), (8, 8))
        nothing = np.zeros(cells, np.float32)
        return Attribution(self._no(len(inputs), 1), nothing, grid, self._no(len(inputs), 0))


class Clinic:
    """Takes studies and answers them, by the bundles in these folders, or those that ship."""

    def __init__(self, folder: Path, bundles: Sequence[Path] = ()) -> None:
        self.catalog = Catalog.open(bundles or shipped_bundles())
        self.world = World(folder, self.catalog.bundles)
        self.ledger = self.world.ledger
        self.intake = Intake(self.world.store, self.ledger, reserve_mib=1, role="web")
        self.worker = Worker(
            self.world.settings,
            self.ledger,
            self.world.store,
            self.catalog,
            {b.sha256: Blind(b.manifest, {}) for b in self.catalog.bundles},  # type: ignore[misc]
        )

    def send(self, files: Sequence[Dataset | bytes]) -> list[Outcome]:
        """Hand instances in."""
        outcomes = []
        for file in files:
            draft = self.intake.draft()
            draft.write(file if isinstance(file, bytes) else file_bytes(file))
            outcomes.append(self.intake.take(draft, source="STOW-RS"))
        return outcomes

    def answer(self) -> None:
        """Let the quiet period pass, and do all work that waits."""
        self.world.sweep.once()
        self.world.pass_time(QUIET_S + 10)
        for job_id in self.ledger.jobs.waiting():
            tasks.analyse(self.worker, job_id)

    def page(self, study: Sequence[Any]) -> StudyPage:
        """All that the ledger says of a study."""
        page = self.ledger.pages.study(study[0].StudyInstanceUID)
        assert page is not None
        return page

    def close(self) -> None:
        """Give everything back."""
        self.world.close()
