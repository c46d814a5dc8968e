"""Whatever character set a source speaks, its results say the same in UTF-8, and show it."""

import re
import subprocess
from io import BytesIO
from pathlib import Path

import analyses
import pikepdf
import pytest
import validators
from fontTools.ttLib import TTFont
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import save_study
from reports.attributes import PATIENT, STUDY
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.pdf import html_to_pdf
from reports.writer import WRITERS, write_results

FILES = (
    "chrArab", "chrFren", "chrFrenMulti", "chrGerm", "chrGreek", "chrH31", "chrH32", "chrHbrw",
    "chrI2", "chrJapMulti", "chrJapMultiExplicitIR6", "chrKoreanMulti", "chrRuss", "chrSQEncoding",
    "chrSQEncoding1", "chrX1", "chrX2",
)  # fmt: skip
TEXT = {"PN", "LO", "SH", "LT"}
BETWEEN_WORDS = re.compile(r"[\s^=,\u202a-\u202e\u2066-\u2069]+")
"""White space, separators of a name, and marks of direction."""
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.shared
@pytest.mark.validators
@pytest.mark.dcmtk
@pytest.mark.parametrize("name", FILES)
def test_results_say_the_same_in_utf_8(
    name: str, shared_data: Path, tmp_path: Path, tool: validators.Tool
) -> None:
    tool("dciodvfy"), tool("dcentvfy")
    source = dcmread(shared_data / "dicom-pydicom/charset_files" / f"{name}.dcm")
    said = texts(source)
    assert said["PatientName"]
    files = save_study(speaking(source, said), tmp_path / "source")
    images = [dcmread(path) for path in files]
    given = analyses.analysis(phantom(7, slices=6, size=48), images)
    paths = []
    for number, result in enumerate(write_results(Case(given), WRITERS)):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(dataset_bytes(result.dataset))
        read = dcmread(paths[-1])
        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert texts(read) | said == texts(read)
        assert read.OtherPatientIDsSequence[0].PatientID == said["IssuerOfPatientID"]
        assert validators.dciodvfy(paths[-1]) == []
        if read.SOPClassUID.name == "Encapsulated PDF Storage":
            pdf = tmp_path / "report.pdf"
            pdf.write_bytes(read.EncapsulatedDocument)
            shown = words(text_of(pdf, tool))
            assert words(said["PatientName"] + " " + said["IssuerOfPatientID"]) <= shown
            assert lacking(pikepdf.open(pdf)) == []
    assert validators.dcentvfy([*files, *paths]) == []


def test_a_letter_without_a_glyph_is_noticed() -> None:
    """So that the one above means something: no font has a letter for private use."""
    pdf = html_to_pdf("<p>private: \U0010fffd</p>", analyses.AT)
    assert len(lacking(pikepdf.open(BytesIO(pdf)))) == 1


def texts(dataset: Dataset) -> dict[str, str]:
    """Text of patient and study, and who issued the patient's identifier."""
    elements = (dataset[keyword] for keyword in (*PATIENT, *STUDY) if keyword in dataset)
    said = {e.keyword: str(e.value) for e in elements if e.VR in TEXT and e.value}
    if items := dataset.get("RequestedProcedureCodeSequence"):
        said["PatientName"] = str(items[0].PatientName)
    return said


def speaking(source: Dataset, said: dict[str, str]) -> list[Dataset]:
    """A study in the character set of another file, with its texts; the name issues IDs, too.

    The other identifier stands in an item with the character set that an item of the file has.
    """
    issuer = said["PatientName"].split("=")[-1][:20].replace("^", " ")
    said["IssuerOfPatientID"] = issuer
    (item,) = source.get("RequestedProcedureCodeSequence") or (source,)
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = issuer, "TEXT"
    if "SpecificCharacterSet" in item:
        other.SpecificCharacterSet = item.SpecificCharacterSet
    instances = analyses.study(phantom(7, slices=6, size=48))
    for instance in instances:
        instance.SpecificCharacterSet = source.SpecificCharacterSet
        instance.OtherPatientIDsSequence = [other]
        for keyword in said:
            setattr(instance, keyword, said[keyword])
    return instances


def text_of(pdf: Path, tool: validators.Tool) -> str:
    command = [tool("pdftotext"), "-enc", "UTF-8", str(pdf), "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def words(text: str) -> set[str]:
    return {word.strip("()") for word in BETWEEN_WORDS.split(text)} - {""}


def lacking(pdf: pikepdf.Pdf) -> list[int]:
    """Glyphs that are drawn and that their font does not have, or has for letters it lacks: 0."""
    found, known = [], {}
    for page in pdf.pages:
        for operands, operator in pikepdf.parse_content_stream(page, "Tf TJ Tj"):
            if str(operator) == "Tf":
                font = page.Resources.Font[operands[0]]
                count = known.setdefault(font.objgen, glyph_count(font))
                continue
            drawn = operands[0] if str(operator) == "TJ" else operands
            data = b"".join(bytes(part) for part in drawn if isinstance(part, pikepdf.String))
            numbers = (high << 8 | low for high, low in zip(data[::2], data[1::2], strict=True))
            found += [number for number in numbers if not 0 < number < count]
    return found


def glyph_count(font: pikepdf.Object) -> int:
    descriptor = font.DescendantFonts[0].FontDescriptor
    file = descriptor.get("/FontFile2") or descriptor.FontFile3
    return int(TTFont(BytesIO(file.read_bytes()))["maxp"].numGlyphs)
