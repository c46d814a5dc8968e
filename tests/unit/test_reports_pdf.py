"""The PDF is an archive's PDF, and holds the page that it was made of."""

import re
import subprocess
from base64 import b64decode
from datetime import datetime
from io import BytesIO

import analyses
import pikepdf
import pytest
from PIL import Image
from pydicom.sr.codedict import codes

from dicom_node.domain.findings import Measurement
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.encapsulated_pdf import EncapsulatedPdfWriter
from reports.html import report_html
from reports.pdf import html_to_pdf
from reports.settings import ReportSettings

PNG = re.compile(r' src="data:image/png;base64,([^"]+)"')
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
    with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
        assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "B")
        assert metadata["dc:title"]
    (intent,) = pdf.Root.OutputIntents
    assert intent.S == pikepdf.Name.GTS_PDFA1
    assert bytes(intent.DestOutputProfile.read_bytes())[36:40] == b"acsp"
    assert "/ID" in pdf.trailer
    assert "/Encrypt" not in pdf.trailer
    assert pdf.Root.MarkInfo.Marked
    assert pdf.check_pdf_syntax() == []


def test_what_pdf_a_forbids_is_not_there(made):
    """ISO 19005-3: interpolated images, other filters, foreign colours, files beside the file."""
    _, pdf = made
    streams = [o for o in pdf.objects if isinstance(o, pikepdf.Stream)]
    images = [o for o in streams if o.get("/Subtype") == "/Image"]
    assert images
    for image in images:
        assert not image.get("/Interpolate", False)
        assert image.ColorSpace in (pikepdf.Name.DeviceRGB, pikepdf.Name.DeviceGray)
        assert {"/Alternates", "/OPI"} & set(image.keys()) == set()
    assert {str(o.get("/Filter", "")) for o in streams} <= {"", "/FlateDecode"}
    assert not any(key in o for o in streams for key in ("/F", "/FFilter", "/FDecodeParms"))


def test_the_dates_and_titles_of_both_metadata_agree(made):
    """ISO 19005-3, 6.6.3: the document information says what XMP says."""
    _, pdf = made
    info = {key: str(value) for key, value in pdf.docinfo.items()}
    with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
        assert info["/Title"] == metadata["dc:title"]
        assert info["/Producer"] == metadata["pdf:Producer"]
        assert info["/Creator"] == metadata["xmp:CreatorTool"]
        assert info["/CreationDate"] == f"D:{AT:%Y%m%d%H%M%S}Z"
        assert metadata["xmp:CreateDate"] == f"{AT:%Y-%m-%dT%H:%M:%SZ}"
        assert metadata["xmp:ModifyDate"] == f"{AT:%Y-%m-%dT%H:%M:%SZ}"


def test_every_font_is_embedded_and_nothing_acts(made):
    _, pdf = made
    fonts = [o for o in pdf.objects if isinstance(o, pikepdf.Dictionary)
             and o.get("/Type") == "/FontDescriptor"]  # fmt: skip
    assert fonts
    assert all({"/FontFile2", "/FontFile3"} & set(font.keys()) for font in fonts)
    forbidden = {"/JavaScript", "/Launch", "/URI", "/OpenAction", "/AA"}
    names = {k for o in pdf.objects if isinstance(o, pikepdf.Dictionary) for k in o.keys()}  # noqa: SIM118
    assert names & forbidden == set()


def of_type(pdf, name):
    kinds = (pikepdf.Dictionary, pikepdf.Stream)
    return [o for o in pdf.objects if isinstance(o, kinds) and o.get("/Type") == name]


def test_every_transparency_group_has_a_space_to_blend_in(made):
    """ISO 19005-3, 6.2.10: else the output intent's, so an intent must be there and of RGB."""
    _, pdf = made
    (intent,) = pdf.Root.OutputIntents
    assert intent.DestOutputProfile.N == 3
    assert bytes(intent.DestOutputProfile.read_bytes())[16:20] == b"RGB "
    groups = [p.Group for p in pdf.pages if "/Group" in p] + [
        o.Group for o in of_type(pdf, "/XObject") if "/Group" in o
    ]
    assert all(pikepdf.Name.Transparency == g.S for g in groups)
    states = [s for p in pdf.pages for s in p.Resources.get("/ExtGState", {}).values()]
    assert {str(s.get("/BM", "/Normal")) for s in states} <= {"/Normal", "/Compatible"}
    assert not any(key in s for s in states for key in ("/TR", "/HTP"))


