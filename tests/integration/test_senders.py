"""Studies from real senders, over the network: each is closed once all of it is here, however it
comes; the sweep's clock is moved by the test."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from door import Door, open_door
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from sqlalchemy import func, select
from world import DEADLINE_S, QUIET_S, World, state_of

from dicom_node.ledger.schema import instance
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

STEP_S = 10


class Ward:
    """A door, and the sweep behind it."""

    def __init__(self, door: Door, folder: Path, **completeness: Any) -> None:
        self.door = door
        self.world = World(folder, **completeness)
        self.sent = 0

    @contextmanager
    def association(self) -> Iterator[Any]:
        settings = self.door.settings
        context = build_context(CTImageStorage, ExplicitVRLittleEndian)
        opened = AE("MODALITY").associate("127.0.0.1", settings.port, [context], settings.ae_title)
        assert opened.is_established
        yield opened
        opened.release()

    def store(self, association: Any, images: Sequence[Dataset]) -> None:
        """C-STORE; on return the sweep has seen them."""
        assert {association.send_c_store(data).Status for data in images} <= {0}
        self.arrive(len(images))

    def arrive(self, count: int) -> None:
        """Wait for the rows of so many more images."""
        self.sent += count
        deadline = time.monotonic() + 10
        while self.arrivals() < self.sent:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.world.sweep.once()

    def arrivals(self) -> int:
        with self.door.ledger.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(instance)) or 0

    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds, step=STEP_S)

    def state(self, study: Sequence[Dataset]) -> str:
        return str(state_of(self.world, study)["state"])

    def jobs(self, study: Sequence[Dataset]) -> list[Any]:
        page = self.world.ledger.pages.study(study[0].StudyInstanceUID)
        assert page is not None
        return [self.world.ledger.jobs.get(row["id"]) for row in page.jobs]

    def images(self, study: Sequence[Dataset]) -> list[int]:
        """How many images each job of the study reads."""
        return [len(job.inputs[0].instances) for job in self.jobs(study)]


@pytest.fixture
def open_ward(tmp_path: Path) -> Iterator[Callable[..., Ward]]:
    wards = []
    with open_door(tmp_path) as door:

        def make(**completeness: Any) -> Ward:
            wards.append(Ward(door, tmp_path, **completeness))
            return wards[-1]

        yield make
        for ward in wards:
            ward.world.close()


def new_study(seed: int = 1, slices: int = 6) -> list[Dataset]:
    return make_study(phantom(seed, slices=slices, size=16, lesions=0))


def test_several_associations_make_one_study(open_ward):
    ward, study = open_ward(), new_study()
    with ward.association() as first, ward.association() as second:
        ward.store(first, study[:2])
        ward.store(second, study[2:4])
    ward.pass_time(QUIET_S - STEP_S)
    with ward.association() as third:
        ward.store(third, study[4:])
    ward.pass_time(QUIET_S - STEP_S)
    assert ward.state(study) == "RECEIVING"
    ward.pass_time(STEP_S)
    assert ward.state(study) == "ROUTED"
    assert ward.images(study) == [6]


def test_interleaved_studies_are_closed_each_in_its_time(open_ward):
    ward, one, two = open_ward(), new_study(1), new_study(2)
    with ward.association() as association:
        for left, right in zip(one[:5], two[:5], strict=True):
            ward.store(association, [left, right])
        ward.store(association, one[5:])
        ward.pass_time(QUIET_S - STEP_S)
        ward.store(association, two[5:])
        ward.pass_time(STEP_S)
        assert (ward.state(one), ward.state(two)) == ("ROUTED", "RECEIVING")
    ward.pass_time(QUIET_S)
    assert (ward.images(one), ward.images(two)) == ([6], [6])


def test_a_slow_sender_is_waited_for(open_ward):
    ward, study = open_ward(), new_study()
    with ward.association() as association:
        for data in study:
            ward.store(association, [data])
            ward.pass_time(QUIET_S - STEP_S)
            assert ward.state(study) == "RECEIVING"
    ward.pass_time(STEP_S)
    assert ward.images(study) == [6]


def test_an_association_that_ends_or_breaks_closes_nothing(open_ward):
    ward, study = open_ward(), new_study()
    with ward.association() as association:
        ward.store(association, study[:3])
    ward.world.sweep.once()
    assert ward.state(study) == "RECEIVING"
    with ward.association() as association:
        ward.store(association, study[3:5])
        association.abort()
    ward.world.sweep.once()
    assert ward.state(study) == "RECEIVING"
    with ward.association() as association:
        ward.store(association, study[5:])
    ward.pass_time(QUIET_S)
    assert ward.images(study) == [6]


@pytest.mark.dcmtk
def test_a_resend_of_everything_changes_nothing(open_ward, tmp_path, tool):
    ward, study = open_ward(), new_study()
    files = save_study(study, tmp_path / "study")
    settings = ward.door.settings
    command = [tool("storescu"), "-aec", settings.ae_title, "127.0.0.1", str(settings.port)]
    subprocess.run([*command, *map(str, files)], check=True, capture_output=True, timeout=60)
    ward.arrive(6)
    ward.pass_time(QUIET_S)
    before = state_of(ward.world, study)
    for _ in range(2):
        subprocess.run([*command, *map(str, files)], check=True, capture_output=True, timeout=60)
    ward.door.said("DUP_SAME")
    ward.pass_time(2 * QUIET_S)
    assert state_of(ward.world, study) == before
    assert ward.images(study) == [6]


def test_54_a_slice_a_day_late_makes_a_generation_over_all_of_it(open_ward, monkeypatch):
    real = time.time
    ward, study = open_ward(), new_study()
    with ward.association() as association:
        ward.store(association, study[:5])
    ward.pass_time(QUIET_S)
    assert ward.images(study) == [5]
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    ward.pass_time(3600)
    ward.world.restart()
    with ward.association() as association:
        ward.store(association, study[5:])
    assert ward.state(study) == "RECEIVING"
    ward.pass_time(QUIET_S)
    assert state_of(ward.world, study)["generation"] == 2
    assert sorted(ward.images(study)) == [5, 6]
    ward.door.said("LATE")


@pytest.mark.parametrize(
    ("policy", "ends"),
    [("analyse", ("ROUTED", "")), ("incomplete", ("QUARANTINED", "INCOMPLETE"))],
)
def test_53_a_sender_that_never_ends_is_cut_at_the_deadline(open_ward, policy, ends):
    ward = open_ward(at_deadline=policy)
    study = new_study(slices=25)
    waiting = iter(study)
    with ward.association() as association:
        while ward.world.now < DEADLINE_S:
            ward.store(association, [next(waiting)])
            ward.pass_time(QUIET_S - STEP_S)
    row = state_of(ward.world, study)
    assert (row["state"], row["reason"]) == ends
    assert ward.world.now == pytest.approx(DEADLINE_S, abs=QUIET_S)
    if policy == "analyse":
        assert ward.images(study) == [ward.sent]
