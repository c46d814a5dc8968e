"""ResultWriter, and the order in which the results of an analysis are made."""

from collections.abc import Sequence
from typing import Protocol

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import DEFAULT_KINDS, REFERRING, ResultKind
from reports.case import Case
from reports.derived_images import DerivedImagesWriter
from reports.encapsulated_pdf import EncapsulatedPdfWriter
from reports.heat_colors import HeatColorsWriter
from reports.key_objects import KeyObjectsWriter
from reports.language import speaking
from reports.outlines import OutlinesWriter
from reports.parametric_map import ParametricMapWriter
from reports.readers import Readers
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
    case: Case,
    writers: Sequence[ResultWriter] = DEFAULT_WRITERS,
    readers: Sequence[Readers] = (),
) -> list[ResultInstance]:
    """Run the writers in order; the same analysis gives the same bytes every time.

    What names other results is written for each of ``readers``, of what they get; without readers
    once, of all. Raises ``UnsupportedGeometry`` where a source cannot be expressed in a class.
    """
    with speaking(case.settings.language):
        results = _written(case, [w for w in writers if not readers or w.kind not in REFERRING])
        plain = tuple(results)
        for each in readers:
            results += _for_readers(case, writers, each, plain)
    return results


def _written(case: Case, writers: Sequence[ResultWriter]) -> list[ResultInstance]:
    results: list[ResultInstance] = []
    for writer in writers:
        results.extend(writer.write(case, tuple(results)))
    return results


def _for_readers(
    case: Case, writers: Sequence[ResultWriter], readers: Readers, plain: Sequence[ResultInstance]
) -> list[ResultInstance]:
    """What names other results, in the order of writing."""
    kinds = [writer.kind for writer in writers]
    seen, own = [result for result in plain if result.kind in readers.kinds], readers.case(case)
    results: list[ResultInstance] = []
    for writer in writers:
        if writer.kind in readers.kinds & REFERRING:
            earlier = sorted([*seen, *results], key=lambda result: result.kind.rank)
            results += [readers.own(each, case, kinds) for each in writer.write(own, earlier)]
    return results
