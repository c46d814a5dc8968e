"""ResultWriter, and the order in which the results of an analysis are made."""

from collections.abc import Sequence
from typing import Protocol

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import DEFAULT_KINDS, ResultKind
from reports.case import Case
from reports.derived_images import DerivedImagesWriter
from reports.encapsulated_pdf import EncapsulatedPdfWriter
from reports.heat_colors import HeatColorsWriter
from reports.key_objects import KeyObjectsWriter
from reports.language import speaking
from reports.outlines import OutlinesWriter
from reports.parametric_map import ParametricMapWriter
from reports.secondary_capture import SecondaryCaptureWriter
from reports.segmentation import SegmentationWriter
from reports.structured_report import StructuredReportWriter


class ResultWriter(Protocol):
    """Makes the objects of one kind."""

    @property
    def kind(self) -> ResultKind:
        """What it makes; settings choose by it."""

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return the objects; ``earlier`` holds what the writers before it made."""


WRITERS: tuple[ResultWriter, ...] = (
    DerivedImagesWriter(),
    SegmentationWriter(),
    ParametricMapWriter(),
    SecondaryCaptureWriter(),
    OutlinesWriter(),
    HeatColorsWriter(),
    KeyObjectsWriter(),
    EncapsulatedPdfWriter(),
    StructuredReportWriter(),
    StructuredReportWriter(ResultKind.FLAT_REPORT),
    StructuredReportWriter(ResultKind.ENHANCED_REPORT),
)
"""The SR comes last: it refers to all others, and seen in a PACS it means a complete set."""
DEFAULT_WRITERS = tuple(writer for writer in WRITERS if writer.kind in DEFAULT_KINDS)


def write_results(
    case: Case, writers: Sequence[ResultWriter] = DEFAULT_WRITERS
) -> list[ResultInstance]:
    """Run the writers in order; the same analysis gives the same bytes every time.

    Raises ``UnsupportedGeometry`` where a source cannot be expressed in a class.
    """
    results: list[ResultInstance] = []
    with speaking(case.settings.language):
        for writer in writers:
            results.extend(writer.write(case, tuple(results)))
    return results
