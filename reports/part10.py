"""The bytes of a DICOM file (PS3.10): the same data set always gives the same bytes."""

import struct
from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.domain.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PIXELS = frozenset({"FloatPixelData", "PixelData"})
"""Hundreds of megabytes, which pydicom would copy three times."""


def dataset_bytes(dataset: Dataset) -> bytes:
    """Serialise as a DICOM file in Explicit VR Little Endian, with our own file meta group."""
    dataset.file_meta = _file_meta(dataset)
    last = dataset[max(dataset.keys())]
    if last.keyword not in PIXELS:
        return _written(dataset)
    header = Dataset({tag: element for tag, element in dataset.items() if tag != last.tag})
    header.file_meta = dataset.file_meta
    return b"".join((_written(header), _start(last), last.value))


def _written(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _start(pixels: DataElement) -> bytes:
    """Tag, VR and length (PS3.5 section 7.1.2)."""
    tag, length = pixels.tag, len(pixels.value)
    return struct.pack("<HH2sHL", tag.group, tag.element, pixels.VR.encode(), 0, length)


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
