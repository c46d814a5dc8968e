"""Validators that others wrote, as functions that return what they complain about.

Every list of known false alarms says why it is one.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pikepdf
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName
from servant import Servant
from tinyhtml5.parser import HTMLParser

from reports.pdf import PAGE

PICTURE = re.compile('data:image/png;base64,[^"]+')
PIXELMED = "/usr/share/java/pixelmed.jar"
Tool = Callable[[str], str]
"""The fixture ``tool``: path of a command line tool."""
UNLIMITED = tuple(
    f"-Djdk.xml.{limit}=0"
    for limit in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
)
SR_VALIDATOR = Servant(
    (
        "java", "-XX:+UseSerialGC", *UNLIMITED, "-cp", PIXELMED,
        str(Path(__file__).parent / "java" / "ValidateReports.java"),
    )
)  # fmt: skip
"""Java compiles the file on its way."""

DCIODVFY_FALSE_ALARMS: tuple[str, ...] = ()
"""None: what dciodvfy of 2022 does not know yet (Device UID in Contributing Equipment) it reports
as a warning."""
LABEL_MAP_FALSE_ALARMS = (
    "Information Object Not found",
    "have SegmentSequence item number 1 (from one) with SegmentNumber of 0",
    "ReferencedSegmentNumber(0062,000b)> - Shall not be present for Referenced SOP Class that is "
    "not segmentation",
    "ReferencedFrameNumber(0008,1160)> - Shall not be present for Referenced SOP Class that is not "
    "multi-frame",
)
"""dciodvfy of 2022 does not know label maps (Supplement 243 of 2024), their segment 0, and that a
reference to one may name a segment or a frame."""
LABEL_MAP_UNKNOWN = "--ignore-item-errors"
"""For DCMTK 3.6.7 of 2022, which takes a reference to a label map for one to no image."""
PIXELMED_FALSE_ALARMS: tuple[str, ...] = (
    "[Row 3] CODE CID 7011: within 1: /CONTAINER (113001,",
    "[Row 4] CODE CID 7012: within 1: /CONTAINER (113001,",
    'Code (43468-8,LN,"XR unspecified body region") not found in context group 100',
)
"""TID 2010 demands a modifier of a rejection note's title; the check looks for the title among the
code items beside it and never finds it, for it is the container's name. CID 100 has gained the code
of X-ray since 2022, when the check's tables end. Otherwise none: rows that
PS3.16 gained after 2022 (finding category, presence, visual explanation) come as warnings,
``Content Item not in template``, for the templates are extensible."""


def dciodvfy(path: Path, known: Sequence[str] = DCIODVFY_FALSE_ALARMS) -> list[str]:
    """Errors of the IOD check (PS3.3) of one file, but for those that are known to be none."""
    lines = _lines(["dciodvfy", "-new", str(path)])
    return _without([line for line in lines if line.startswith("Error")], known)


def dcentvfy(paths: Iterable[Path]) -> list[str]:
    """Errors of the check that entities (patient, study, series) agree between files.

    It compares bytes without decoding them, so files in another character set than UTF-8 are
    re-encoded first: the same name in ISO 2022 and in UTF-8 is one name.
    """
    with TemporaryDirectory() as folder:
        same = [_in_utf8(path, Path(folder) / f"{n}.dcm") for n, path in enumerate(paths)]
        lines = _lines(["dcentvfy", *map(str, same)])
    return [line for line in lines if line.startswith("Error")]


def _in_utf8(path: Path, copy: Path) -> Path:
    dataset = dcmread(path)
    if dataset.get("SpecificCharacterSet", "ISO_IR 192") == "ISO_IR 192":
        return path
    dataset.decode()
    for element in dataset.iterall():
        if element.VR == "PN" and element.VM == 1:
            element.value = PersonName(str(element.value))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.save_as(copy)
    return copy


def sr_validator(path: Path) -> list[str]:
    """Errors of PixelMed's check of an SR against its templates (PS3.16)."""
    lines = SR_VALIDATOR.ask(str(path))
    assert any("IOD validation complete" in line for line in lines), lines
    errors = [line for line in lines if re.match(r"\s*Error", line)]
    report = dcmread(path)
    judged = [error for error in errors if not _of_another_template(error, report)]
    return _without(judged, PIXELMED_FALSE_ALARMS)


def _of_another_template(error: str, report: Dataset) -> bool:
    """Whether a group is measured by a template that it does not claim.

    The check tells TID 1410, 1411 and 1501 apart by what a group holds, not by what it says it is
    (Content Template Sequence), and where a report has several it holds each against all.
    """
    found = re.search(r"Template (1410|1411|1501) .*within 1((?:\.\d+)+):", error)
    if not found:
        return False
    item = report
    for number in found[2].split(".")[1:]:
        item = item.ContentSequence[int(number) - 1]
        if "ContentTemplateSequence" in item:
            return bool(item.ContentTemplateSequence[0].TemplateIdentifier != found[1])
    return False


def page_inside(path: Path) -> str:
    """The HTML page in an Encapsulated PDF."""
    with _pdf(path) as pdf:
        return pdf.attachments[PAGE].get_file().read_bytes().decode()


def encapsulated_pdf(path: Path) -> list[str]:
    """What qpdf finds wrong with the PDF, and a parser by the rules of HTML with the page in it."""
    parser = HTMLParser()
    parser.parse(PICTURE.sub("data:,", page_inside(path)))
    places = [f"{code} at {place}" for place, code, _ in parser.errors]
    with _pdf(path) as pdf:
        return [*pdf.check_pdf_syntax(), *places]


def _pdf(path: Path) -> pikepdf.Pdf:
    data = dcmread(path)
    document = data.EncapsulatedDocument[: data.EncapsulatedDocumentLength]
    return pikepdf.open(BytesIO(document))


def dsrdump(path: Path, options: Sequence[str] = ()) -> str:
    """The document as DCMTK reads it, with codes and full texts; raises if it cannot."""
    command = ["dsrdump", "+Pf", "+Pl", "+Pc", "+U8", *options, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _lines(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return (done.stdout + done.stderr).splitlines()


def _without(errors: Sequence[str], false_alarms: Sequence[str]) -> list[str]:
    return [error for error in errors if not any(known in error for known in false_alarms)]
