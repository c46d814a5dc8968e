"""An association request that comes again is not decoded again, and gets the same answer."""

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from wire import request

from dicom_node.receive.admission import supported_contexts
from dicom_node.receive.negotiation import accept, read_request


def answer(pdu: bytes):
    return accept(read_request(pdu), supported_contexts(), 65536)


def test_the_same_bytes_are_the_same_request():
    assert read_request(request()) is read_request(bytes(bytearray(request())))


@pytest.mark.parametrize(
    "other",
    [request((MRImageStorage, [ExplicitVRLittleEndian])), request(calling="ANOTHER")],
    ids=["class", "title"],
)
def test_what_differs_in_anything_is_another(other):
    assert read_request(other) is not read_request(request())
    assert answer(other) != answer(request())


def test_what_is_accepted_is_what_was_asked():
    accepted = answer(request((CTImageStorage, [ExplicitVRLittleEndian]))).accepted
    assert {s.abstract for s in accepted.values()} == {CTImageStorage}


def test_what_cannot_be_decoded_is_refused_each_time():
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be decoded"):
            read_request(request()[:-3])
