"""The rejection note: a Key Object Selection that takes results back (IHE IOCM, TID 2010)."""

import re
from dataclasses import dataclass
from datetime import datetime

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    CodeContentItem,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.provenance import Provenance
from reports.identity import identify, instance_uid, series_uid
from reports.language import _, speaking
from reports.settings import ReportSettings
from reports.source import UTF8, Sources
from reports.structured_report import observer
from reports.subject import Maker, study_time
from reports.text import clean

TITLE = codes.DCM.RejectedForQualityReasons
"""Of CID 7010 the one that fits a wrong result: the archive hides it, but keeps it for those who
watch over the model. Patient safety (113037) would say that patient or side were mixed up, the
worklist entry (113038) that it was made for another order, retention (113039) that it is old."""
MODIFIER = codes.cid7011.InappropriateImageProcessing
"""CID 7011, which TID 2010 demands beside this title."""
COMPONENTS = 5
"""Of a name: family, given, middle, prefix, suffix."""
MOST_OF_NAME = 60


@dataclass(frozen=True)
class Rejection:
    """Results that a reader rejected."""

    sent: tuple[Dataset, ...]
    """Their data sets, at least one; pixels may be left out."""
    reader: str
    comment: str
    rejected_at: datetime
    sources: Sources
    maker: Maker
    provenance: Provenance
    settings: ReportSettings

    @property
    def made_at(self) -> datetime:
        """See ``Subject``."""
        return study_time(self.rejected_at, self.sources.first)


def rejection_note(rejection: Rejection, index: int = 0) -> ResultInstance:
    """Refer to everything that was sent, in the order of sending.

    ``index`` counts the notes of one rejection: destinations may have got different results.
    """
    with speaking(rejection.settings.language):
        return ResultInstance(ResultKind.REJECTION_NOTE, _document(rejection, index))


def _document(rejection: Rejection, index: int) -> Dataset:
    dataset: Dataset = KeyObjectSelectionDocument(
        evidence=rejection.sent,
        content=_content(rejection),
        series_instance_uid=series_uid(rejection, ResultKind.REJECTION_NOTE),
        series_number=1,
        sop_instance_uid=instance_uid(rejection, ResultKind.REJECTION_NOTE, index),
        instance_number=1,
        manufacturer=rejection.maker.manufacturer,
        specific_character_set=UTF8,
    )
    for item in dataset.ContentSequence[-len(rejection.sent) :]:
        del item.ConceptNameCodeSequence  # TID 2010 rows 8 and 10: references have no name
    identify(dataset, rejection, ResultKind.REJECTION_NOTE, index)
    return dataset


def _content(rejection: Rejection) -> KeyObjectSelection:
    content = KeyObjectSelection(
        document_title=TITLE,
        referenced_objects=rejection.sent,
        observer_person_context=_reader(rejection.reader),
        observer_device_context=observer(rejection.maker),
        description=clean(_("Rejected by a reader. {}").format(rejection.comment), 1000),
    )
    modifier = CodeContentItem(
        codes.DCM.DocumentTitleModifier, MODIFIER, RelationshipTypeValues.HAS_CONCEPT_MOD
    )
    content[0].ContentSequence.insert(0, modifier)
    return content


def _reader(name: str) -> ObserverContext | None:
    """Who rejected; nobody where no letter is left, for then the model is the only observer."""
    written = _person_name(clean(name, MOST_OF_NAME))
    if not written:
        return None
    attributes = PersonObserverIdentifyingAttributes(name=written)
    return ObserverContext(codes.DCM.Person, attributes)


def _person_name(text: str) -> str:
    """What a person typed, as a PN of one component group (PS3.5 section 6.2.1).

    ``Family, Given``, or components as DICOM writes them; what parts values and groups is no
    letter of a name.
    """
    line = " ".join(re.sub(r"[\\=]", " ", text).split())
    typed = line.split("^", COMPONENTS - 1) if "^" in line else line.split(", ", 1)
    components = [component.replace("^", " ").strip() for component in typed]
    return "^".join(components).rstrip("^")
