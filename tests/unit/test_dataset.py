"""The structural check finds every lie about lengths, and never reads beyond a data set."""

import random
import struct
import tracemalloc
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from wire import element, encoded

from dicom_node.domain.errors import Refused
from dicom_node.receive.dataset import MAX_DEPTH, Identity, checked_uid, identify
from dicom_node.receive.head import Head


def data_set() -> Dataset:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    item = Dataset()
    item.PatientID = "inner"
    data.ReferencedStudySequence = Sequence([item, Dataset()])
    data.PatientName = "Doe^Jane"
    data.PixelData = b"\0" * 512
    data["PixelData"].VR = "OW"
    return data


def look(raw: bytes, syntax: str = ExplicitVRLittleEndian) -> Identity:
    implicit = syntax == ImplicitVRLittleEndian
    return identify(raw, syntax, implicit=implicit, little=syntax != ExplicitVRBigEndian)


def code(raw: bytes, syntax: str = ExplicitVRLittleEndian) -> str:
    with pytest.raises(Refused) as refused:
        look(raw, syntax)
    return refused.value.code


def look_while_it_comes(raw: bytes, first: int, syntax: str, size: int = 1 << 20) -> Identity:
    """As the listener does where a data set comes in fragments, so long behind the first."""
    implicit = syntax == ImplicitVRLittleEndian
    head = Head(raw[:first], implicit=implicit, little=syntax != ExplicitVRBigEndian)
    for start in range(first, len(raw), size):
        head.more(raw[start : start + size])
    return head.identify(None if head.is_all(len(raw)) else raw, syntax)


def outcome(looking: Callable[..., Identity], *given: object) -> Identity | str:
    try:
        return looking(*given)
    except Refused as refusal:
        return refusal.code


SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_answer_is_the_same_wherever_the_first_fragment_ends(syntax):
    raw = encoded(data_set(), syntax)
    for first in range(len(raw) + 1):
        assert look_while_it_comes(raw, first, syntax) == look(raw, syntax)
    for wrong in (raw[:-1], raw + b"\0" * 7, raw + element(0xFFFC, 0xFFFC, "OB", b"\0\0"), b""):
        for first in (0, 8, len(wrong) // 2, len(wrong)):
            whole = outcome(look, wrong, syntax)
            assert outcome(look_while_it_comes, wrong, first, syntax) == whole


def encapsulated(*items: bytes, end: bytes = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)) -> bytes:
    data = data_set()
    del data.PixelData
    framed = [struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items]
    value = b"".join(framed) + end
    return encoded(data) + element(0x7FE0, 0x0010, "OB", value, 0xFFFFFFFF)


ENCAPSULATED = encapsulated(b"", b"\xff\xd8" * 40, b"\xff\xd9" * 3)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 50])
def test_encapsulated_pixel_data_are_followed_while_they_come(size):
    syntax = ExplicitVRLittleEndian
    for first in range(0, len(ENCAPSULATED) + 1, 5):
        assert look_while_it_comes(ENCAPSULATED, first, syntax, size) == look(ENCAPSULATED)
    begin = ENCAPSULATED.rindex(struct.pack("<HHI", 0xFFFE, 0xE000, 0))
    head = Head(ENCAPSULATED[: begin + 4], implicit=False, little=True)
    for start in range(begin + 4, len(ENCAPSULATED), size):
        assert head.is_enough
        assert not head.is_all(start)
        head.more(ENCAPSULATED[start : start + size])
    assert head.is_all(len(ENCAPSULATED)), "nothing is read twice"


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "broken"])
def test_what_comes_behind_encapsulated_pixel_data_costs_nothing(ends):
    """Tiny fragments without end must not be collected."""
    raw = bytearray(ENCAPSULATED)
    if not ends:
        raw[-8:] = struct.pack("<HHI", 0x0010, 0x0010, 2)
    head = Head(bytes(raw[:-20]), implicit=False, little=True)
    head.more(bytes(raw[-20:]))
    tracemalloc.start()
    for _ in range(20_000):
        head.more(b"1234567")
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 5000


def icon(vr: str = "OB", fragment: bytes = b"\xff\xd8\xff\xd9") -> bytes:
    """An Icon Image Sequence whose pixel data are encapsulated (PS3.5 A.4), before the image's."""
    value = struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment)) + fragment
    pixels = element(0x7FE0, 0x0010, vr, value + END_OF_SEQUENCE, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(pixels)) + pixels
    return element(0x0088, 0x0200, "SQ", item)


