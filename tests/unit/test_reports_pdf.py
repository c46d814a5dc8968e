"""The PDF is an archive's PDF, and holds the page that it was made of."""

from datetime import datetime
from io import BytesIO

import analyses
import pikepdf
import pytest

from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.encapsulated_pdf import EncapsulatedPdfWriter
from reports.html import report_html
from reports.pdf import html_to_pdf
from reports.settings import ReportSettings

AT = datetime(2026, 3, 14, 9, 26, 53)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def case(language="en"):
    given = analyses.analysis(phantom(7, slices=3, size=64))
    return Case(given, ReportSettings(language=language))


@pytest.fixture(scope="module", params=["en", "de", "zh-Hans"])
def made(request):
    """A report page and the PDF of it, as the PACS gets it."""
    given = case(request.param)
    (result,) = EncapsulatedPdfWriter().write(given, ())
    data = result.dataset
    pdf = data.EncapsulatedDocument[: data.EncapsulatedDocumentLength]
    return report_html(given), pikepdf.open(BytesIO(pdf))


def test_the_page_can_be_taken_out_unchanged(made):
    page, pdf = made
    assert list(pdf.attachments) == ["report.html"]
    attached = pdf.attachments["report.html"].get_file()
    assert attached.read_bytes() == page.encode()
    assert attached.mime_type == "text/html"


def test_the_page_is_an_associated_file_as_pdf_a_3_asks(made):
    """ISO 19005-3, 6.8: AF of the catalogue, AFRelationship, MIME type and date of change."""
    _, pdf = made
    (file,) = pdf.Root.AF
    assert file.AFRelationship == pikepdf.Name.Source
    assert file.EF.F.Subtype == pikepdf.Name("/text/html")
    assert str(file.EF.F.Params.ModDate) == "D:20260314092653Z"
    assert str(file.UF) == str(file.F) == "report.html"


def test_it_says_that_it_is_pdf_a_3b_and_has_what_that_needs(made):
    _, pdf = made
    with pdf.open_metadata() as metadata:
        assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "B")
        assert metadata["dc:title"]
    (intent,) = pdf.Root.OutputIntents
    assert intent.S == pikepdf.Name.GTS_PDFA1
    assert bytes(intent.DestOutputProfile.read_bytes())[36:40] == b"acsp"
    assert "/ID" in pdf.trailer
    assert "/Encrypt" not in pdf.trailer
    assert pdf.Root.MarkInfo.Marked
    assert pdf.check_pdf_syntax() == []


def test_every_font_is_embedded_and_nothing_acts(made):
    _, pdf = made
    fonts = [o for o in pdf.objects if isinstance(o, pikepdf.Dictionary)
             and o.get("/Type") == "/FontDescriptor"]  # fmt: skip
    assert fonts
    assert all({"/FontFile2", "/FontFile3"} & set(font.keys()) for font in fonts)
    forbidden = {"/JavaScript", "/Launch", "/URI", "/OpenAction", "/AA"}
    names = {k for o in pdf.objects if isinstance(o, pikepdf.Dictionary) for k in o.keys()}  # noqa: SIM118
    assert names & forbidden == set()


def test_equal_pages_give_equal_bytes():
    page = report_html(case())
    assert html_to_pdf(page, AT) == html_to_pdf(page, AT)
