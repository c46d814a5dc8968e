"""A study that the bundle accepts and that is of nobody: for its golden test."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.uid import MRImageStorage

from dicom_node.domain.images import SourceImages
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.volume import read_series

HEADERS = {
    "SOPClassUID": MRImageStorage,
    "Modality": "MR",
    "SeriesDescription": "T1 axial with contrast",
    "ContrastBolusAgent": "Gadolinium",
    "BodyPartExamined": "HEAD",
    "RescaleIntercept": "0",
    "RescaleType": "US",
}


def example() -> SourceImages:
    """Two slices of a phantom: enough to tell a change."""
    with TemporaryDirectory() as scratch:
        study = make_study(phantom(0, slices=2), attributes=HEADERS)
        return read_series(save_study(study, Path(scratch)))