END_OF_SEQUENCE = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def with_icon(raw: bytes, **of_icon: str) -> bytes:
    at = raw.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    return raw[:at] + icon(**of_icon) + raw[at:]


@pytest.mark.parametrize("raw", [encoded(data_set()), ENCAPSULATED], ids=["native", "encapsulated"])
def test_an_icon_may_be_encapsulated(raw):
    assert look(with_icon(raw)) == look(raw)
    assert code(with_icon(raw, vr="SQ")) == "UNPARSEABLE"
    assert code(with_icon(raw, vr="UN")) == "UNPARSEABLE"
    broken = with_icon(raw).replace(END_OF_SEQUENCE, b"\0" * 8, 1)
    assert code(broken) == "UNPARSEABLE"


def look_at_pieces(raw: bytes, cuts: list[int], syntax: str) -> Identity:
    """As the listener does with a data set that comes in these pieces."""
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    ends = [*sorted(cuts), len(raw)]
    head = Head(raw[: ends[0]], implicit=implicit, little=little)
    for start, end in pairwise(ends):
        head.more(raw[start:end])
    return head.identify(None if head.is_all(len(raw)) else raw, syntax)


@pytest.mark.parametrize("length", [512, 0xFFFFFFFF, 511, 600, 0])
@pytest.mark.parametrize("vr", ["OB", "OW", "SQ", "UN", "UT", "XX"])
def test_the_answer_to_any_kind_of_pixel_data_is_the_same_in_pieces(vr, length):
    data = data_set()
    del data.PixelData
    raw = encoded(data) + element(0x7FE0, 0x0010, "OB", bytes(512), length)
    raw = raw.replace(b"OB", vr.encode())
    whole = outcome(look, raw)
    for cut in range(0, len(raw), 3):
        assert outcome(look_at_pieces, raw, [cut], ExplicitVRLittleEndian) == whole


def test_the_last_element_counts_in_pieces_too():
    inner = b"".join(element(0x0009, n, "LO", b"") for n in range(60_000))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    head, pixels = encoded(data_set())[: -(512 + 12)], encoded(data_set())[-(512 + 12) :]
    outcomes = []
    for top in range(39_980, 40_000):
        more = b"".join(element(0x0009, n, "LO", b"") for n in range(top))
        data = element(0x0008, 0x1110, "SQ", item) + more + head + pixels
        outcomes.append(outcome(look, data))
        cut = [len(data) - 9]
        assert outcome(look_at_pieces, data, cut, ExplicitVRLittleEndian) == outcomes[-1]
    assert (outcomes[0], outcomes[-1]) == (look(encoded(data_set())), "ELEMENT_LIMIT")


@settings(max_examples=800, deadline=None)
@given(st.data(), st.sampled_from([*SYNTAXES, "encapsulated", "icon", "encapsulated icon"]))
def test_the_answer_is_the_same_however_a_data_set_is_cut(data, kind):
    raw = bytearray(samples()[kind])
    syntax = kind if kind in SYNTAXES else ExplicitVRLittleEndian
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        what = data.draw(st.sampled_from(TELLING) | st.binary(min_size=1, max_size=4))
        raw[at : at + len(what)] = what
    at = raw.find(data.draw(st.sampled_from([b"OB", b"OW"])))
    if at >= 0 and data.draw(st.booleans()):
        raw[at : at + 2] = data.draw(st.sampled_from([b"SQ", b"UN", b"US", b"OW", b"OB", b"OL"]))
    cuts = data.draw(st.lists(st.integers(0, len(raw)), min_size=1, max_size=8))
    whole = outcome(look, bytes(raw), syntax)
    assert outcome(look_at_pieces, bytes(raw), cuts, syntax) == whole


TELLING = [
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\xdd\xe0", b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0", b"\xe0\x7f\x10\x00", b"SQ\0\0", b"UN\0\0", b"OB\0\0",
]  # fmt: skip


@cache
def samples() -> dict[str, bytes]:
    plain = {syntax: encoded(data_set(), syntax) for syntax in SYNTAXES}
    explicit = plain[ExplicitVRLittleEndian]
    return plain | {
        "encapsulated": ENCAPSULATED,
        "icon": with_icon(explicit),
        "encapsulated icon": with_icon(ENCAPSULATED),
    }


