"""The bytes of a result are those that pydicom writes, whoever puts them together."""

from io import BytesIO

import analyses
from pydicom import dcmwrite

from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.writer import WRITERS, write_results


def test_pixels_that_are_joined_on_are_where_pydicom_puts_them() -> None:
    given = analyses.analysis(phantom(7, slices=4, size=64))
    named = analyses.with_text(given, {"PatientName": "山田^太郎"})
    for result in write_results(Case(named), WRITERS):
        ours = dataset_bytes(result.dataset)
        theirs = BytesIO()
        dcmwrite(theirs, result.dataset, enforce_file_format=True)
        assert ours == theirs.getvalue(), result.kind
