"""A data set as the body of an answer, in the media type that was asked for (PS3.18 section 8.7).

DICOM JSON (PS3.18 annex F), or XML by the Native DICOM Model (PS3.19 annex A.1). A data set is held
as DICOM JSON has it: tag, VR and values.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.datadict import keyword_for_tag

Json = Mapping[str, Any]

JSON, XML = "application/dicom+json", "application/dicom+xml"
NATIVE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"


def _json(data: Json) -> bytes:
    return json.dumps(data).encode()


def _xml(data: Json) -> bytes:
    root = Element("NativeDicomModel", {"xmlns": NATIVE, "xml:space": "preserve"})
    _add(root, data)
    xml: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return xml


def _add(parent: Element, data: Json) -> None:
    for tag, element in data.items():
        names = {"tag": tag, "vr": element["vr"], "keyword": keyword_for_tag(tag)}
        attribute = SubElement(parent, "DicomAttribute", names)
        for number, value in enumerate(element.get("Value", ()), 1):
            if element["vr"] == "SQ":
                _add(SubElement(attribute, "Item", number=str(number)), value)
            else:
                SubElement(attribute, "Value", number=str(number)).text = str(value)


WRITERS: Mapping[str, Callable[[Json], bytes]] = {JSON: _json, XML: _xml, "application/json": _json}
"""By media type; the first where the sender does not mind."""


def chosen(accept: str) -> str | None:
    """The media type that an ``Accept`` header likes best (RFC 9110 section 12.5.1); none: none."""
    wanted = dict(_range(each) for each in accept.split(",") if each.strip()) or {"*/*": 1.0}
    quality = {kind: _quality(kind, wanted) for kind in WRITERS}
    best = max(WRITERS, key=quality.__getitem__)
    return best if quality[best] > 0 else None


def _range(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return kind, float(weight)
    except ValueError:
        return kind, 0.0


def _quality(kind: str, wanted: Mapping[str, float]) -> float:
    """Of the range that names it most closely."""
    return next((wanted[r] for r in (kind, "application/*", "*/*") if r in wanted), 0.0)