@settings(max_examples=500, deadline=None)
@given(st.data(), st.sampled_from([*SYNTAXES, "encapsulated"]))
def test_the_answer_to_a_broken_data_set_is_the_same_in_fragments(data, kind):
    syntax = kind if kind in SYNTAXES else ExplicitVRLittleEndian
    raw = bytearray(encoded(data_set(), syntax) if kind in SYNTAXES else ENCAPSULATED)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    first, size = data.draw(st.integers(0, len(raw))), data.draw(st.integers(1, 100))
    whole = outcome(look, bytes(raw), syntax)
    assert outcome(look_while_it_comes, bytes(raw), first, syntax, size) == whole


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_a_whole_data_set_says_who_it_is(syntax, undefined):
    data = data_set()
    data["ReferencedStudySequence"].is_undefined_length = undefined
    for item in data.ReferencedStudySequence:
        item.is_undefined_length_sequence_item = undefined
    identity = look(encoded(data, syntax), syntax)
    assert identity == Identity("1.2.3", "1.2.3.1", "1.2.3.4", data.SOPClassUID, syntax)


def test_uids_inside_sequences_are_nobody_s():
    data = data_set()
    del data.StudyInstanceUID
    data.ReferencedStudySequence[0].StudyInstanceUID = "9.9"
    assert code(encoded(data)) == "UID_MISSING"


def test_an_empty_data_set():
    assert code(b"") == "NO_DATASET"


@pytest.mark.parametrize("cut", [1, 2, 100, 511])
def test_pixel_data_that_is_cut_off(cut):
    assert code(encoded(data_set())[:-cut]) == "TRUNCATED"


def test_every_cut_is_found():
    raw = encoded(data_set())
    accepted = []
    for end in range(len(raw)):
        try:
            look(raw[:end])
        except Refused:
            continue
        accepted.append(end)
    pixel_data = raw.index(struct.pack("<HH", 0x7FE0, 0x0010))
    assert all(end <= pixel_data for end in accepted)
    assert len(accepted) < 10


def test_a_length_past_the_end():
    raw = encoded(data_set())
    lie = element(0x0010, 0x0010, "PN", b"Doe", length=60000)
    assert code(lie + raw) == "LENGTH_OVERRUN"


def test_an_item_longer_than_its_sequence():
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 500) + b"\0" * 10
    assert code(element(0x0008, 0x1110, "SQ", item) + encoded(data_set())) == "LENGTH_OVERRUN"


def test_an_undefined_length_that_nobody_closes():
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    assert code(element(0x0008, 0x1110, "SQ", item, length=0xFFFFFFFF)) == "NO_DELIMITER"


def test_encapsulated_pixel_data_that_nobody_closes():
    fragments = struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"abcd"
    head = encoded(data_set())[: -(512 + 12)]
    pixels = element(0x7FE0, 0x0010, "OB", fragments, length=0xFFFFFFFF)
    assert code(head + pixels) == "NO_DELIMITER"
    closed = pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    assert look(head + closed).sop_instance_uid == "1.2.3.4"


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = element(0x0008, 0x1110, "SQ", item)
    return inner


def test_nesting_has_a_limit():
    assert code(nested(300)) == "DEPTH_LIMIT"
    assert code(nested(MAX_DEPTH - 1)) == "UID_MISSING"


def test_empty_items_have_a_limit():
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 400_000
    assert code(element(0x0008, 0x1110, "SQ", items)) == "ITEM_LIMIT"


def test_elements_have_a_limit():
    many = b"".join(element(0x0009, n % 65536, "LO", b"") for n in range(100_001))
    assert code(many) == "ELEMENT_LIMIT"


def test_elements_inside_items_count_too():
    inner = b"".join(element(0x0009, n % 65536, "LO", b"") for n in range(60_000))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    assert code(element(0x0008, 0x1110, "SQ", item) * 2) == "ELEMENT_LIMIT"


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\n\r\n", b"\x7fELF" + b"\0" * 100, b"MZ" * 50])
def test_what_is_no_dicom(raw):
    assert code(raw) in ("UNPARSEABLE", "LENGTH_OVERRUN", "TRUNCATED")


def test_another_encoding_than_negotiated():
    raw = encoded(data_set(), ImplicitVRLittleEndian)
    assert code(raw, ExplicitVRLittleEndian) == "UNPARSEABLE"
    with pytest.raises(Refused):
        look(encoded(data_set()), ImplicitVRLittleEndian)


def test_a_uid_given_twice():
    assert code(element(0x0008, 0x0018, "UI", b"1.2.3.9\0") + encoded(data_set())) == "UNPARSEABLE"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        encoded(data_set())[:-1],
        encoded(data_set()).replace(b"1.2.3.4", b"../../4"),
        element(0x0008, 0x0016, "UI", b"1.2\0"),
    ],
)
def test_a_refusal_says_who_must_do_what(raw):
    with pytest.raises(Refused, match="; the sender must"):
        look(raw)


