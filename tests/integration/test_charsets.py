"""Whatever character set a source speaks, its results say the same in UTF-8."""

from pathlib import Path

import analyses
import pytest
import validators
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import save_study
from reports.attributes import PATIENT, STUDY
from reports.case import Case
from reports.encapsulated_pdf import EncapsulatedPdfWriter
from reports.part10 import dataset_bytes
from reports.writer import WRITERS, write_results

FILES = (
    "chrArab", "chrFren", "chrFrenMulti", "chrGerm", "chrGreek", "chrH31", "chrH32", "chrHbrw",
    "chrI2", "chrJapMulti", "chrJapMultiExplicitIR6", "chrKoreanMulti", "chrRuss", "chrX1", "chrX2",
)  # fmt: skip
TEXT = {"PN", "LO", "SH", "LT"}


@pytest.mark.shared
@pytest.mark.validators
@pytest.mark.dcmtk
@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_results_say_the_same_in_utf_8(
    name: str, shared_data: Path, tmp_path: Path, tool: validators.Tool
) -> None:
    tool("dciodvfy"), tool("dcentvfy")
    source = dcmread(shared_data / "dicom-pydicom/charset_files" / f"{name}.dcm")
    said = texts(source)
    assert "PatientName" in said
    files = save_study(speaking(source, said), tmp_path / "source")
    images = [dcmread(path) for path in files]
    given = analyses.analysis(phantom(7, slices=6, size=48), images)
    writers = [w for w in WRITERS if not isinstance(w, EncapsulatedPdfWriter)]
    paths = []
    for number, result in enumerate(write_results(Case(given), writers)):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(dataset_bytes(result.dataset))
        read = dcmread(paths[-1])
        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert texts(read) | said == texts(read)
        assert validators.dciodvfy(paths[-1]) == []
    assert validators.dcentvfy([*files, *paths]) == []


def texts(dataset: Dataset) -> dict[str, str]:
    """Text of patient and study, and who issued the patient's identifier."""
    elements = (dataset[keyword] for keyword in (*PATIENT, *STUDY) if keyword in dataset)
    return {e.keyword: str(e.value) for e in elements if e.VR in TEXT and e.value}


def speaking(source: Dataset, said: dict[str, str]) -> list[Dataset]:
    """A study in the character set of another file, with its texts; the name issues IDs, too."""
    said["IssuerOfPatientID"] = str(source.PatientName).split("=")[-1][:20].replace("^", " ")
    instances = analyses.study(phantom(7, slices=6, size=48))
    for instance in instances:
        instance.SpecificCharacterSet = source.SpecificCharacterSet
        for keyword in said:
            setattr(instance, keyword, said[keyword])
    return instances
