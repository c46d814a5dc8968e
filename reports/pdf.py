"""The page as PDF/A-3b with the page itself inside: fonts embedded, nothing fetched."""

import zlib
from datetime import datetime
from hashlib import sha256
from typing import Any

from weasyprint import HTML, Attachment
from weasyprint.urls import URLFetcher

from reports.pdf_pictures import pictures_apart

VARIANT = "pdf/a-3b"
PAGE = "report.html"
"""Name of the page inside the PDF."""
DESCRIPTION = "The report as a page for browsers"


def html_to_pdf(page: str, made_at: datetime) -> bytes:
    """Render a self-contained page, and attach it; any URL but ``data:`` is refused.

    PACS keep PDFs but no pages: whoever gets the PDF can take the page out of it. The identifier
    is derived from the page and all dates are given, so that equal pages give equal bytes.
    """
    words, pictures = pictures_apart(page)
    document = HTML(string=words, url_fetcher=URLFetcher(allowed_protocols=["data"]))
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
            finisher=_finish,
            cache=pictures,
        )
    )


def _finish(_document: Any, pdf: Any) -> None:
    """An associated file is one entry of the catalogue; the library may write it twice."""
    files = pdf.catalog["AF"]
    files[:] = dict.fromkeys(files)
    for entry in pdf.objects:
        if getattr(entry, "extra", {}).get("Type") == "/EmbeddedFile":
            _deflate(entry)


def _deflate(stream: Any) -> None:
    """By Huffman codes alone: of pictures in base64 as small as any other way, and the fastest."""
    codes = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
    stream.stream = [codes.compress(b"".join(stream.stream)) + codes.flush()]
    stream.extra["Filter"] = "/FlateDecode"
    stream.compress = False
