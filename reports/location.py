"""Where a segment lies: its centre, as a point in the patient or in an image (PS3.3 C.18)."""

import numpy as np
from highdicom.sr import (
    ContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
    Scoord3DContentItem,
    ScoordContentItem,
)
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from dicom_node.domain.findings import SegmentMask
from reports.case import Case

CENTER = codes.DCM.Center
"""Of the voxels: their mean position."""
CONTAINS = RelationshipTypeValues.CONTAINS


def center(case: Case, segment: SegmentMask, *, flat: bool = False) -> ContentItem:
    """The centre in millimetres of the patient; in an image where ``flat`` or without geometry."""
    index = segment.centroid
    place = None if flat else case.analysis.images.to_patient(index)
    if place is None:
        return _in_image(case, index)
    return Scoord3DContentItem(
        name=CENTER,
        graphic_type="POINT",
        graphic_data=np.array([place]),
        frame_of_reference_uid=case.sources.first.FrameOfReferenceUID,
        relationship_type=CONTAINS,
    )


def _in_image(case: Case, index: tuple[float, float, float]) -> ScoordContentItem:
    """On the nearest image; 0\\0 is the corner of the first pixel, not its middle."""
    frame, row, column = index
    reference = case.reference(round(frame))
    point: NDArray[np.float64] = np.array([[column + 0.5, row + 0.5]])
    item = ScoordContentItem(CENTER, "POINT", point, relationship_type=CONTAINS)
    image = ImageContentItem(
        name=codes.DCM.SourceImage,
        referenced_sop_class_uid=reference.sop_class_uid,
        referenced_sop_instance_uid=reference.sop_instance_uid,
        referenced_frame_numbers=reference.frame_number,
        relationship_type=RelationshipTypeValues.SELECTED_FROM,
    )
    item.ContentSequence = ContentSequence([image])
    return item