@pytest.mark.parametrize("raw", [b"1.2.3\0", b"1.2.3 ", b"1.2.3\0\0\0", b"1.2.3"])
def test_padding_is_taken_off(raw):
    assert checked_uid(raw) == "1.2.3"


@pytest.mark.parametrize(
    "raw", [b"", b"../../x", b"/x", b"1.2\0.3", b"1..2", b".1", b"1.02", b"1.2a", b"1." + b"1" * 63]
)
def test_what_is_no_uid(raw):
    with pytest.raises(Refused) as refused:
        checked_uid(raw)
    assert refused.value.code == "UID_INVALID"
    assert refused.value.status == 0x0117


def test_padding_is_noted():
    data = encoded(data_set()).replace(b"UI\x08\x001.2.3.4\0", b"UI\x08\x001.2.3.4 ")
    assert look(data).padded


@pytest.mark.parametrize(
    ("tag", "reason"),
    [(0x0018, "UID_INVALID"), (0x0005, "UNPARSEABLE")],
    ids=["padded UID", "character set"],
)
def test_a_text_of_megabytes_is_refused_and_never_copied(tag, reason):
    """Padding was kept for as long as the listener ran, for each of 256 UIDs."""
    padding = b" " * (8 << 20)
    long = struct.pack("<HHI", 0x0008, tag, 6 + len(padding)) + b"1.2.3\0" + padding
    raw = encoded(data_set(), ImplicitVRLittleEndian)
    raw = long + raw.replace(struct.pack("<HHI", 0x0008, 0x0018, 8) + b"1.2.3.4\0", b"")
    tracemalloc.start()
    assert code(raw, ImplicitVRLittleEndian) == reason
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_answered(raw):
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        with pytest.raises(Refused):
            look(raw, syntax)


def test_any_mutation_is_answered():
    """Flips, cuts, insertions: either a known refusal or an identity, never another error."""
    rng = random.Random(20)
    raw = encoded(data_set())
    for _ in range(5000):
        mutant = bytearray(raw)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(mutant))
            kind = rng.randrange(3)
            if kind == 0:
                mutant[at] = rng.randrange(256)
            elif kind == 1:
                del mutant[at : at + rng.randint(1, 40)]
            else:
                mutant[at:at] = rng.randbytes(rng.randint(1, 20))
            if not mutant:
                break
        try:
            look(bytes(mutant))
        except Refused:
            continue


def test_a_delimiter_that_ends_nothing():
    raw = element(0xFFFE, 0xE0DD, "UN", b"")
    assert code(encoded(data_set()) + raw) == "UNPARSEABLE"
    implicit = encoded(data_set(), ImplicitVRLittleEndian)
    assert code(implicit + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), ImplicitVRLittleEndian) == (
        "UNPARSEABLE"
    )


@pytest.mark.parametrize("nested", [False, True])
def test_a_character_set_that_no_library_can_look_up(nested):
    data = data_set()
    raw = element(0x0008, 0x0005, "CS", b"ISO\0\0100")
    if nested:
        item = element(0xFFFE, 0xE000, "UN", b"")[:4] + struct.pack("<I", len(raw)) + raw
        raw = element(0x0008, 0x1110, "SQ", item)
        del data.ReferencedStudySequence
    assert code(raw + encoded(data)) == "UNPARSEABLE"
    assert look(element(0x0008, 0x0005, "CS", b"ISO_IR 100\0\0") + encoded(data_set()))


@pytest.mark.parametrize("vr", ["UN", "SQ"])
def test_encapsulated_pixel_data_of_another_kind(vr):
    data = data_set()
    del data.PixelData
    fragment = struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"\xff\xd8\xff\xd9"
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    raw = element(0x7FE0, 0x0010, vr, fragment + end, 0xFFFFFFFF)
    assert code(encoded(data) + raw) == "UNPARSEABLE"
    assert look(encoded(data) + raw.replace(vr.encode(), b"OB", 1))


@pytest.mark.parametrize("number", [0x0005, 0x0018])
def test_a_character_set_or_uid_that_is_a_number(number):
    data = data_set()
    del data.SOPInstanceUID
    assert code(element(0x0008, number, "SS", b"1.2.3.4.") + encoded(data)) == "UNPARSEABLE"
