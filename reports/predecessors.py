"""What a document takes the place of (PS3.3 C.17.2, C.24.2)."""

from collections.abc import Collection

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
)

from reports.identity import code_item
from reports.references import Reference, hierarchical

REPORTS = frozenset({Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage})
DOCUMENTS = frozenset({EncapsulatedPDFStorage})


def name_predecessors(document: Dataset, earlier: Collection[Reference]) -> None:
    """Write those of the same kind into an SR or an encapsulated document, as replaced by it.

    An archive holds one form of a report: the SR names earlier SRs of its own form, if there are.
    """
    kind = DOCUMENTS if document.SOPClassUID in DOCUMENTS else REPORTS
    of_kind = [reference for reference in earlier if reference.sop_class_uid in kind]
    same_form = [r for r in of_kind if r.sop_class_uid == document.SOPClassUID]
    same = same_form or of_kind
    if same:
        purpose = code_item(codes.DCM.ReplacedReport)
        document.PredecessorDocumentsSequence = hierarchical(same, purpose)
