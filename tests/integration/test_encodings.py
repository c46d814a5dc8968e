"""Every transfer syntax ends where the catalogue says, by C-STORE and as a file."""

import struct
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from door import Door, open_door
from pydicom import dcmread
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)
from pynetdicom.pdu import A_ASSOCIATE_AC
from typer.testing import CliRunner
from wire import AC, command, element, pdv, request

from dicom_node.cli import app
from dicom_node.decoders import COMPRESSED, NATIVE
from dicom_node.doctor import Health, accepted, examine
from dicom_node.domain.errors import DatasetMismatch, Unusable
from dicom_node.ledger import Ledger
from dicom_node.receive.admission import supported_contexts
from dicom_node.receive.intake import Intake, Outcome
from dicom_node.receive.notices import IAN
from dicom_node.receive.part10 import check_file
from dicom_node.send.cstore import MOST_KINDS, Answer, Peer, send
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study
from workers.pixels import planes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
HERE = "dicom-pydicom/test_files"
TAKEN = {
    "implicit": f"{HERE}/MR_small_implicit.dcm",
    "big endian": f"{HERE}/MR_small_bigendian.dcm",
    "RLE": f"{HERE}/MR_small_RLE.dcm",
    "JPEG Lossless": "dicom-dicom2nifti/generic/compressed_jpeg/001/IM-0001-0001-0001.dcm",
    "JPEG-LS": f"{HERE}/MR_small_jpeg_ls_lossless.dcm",
    "JPEG-LS, near": f"{HERE}/JPEGLSNearLossless_16.dcm",
    "JPEG 2000 lossless": f"{HERE}/MR_small_jp2klossless.dcm",
    "JPEG 2000": f"{HERE}/JPEG2000.dcm",
    "JPEG Extended": f"{HERE}/JPGExtended.dcm",
    "JPEG Baseline": f"{HERE}/SC_rgb_jpeg_gdcm.dcm",
    "HTJ2K lossless": "HTJ2KLossless_08_RGB.dcm",
    "HTJ2K": "HTJ2K_08_RGB.dcm",
}
COLOUR = ("JPEG Baseline", "HTJ2K lossless", "HTJ2K")
GREY = [name for name in TAKEN if name not in (*COLOUR, "JPEG Extended")]
PRIVATE, JPIP = "1.2.840.113619.5.2", "1.2.840.10008.1.2.4.94"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def found(shared_data: Path, name: str) -> Path:
    path = shared_data / name
    return path if path.exists() else next(shared_data.rglob(Path(name).name))


def whole(path: Path, folder: Path) -> Path:
    """The file, or a copy of one that lacks the UIDs of its study."""
    data = dcmread(path)
    if "StudyInstanceUID" in data:
        return path
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    data.save_as(folder / path.name)
    return folder / path.name


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with open_door(tmp_path) as opened:
        yield opened


def peer(door: Door) -> Peer:
    return Peer("127.0.0.1", door.settings.port, door.settings.ae_title, "MODALITY")


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[tuple[Intake, Ledger]]:
    (tmp_path / "files").mkdir()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'files' / 'ledger.sqlite3'}")
    yield (
        Intake(InstanceStore(tmp_path / "files" / "store"), ledger, reserve_mib=1, role="import"),
        ledger,
    )
    ledger.close()


def take(intake: Intake, raw: bytes) -> Outcome:
    draft = intake.draft()
    draft.write(raw)
    return intake.take(draft, source="IMPORT")


def test_the_doctor_lists_what_the_door_accepts(tmp_path):
    said = list(examine(Settings(data_dir=tmp_path)))
    (storage,) = (check.found for check in said if check.what == "storage")
    sound = {check.what for check in said if check.health is Health.OK}
    listed = [uid for uid, name in COMPRESSED.items() if f"decode {name}" in sound]
    listed += [uid for uid in NATIVE if uid.name in storage]
    contexts = {c.abstract_syntax: c.transfer_syntax for c in supported_contexts()}
    assert set(contexts[CTImageStorage]) == set(listed)
    assert storage.startswith(f"{len(contexts) - 1} SOP classes"), "all but Verification"


@pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "library"])
def test_the_doctor_lists_the_classes_and_syntaxes_that_are_negotiated(tmp_path, fast_path):
    """Each class in each syntax, and none that is not listed."""
    settings = Settings(data_dir=tmp_path, completeness={"expect": ["MPPS"]})
    listed = {
        (uid, syntax) for syntaxes, uids in accepted(settings).items()
        for uid in uids for syntax in syntaxes
    }  # fmt: skip
    classes = sorted({uid for uid, _ in listed} | {IAN, "1.2.3.4.5"})
    syntaxes = [*NATIVE, *COMPRESSED, DeflatedExplicitVRLittleEndian, JPIP, PRIVATE]
    with open_door(tmp_path, expect=["MPPS"], fast_path=fast_path) as door:
        negotiated = {
            (uid, syntax)
            for syntax in syntaxes
            for some in batched(classes, MOST_KINDS)
            for uid in granted(door, some, syntax)
        }
    assert negotiated == listed


def granted(door: Door, classes: Sequence[str], syntax: str) -> set[str]:
    """The SOP classes that the door accepts in a transfer syntax."""
    with door.wire() as wire:
        wire.send(request(*((uid, [syntax]) for uid in classes)))
        answer = wire.receive()
        assert answer is not None
        kind, body = answer
        assert kind == AC
        pdu = A_ASSOCIATE_AC()
        pdu.decode(struct.pack(">BxI", kind, len(body)) + body)
        results = {item.context_id: item.result for item in pdu.presentation_context}
    return {uid for n, uid in enumerate(classes) if results[2 * n + 1] == 0}


def batched(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def test_the_doctor_says_the_name_and_the_uid_of_each():
    said = CliRunner().invoke(app, ["doctor", "--classes"])
    assert said.exit_code == 0
    lines = [line.split(maxsplit=1) for line in said.output.splitlines()]
    for uid in {uid for pair in accepted(Settings()).items() for group in pair for uid in group}:
        assert [uid, UID(uid).name] in lines


@pytest.mark.shared
@pytest.mark.parametrize("name", TAKEN)
def test_what_this_install_decodes_is_kept_as_it_came_and_twice_the_same(
    door, intake, shared_data, tmp_path, name
):
    """Both doors make the same file of it: sent twice, it is one instance."""
    path = whole(found(shared_data, TAKEN[name]), tmp_path)
    sent = dcmread(path)
    (outcome,) = send(peer(door), [path])
    assert outcome.answer is Answer.SENT
    (study,) = door.arrived(1)
    (received,) = door.ledger.studies.instances(study.study_instance_uid)
    stored = door.store.file(received).open().read()
    assert received.transfer_syntax_uid == sent.file_meta.TransferSyntaxUID
    assert dcmread(door.store.file(received).open()).PixelData == sent.PixelData
    taken, ledger = intake
    assert take(taken, stored).code == "NEW"
    assert ledger.studies.instances(study.study_instance_uid) == [
        replace(received, pack="", pack_offset=0)
    ]
    assert take(taken, path.read_bytes()).status == 0


@pytest.mark.shared
@pytest.mark.parametrize("name", GREY)
def test_its_pixels_are_read(shared_data, name):
    data = dcmread(found(shared_data, TAKEN[name]))
    assert {plane.shape for plane in planes(data)} == {(data.Rows, data.Columns)}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "code"), [("JPEG Extended", "DECODER"), *((name, "UNSUPPORTED") for name in COLOUR)]
)
def test_or_the_reason_is_told(shared_data, name, code):
    """12 bits of JPEG Extended are more than the decoders take; colour is for no model."""
    with pytest.raises(Unusable) as caught:
        list(planes(dcmread(found(shared_data, TAKEN[name]))))
    assert caught.value.code == code


