"""Reads MPPS, Instance Availability Notifications and commitment reports, in a process of its own.

``python -m`` this module answers requests of ``reading``: what is to be read, the data set in
base64 and its encoding.
"""

import base64
import warnings
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_node.sandbox import serve

UNAVAILABLE = "UNAVAILABLE"
IMAGES, OTHERS = "ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"


def read(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a data set says; none if it cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            raw = BytesIO(base64.b64decode(request["data"]))
            data = read_dataset(raw, request["implicit"], request["little"])
            return {"notice": _notice, "report": _report}[request["what"]](data)
        except Exception:  # noqa: BLE001 - the bytes are anyone's
            return None


def _notice(data: Dataset) -> dict[str, Any]:
    """``studies``, ``status`` and ``instances``.

    An attribute that is absent is none, for N-SET leaves what it does not name as it was.
    MPPS: PS3.4 Table F.7.2-1. Instance availability: PS3.4 Table R.3.2-1.
    """
    return {
        "studies": sorted(set(_studies(data))),
        "status": _text(data, "PerformedProcedureStepStatus"),
        "instances": _instances(data),
    }


def _report(data: Dataset) -> dict[str, Any]:
    """``transaction``, the UIDs of ``committed`` and the failure reasons of ``failed`` ones (PS3.4
    Table J.3-3)."""
    committed = data.get("ReferencedSOPSequence") or ()
    failed = data.get("FailedSOPSequence") or ()
    return {
        "transaction": _text(data, "TransactionUID"),
        "committed": [_text(item, "ReferencedSOPInstanceUID") for item in committed],
        "failed": [
            [_text(item, "ReferencedSOPInstanceUID"), int(item.get("FailureReason") or 0)]
            for item in failed
        ],
    }


def _studies(data: Dataset) -> Iterator[str]:
    steps = data.get("ScheduledStepAttributesSequence") or ()
    for item in (data, *steps):
        if uid := _text(item, "StudyInstanceUID"):
            yield uid


def _instances(data: Dataset) -> list[str] | None:
    performed = data.get("PerformedSeriesSequence")
    available = data.get("ReferencedSeriesSequence")
    if performed is None and available is None:
        return None
    found = {uid for series in performed or () for uid in _of_series(series, IMAGES, OTHERS)}
    found |= {
        uid for series in available or () for uid in _of_series(series, "ReferencedSOPSequence")
    }
    return sorted(found)


def _of_series(series: Dataset, *keywords: str) -> Iterator[str]:
    for keyword in keywords:
        for item in series.get(keyword) or ():
            uid = _text(item, "ReferencedSOPInstanceUID")
            if uid and _text(item, "InstanceAvailability") != UNAVAILABLE:
                yield uid


def _text(data: Dataset, keyword: str) -> str | None:
    value = data.get(keyword)
    return None if value is None else str(value)


if __name__ == "__main__":
    serve(read)
