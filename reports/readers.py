"""Who reads results together: what names other results is written for those who get them."""

from collections.abc import Collection
from copy import copy
from dataclasses import dataclass, replace

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind, audience
from reports.case import Case
from reports.identity import instance_uid
from reports.references import Reference


@dataclass(frozen=True, slots=True)
class Readers:
    """Destinations that get the same kinds, but for the form of the report."""

    kinds: frozenset[ResultKind]
    """All that one of them gets."""
    names: tuple[str, ...] = ()
    predecessors: tuple[Reference, ...] = ()
    """Those that one of them was to get."""

    def case(self, case: Case) -> Case:
        """The same for them, with what was made of it already."""
        own = copy(case)
        vars(own)["predecessors"] = self.predecessors
        return own

    def own(self, made: ResultInstance, case: Case, of: Collection[ResultKind]) -> ResultInstance:
        """A result for them alone; who gets less than others has one of another UID."""
        told = audience(self.kinds)
        if told != audience(of):
            dataset, variant = made.dataset, f"|for {' '.join(sorted(told))}"
            index = int(dataset.InstanceNumber) - 1
            dataset.SOPInstanceUID = instance_uid(case, made.kind, index, variant)
        return replace(made, readers=self.names)
