"""Seeded damage to what a sender says: to its bytes as a whole, or to the data set inside."""

import random
import struct
from itertools import pairwise
from typing import Any

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from wire import RELEASE_RQ, command, element, encoded, pdv, request

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit
)  # fmt: skip
OTHER = dict(zip(SYNTAXES, SYNTAXES[1:] + SYNTAXES[:1], strict=True))
TELLING = (
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xfe\xff\xdd\xe0",
    b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"SQ\0\0", b"UN\0\0", b"../", b"\\",
)  # fmt: skip


def sample(syntax: str) -> bytes:
    """A data set with what parsers trip over: sequences, private elements, fragments, text."""
    inner = Dataset()
    inner.CodeValue, inner.CodeMeaning = "1", "Müller"
    outer = Dataset()
    outer.ConceptNameCodeSequence = Sequence([inner])
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    data.PatientName, data.PatientID, data.StudyDate = "Müller^A", "P-1", "20260131"
    data.ContentSequence = Sequence([outer, outer])
    data["ContentSequence"].is_undefined_length = True
    data.Rows = data.Columns = 8
    data.PixelSpacing = ["0.5", "0.5"]
    data.add_new(0x00090010, "LO", "MAKER")
    data.add_new(0x00091001, "UN", b"secret")
    data.PixelData = bytes(128)
    data["PixelData"].VR = "OW"
    if syntax == JPEGBaseline8Bit:
        data.PixelData = encapsulate([b"\xff\xd8" + bytes(60) + b"\xff\xd9"])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
    return encoded(data, syntax)


SAMPLES = {syntax: sample(syntax) for syntax in SYNTAXES}
REQUESTS = {
    syntax: request(*((CTImageStorage, [s]) for s in (syntax, OTHER[syntax])))
    for syntax in SYNTAXES
}
"""Context 1 is of the syntax, context 3 of another."""
RELEASE = struct.pack(">BxI4x", RELEASE_RQ, 4)


def hostile(seed: int) -> bytes:
    """All that one connection says."""
    chance = random.Random(seed)
    syntax = chance.choice(SYNTAXES)
    begin, data = REQUESTS[syntax], SAMPLES[syntax]
    if chance.random() < 0.7:
        return begin + said(chance, mutated(chance, data)) + RELEASE
    return mutated(chance, begin + said(chance, data) + RELEASE)


NAMES = (
    "../../escaped", "/tmp/escaped", "..\\..\\escaped", "~/escaped", "file:///tmp/escaped", "..",
    ".", "~", "-rf", "$(touch escaped)", "|touch escaped", "%2e%2e%2fescaped", "a\0../escaped",
    "a\n../escaped", "CON", "escaped.py", "x" * 64,
)  # fmt: skip
"""What harms whoever makes a path, a command or a module of it."""
CODINGS = ("zlib", "idna", "unicode_escape", "ISO 2022 IR 87\\ISO 2022 IR 999", "ISO_IR 192")


def misnamed(seed: int) -> tuple[bytes, bytes]:
    """A request and a C-STORE whose titles, UIDs, character sets and texts are such names."""
    chance = random.Random(seed)
    begin = bytearray(REQUESTS[ExplicitVRLittleEndian])
    begin[26:42] = _name(chance, "MODALITY").encode()[:16].ljust(16)
    sop, study, series = (_name(chance, uid, 0.15) for uid in (f"1.2.3.{seed}", "1.2.3", "1.2.3.1"))
    values = (
        (0x0008, 0x0005, "CS", _name(chance, chance.choice(CODINGS))),
        (0x0008, 0x0016, "UI", CTImageStorage), (0x0008, 0x0018, "UI", sop),
        (0x0010, 0x0010, "PN", _name(chance, "A")), (0x0010, 0x0020, "LO", _name(chance, "1")),
        (0x0020, 0x000D, "UI", study), (0x0020, 0x000E, "UI", series),
    )  # fmt: skip
    data = b"".join(element(*where, _even(value)) for *where, value in values)
    return bytes(begin), pdv(command(sop_instance=sop), command=True) + pdv(data)


def _name(chance: random.Random, ordinary: str, often: float = 0.6) -> str:
    return chance.choice(NAMES) if chance.random() < often else ordinary


def _even(value: str) -> bytes:
    raw = value.encode()
    return raw + b"\0" * (len(raw) % 2)


def said(chance: random.Random, data: bytes) -> bytes:
    """A C-STORE in pieces, now and then with one of them on another context than the rest."""
    pdus = in_pieces(chance, command(), command=True) + in_pieces(chance, data)
    if chance.random() < 0.2:
        pdus[chance.randrange(len(pdus))] |= {"context": chance.choice((3, 3, 5))}
    return b"".join(pdv(**pdu) for pdu in pdus)


def in_pieces(chance: random.Random, data: bytes, **of_all: object) -> list[dict[str, Any]]:
    """What ``pdv`` makes of it: whole, or in up to eight pieces, some perhaps empty."""
    places = [chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 2, 7)))]
    ends = [0, *sorted(places), len(data)]
    pieces = [{"data": data[a:b], "last": False, **of_all} for a, b in pairwise(ends)]
    pieces[-1]["last"] = True
    return pieces


def mutated(chance: random.Random, data: bytes) -> bytes:
    """One to six changes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        chance.choice(CHANGES)(chance, changed)
    return bytes(changed)


def _flip(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _overwrite(chance: random.Random, data: bytearray) -> None:
    place = chance.randrange(len(data) + 1)
    what = chance.choice(TELLING) if chance.random() < 0.6 else chance.randbytes(4)
    data[place : place + len(what)] = what


def _insert(chance: random.Random, data: bytearray) -> None:
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.choice((chance.choice(TELLING), chance.randbytes(9), bytes(300)))


def _remove(chance: random.Random, data: bytearray) -> None:
    place = chance.randrange(len(data) + 1)
    del data[place : place + chance.choice((1, 2, 4, 8, 40))]


def _repeat(chance: random.Random, data: bytearray) -> None:
    place = chance.randrange(len(data) + 1)
    data[place:place] = data[place : place + chance.choice((2, 8, 60))] * chance.choice((1, 2, 50))


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(len(data) + 1) :]


CHANGES = (_flip, _flip, _overwrite, _overwrite, _insert, _remove, _repeat, _cut)