@pytest.mark.shared
def test_17_deflated_is_refused_at_the_door_and_inflated_from_a_file(door, intake, shared_data):
    path = found(shared_data, f"{HERE}/image_dfl.dcm")
    (outcome,) = send(peer(door), [path])
    assert outcome.answer is not Answer.SENT
    door.said("NO_SYNTAX")
    taken, ledger = intake
    assert take(taken, path.read_bytes()).code == "NEW"
    (study,) = ledger.studies.receiving()
    (instance,) = ledger.studies.instances(study.study_instance_uid)
    assert instance.transfer_syntax_uid == ExplicitVRLittleEndian


@pytest.mark.parametrize(
    "syntax",
    [
        DeflatedExplicitVRLittleEndian,
        JPIP,
        PRIVATE,
        DEFLATED_FRAMES,
    ],
    ids=["deflated", "JPIP", "GE private", "deflated frames"],
)
def test_17_a_syntax_that_nothing_here_decodes_is_refused_at_the_door(door, syntax):
    with door.wire() as wire:
        assert wire.associate((CTImageStorage, [syntax])) == AC
        wire.send(pdv(command(), command=True))
        assert wire.is_closed(3)
    door.said("NO_SYNTAX")


@pytest.mark.parametrize("syntax", [JPIP, PRIVATE, DEFLATED_FRAMES])
def test_17_a_syntax_that_nothing_here_decodes_is_refused_as_a_file(intake, syntax):
    (data,) = make_study(phantom(1, slices=1, size=16, lesions=0))
    raw = file_bytes(data)
    start = raw.index(b"\x02\0\x10\0UI")
    length = int.from_bytes(raw[start + 6 : start + 8], "little")
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    size = len(value).to_bytes(2, "little")
    raw = raw[: start + 6] + size + value + raw[start + 8 + length :]
    outcome = take(intake[0], raw)
    assert (outcome.status, outcome.code) == (0xC122, "NO_SYNTAX")


def deflated_head() -> tuple[bytes, bytes]:
    """Of a file in deflated explicit VR little endian, and the data set behind it, not deflated."""
    (data,) = make_study(phantom(1, slices=1, size=16, lesions=0))
    file = check_file(file_bytes(data))
    explicit, deflated = (
        b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99"
    )  # fmt: skip
    return file.head.replace(explicit, deflated), bytes(file.data)


@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH])
def test_26_a_deflated_file_that_is_cut_off(intake, flush):
    """At a flush between two elements, so that what is left of it seems whole."""
    head, data = deflated_head()
    pixels = data.rindex(b"\xe0\x7f\x10\x00")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    cut = deflate.compress(data[:pixels]) + deflate.flush(flush)
    whole = cut + deflate.compress(data[pixels:]) + deflate.flush()
    for wrong in (cut, whole[:-1]):
        outcome = take(intake[0], head + wrong)
        assert (outcome.status, outcome.code) == (0xC000, "TRUNCATED")
    assert take(intake[0], head + whole + b"\0").status == 0


def test_a_deflated_file_is_inflated_in_pieces():
    head, data = deflated_head()
    large = element(0x0009, 0x1001, "OB", bytes(100 << 20))
    deflated = zlib.compress(data[: data.index(b"\x10\x00\x10\x00")] + large, 1, -zlib.MAX_WBITS)
    tracemalloc.start()
    with pytest.raises(DatasetMismatch):
        check_file(head + deflated)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20


def test_a_bomb_is_refused_as_a_file(intake):
    head, _ = deflated_head()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(300)) + deflate.flush()
    assert len(bomb) < 1 << 20
    outcome = take(intake[0], head + bomb)
    assert (outcome.status, outcome.code) == (0xA700, "INSTANCE_SIZE")
