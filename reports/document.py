"""What makes a tree of content an SR document (PS3.3 C.17.1, C.17.2), in one of its forms.

By hand, for highdicom's constructors copy the whole tree, and search it twice for references.
"""

from collections.abc import Iterable, Mapping

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from dicom_node.domain.delivery import ResultKind
from reports.identity import code_item, identify, stated_codes
from reports.predecessors import name_predecessors
from reports.references import Reference, hierarchical
from reports.requests import referenced_requests
from reports.subject import Subject
from reports.verdict import name_our_codes

FORMS: Mapping[ResultKind, UID] = {
    ResultKind.STRUCTURED_REPORT: Comprehensive3DSRStorage,
    ResultKind.FLAT_REPORT: ComprehensiveSRStorage,
    ResultKind.ENHANCED_REPORT: EnhancedSRStorage,
}


def document(
    subject: Subject,
    kind: ResultKind,
    content: Dataset,
    evidence: Iterable[Reference],
    predecessors: tuple[Reference, ...],
) -> Dataset:
    """Complete, preliminary, and verified by nobody; ``evidence`` is all that the tree refers to.

    ``content`` is the root of the tree.
    """
    dataset = Dataset()
    dataset.update(content)
    dataset.SOPClassUID = FORMS[kind]
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    performed = stated_procedures(subject.sources.first)
    dataset.PerformedProcedureCodeSequence = [code_item(code) for code in performed]
    dataset.ReferencedPerformedProcedureStepSequence = []
    if requests := referenced_requests(subject):
        dataset.ReferencedRequestSequence = requests
    dataset.CurrentRequestedProcedureEvidenceSequence = hierarchical(evidence)
    identify(dataset, subject, kind)
    name_predecessors(dataset, predecessors)
    name_our_codes(dataset, content.ContentSequence)
    return dataset


def stated_procedures(source: Dataset) -> list[Code]:
    """The codes of the procedure that the source states."""
    return stated_codes(source, "ProcedureCodeSequence")