def test_glyphs_are_those_of_the_fonts_and_can_be_read_back(made):
    """ISO 19005-3, 6.2.11: composite fonts with a map of glyphs, and text by Unicode."""
    _, pdf = made
    fonts = of_type(pdf, "/Font")
    composite = [f for f in fonts if f.Subtype == "/Type0"]
    assert composite
    assert {str(f.Subtype) for f in fonts} <= {"/Type0", "/CIDFontType0", "/CIDFontType2"}
    for each in composite:
        assert each.Encoding == pikepdf.Name("/Identity-H")
        assert "/ToUnicode" in each
        (descendant,) = each.DescendantFonts
        assert descendant.Subtype == "/CIDFontType0" or descendant.CIDToGIDMap == "/Identity"


def test_annotations_and_actions_are_of_a_kind_that_lasts(made):
    """ISO 19005-3, 6.3 and 6.5: neither sound nor film, no form, no script; nothing hidden."""
    _, pdf = made
    assert not {"/AcroForm", "/OpenAction", "/AA", "/Requirements"} & set(pdf.Root.keys())
    assert not {"/JavaScript", "/AlternatePresentations"} & set(pdf.Root.Names.keys())
    for page in pdf.pages:
        assert not {"/AA", "/PresSteps"} & set(page.keys())
        for note in page.get("/Annots", []):
            assert note.Subtype == pikepdf.Name.Link


def test_the_header_the_end_and_the_metadata_are_as_archives_ask(made):
    """ISO 19005-3, 6.1.2 to 6.1.4 and 6.6.2: XMP as it is, and a file that ends at its end."""
    _, pdf = made
    metadata = pdf.Root.Metadata
    assert metadata.Subtype == pikepdf.Name.XML
    assert "/Filter" not in metadata
    packet = metadata.read_bytes()
    assert packet.startswith(b"<?xpacket begin=")
    assert b"bytes=" not in packet
    assert b"encoding=" not in packet
    assert len(pdf.trailer.ID) == 2


def test_the_file_starts_with_four_high_bytes_and_ends_with_its_end_marker():
    data = html_to_pdf(report_html(case()), AT)
    first, second = data.split(b"\n", 2)[:2]
    assert first == b"%PDF-1.7"
    assert second.startswith(b"%")
    assert all(byte > 127 for byte in second[1:5])
    assert data.rstrip().endswith(b"%%EOF")
    assert data.count(b"%%EOF") == 1


def pictures_in(pdf):
    return {i.objgen: i for page in pdf.pages for i in page.get_images().values()}.values()


def test_pictures_are_the_pixels_of_the_page(made):
    page, pdf = made
    shown = [Image.open(BytesIO(b64decode(data))) for data in PNG.findall(page)]
    held = [pikepdf.PdfImage(image).as_pil_image() for image in pictures_in(pdf)]
    assert len(held) == len(shown) == 2
    assert sorted(i.tobytes() for i in held) == sorted(i.tobytes() for i in shown)


def test_rows_of_pictures_are_taken_over_from_the_page_as_they_are(made):
    """Deflating them again would cost most of the time of a report."""
    page, pdf = made
    files = [b64decode(data) for data in PNG.findall(page)]
    rows = [image.read_raw_bytes() for image in pictures_in(pdf)]
    assert all(any(row[:1000] in file and len(row) < len(file) for file in files) for row in rows)


def test_words_that_look_like_a_picture_stay_words():
    given = analyses.analysis(phantom(7, slices=3, size=64))
    named = analyses.with_text(given, {"StudyDescription": "data:image/png;base64,AAAA"})
    page = report_html(Case(named))
    assert "data:image/png;base64,AAAA" in page
    assert html_to_pdf(page, AT).startswith(b"%PDF-1.7")


def test_equal_pages_give_equal_bytes():
    page = report_html(case())
    assert html_to_pdf(page, AT) == html_to_pdf(page, AT)


def test_long_words_break_at_syllables_and_every_sheet_says_whose_it_is(tool, tmp_path):
    """The former in the narrow columns of the findings, as their language does it."""
    given = analyses.analysis(phantom(7, slices=3, size=64))
    deviation = Measurement(codes.SCT.StandardDeviation, 15.9, analyses.HOUNSFIELD)
    given = analyses.with_finding(given, measurements=(deviation,))
    page = report_html(Case(given, ReportSettings(language="de")))
    (tmp_path / "report.pdf").write_bytes(html_to_pdf(page, AT))
    command = [tool("pdftotext"), "-layout", str(tmp_path / "report.pdf"), "-"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Standardabwei\u2010" in said.split()
    first, *others = said.rstrip("\f").split("\f")
    assert others
    assert all("Phantom, Trunk · PHANTOM-1" in " ".join(sheet.split()) for sheet in others)
    assert "· PHANTOM-1" not in " ".join(first.split())
