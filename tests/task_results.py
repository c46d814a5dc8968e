"""What a small bundle makes of a phantom: the whole pipeline, and its objects read back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.catalog import open_bundle
from dicom_node.domain.delivery import ResultKind
from dicom_node.settings.node import Settings
from dicom_node.settings.results import Results
from dicom_node.testing.inserts import Cylinder
from dicom_node.testing.study import make_study, save_study

BUNDLES = Path(__file__).parents[1] / "workers" / "bundles" / "tasks"
PATIENT = {"PatientID": "PHANTOM-QA-1", "StudyInstanceUID": "2.25.7000"}
KINDS = tuple(
    ResultKind[name]
    for name in (
        "DERIVED_IMAGE",
        "SEGMENTATION",
        "PARAMETRIC_MAP",
        "SECONDARY_CAPTURE",
        "STRUCTURED_REPORT",
    )
)
PRESENT, ABSENT = "52101004", "272519000"


class Outcome:
    """What came out of one study."""

    def __init__(self, folder: Path) -> None:
        self.datasets = [dcmread(path) for path in sorted(folder.glob("*.dcm"))]
        self.page = (folder / "report.html").read_text()
        self.paths = sorted(folder.glob("*.dcm"))

    def of(self, modality: str) -> list[Dataset]:
        return [d for d in self.datasets if d.Modality == modality]

    @property
    def report(self) -> hd.sr.Comprehensive3DSR:
        (dataset,) = self.of("SR")
        return hd.sr.Comprehensive3DSR.from_dataset(dataset)

    def numbers(self) -> list[Mapping[str, float]]:
        """Of each group, by the meaning of its name."""
        groups = self.report.content.get_planar_roi_measurement_groups()
        groups += self.report.content.get_volumetric_roi_measurement_groups()
        groups += self.report.content.get_image_measurement_groups()
        return [{m.name.meaning: m.value for m in g.get_measurements()} for g in groups]

    def presence(self) -> Mapping[str, str]:
        """Code of presence by the meaning of the finding."""
        found = {}
        groups = self.report.content.get_image_measurement_groups()
        groups += self.report.content.get_planar_roi_measurement_groups()
        for group in groups:
            for said in group.get_qualitative_evaluations():
                if said.name.value == "121052":
                    found[group.finding_type.meaning] = said.value.value
        return found


def analysed(name: str, instances: Sequence[Dataset], folder: Path) -> Outcome:
    """Results of a bundle for the instances of a study."""
    from workers.by_hand import analyse_folder

    save_study(instances, folder / "study")
    settings = Settings(results=Results(kinds=KINDS))
    bundle = open_bundle(BUNDLES / name)
    analyse_folder(folder / "study", bundle, folder / "results", settings)
    return Outcome(folder / "results")


def study(made: Cylinder, **attributes: object) -> list[Dataset]:
    """Instances of a phantom that the small bundles take."""
    return make_study(made.phantom, attributes={**PATIENT, **attributes})
