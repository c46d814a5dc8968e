"""The page as PDF/A-3b with the page itself inside: fonts embedded, nothing fetched."""

from datetime import datetime
from hashlib import sha256
from typing import Any

from weasyprint import HTML, Attachment
from weasyprint.urls import URLFetcher

VARIANT = "pdf/a-3b"
PAGE = "report.html"
"""Name of the page inside the PDF."""
DESCRIPTION = "The report as a page for browsers"


def html_to_pdf(page: str, made_at: datetime) -> bytes:
    """Render a self-contained page, and attach it; any URL but ``data:`` is refused.

    PACS keep PDFs but no pages: whoever gets the PDF can take the page out of it. The identifier
    is derived from the page and all dates are given, so that equal pages give equal bytes.
    """
    document = HTML(string=page, url_fetcher=URLFetcher(allowed_protocols=["data"]))
    attached = Attachment(
        string=page,
        name=PAGE,
        description=DESCRIPTION,
        created=made_at,
        modified=made_at,
        relationship="Source",
    )
    return bytes(
        document.write_pdf(
            pdf_variant=VARIANT,
            pdf_identifier=sha256(page.encode()).digest()[:16],
            pdf_tags=True,
            attachments=[attached],
            finisher=_name_once,
        )
    )


def _name_once(_document: Any, pdf: Any) -> None:
    """An associated file is one entry of the catalogue; the library may write it twice."""
    files = pdf.catalog["AF"]
    files[:] = dict.fromkeys(files)
