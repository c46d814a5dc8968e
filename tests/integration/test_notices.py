"""MPPS and Instance Availability Notification by a real SCU: each is answered with the status of
PS3.4, and what it names decides when the study closes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from door import Door, open_door
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from wire import AC, command, element, pdv
from world import World, state_of

from dicom_node.domain.errors import LedgerBusy
from dicom_node.receive import relay
from dicom_node.receive.notices import IAN, MPPS
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study

STEP = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def study() -> list[Any]:
    return make_study(phantom(1, slices=4, size=16, lesions=0))


@pytest.fixture
def door(tmp_path) -> Iterator[Door]:
    with open_door(tmp_path, expect=("MPPS", "IAN")) as opened:
        yield opened


@pytest.fixture
def world(tmp_path, door) -> Iterator[World]:
    """The sweep over what the door brings in, with a clock that the test moves."""
    made = World(tmp_path, expect=("MPPS", "IAN"))
    yield made
    made.close()


@contextmanager
def peer(door: Door, *classes: str, syntax: str = ExplicitVRLittleEndian) -> Iterator[Any]:
    entity = AE("MODALITY")
    contexts = [build_context(uid, syntax) for uid in classes or (MPPS, IAN, CTImageStorage)]
    association = entity.associate(
        "127.0.0.1", door.settings.port, contexts, door.settings.ae_title
    )
    assert association.is_established
    yield association
    association.release()


def items(named: list[str]) -> list[Dataset]:
    found = []
    for uid in named:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
        found.append(item)
    return found


def begun(*studies: str, state: str = "IN PROGRESS") -> Dataset:
    """The attributes of an N-CREATE of MPPS that matter here (PS3.4 Table F.7.2-1)."""
    data = Dataset()
    data.PatientName = "ZZPHI^CANARY"
    data.PerformedProcedureStepStatus = state
    data.ScheduledStepAttributesSequence = [Dataset() for _ in studies]
    for item, uid in zip(data.ScheduledStepAttributesSequence, studies, strict=True):
        item.StudyInstanceUID = uid
    data.PerformedSeriesSequence = []
    return data


def ended(named: list[str], state: str = "COMPLETED") -> Dataset:
    data, series = Dataset(), Dataset()
    data.PerformedProcedureStepStatus = state
    series.SeriesInstanceUID = "1.2.3.1"
    series.ReferencedImageSequence = items(named)
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    data.PerformedSeriesSequence = [series]
    return data


def available(study_uid: str, named: list[str], where: str = "ONLINE") -> Dataset:
    """PS3.4 Table R.3.2-1."""
    data, series = Dataset(), Dataset()
    data.ReferencedPerformedProcedureStepSequence = []
    data.StudyInstanceUID = study_uid
    series.SeriesInstanceUID = "1.2.3.1"
    series.ReferencedSOPSequence = items(named)
    for item in series.ReferencedSOPSequence:
        item.InstanceAvailability, item.RetrieveAETitle = where, "PACS"
    data.ReferencedSeriesSequence = [series]
    return data


def uids(study: list[Any]) -> list[str]:
    return [str(data.SOPInstanceUID) for data in study]


def store(association: Any, study: list[Any]) -> None:
    assert [association.send_c_store(data).Status for data in study] == [0] * len(study)


def state(world: World, study: list[Any]) -> str:
    return str(state_of(world, study)["state"])


class TestWhenTheStudyCloses:
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    @pytest.mark.parametrize("end", ["COMPLETED", "DISCONTINUED"])
    def test_a_step_that_ends_closes_it_as_soon_as_its_images_are_here(
        self, door, world, study, syntax, end
    ):
        with peer(door, MPPS, syntax=syntax) as steps, peer(door, CTImageStorage) as images:
            created, _ = steps.send_n_create(begun(study[0].StudyInstanceUID), MPPS, STEP)
            store(images, study)
            door.arrived(4)
            world.pass_time(30)
            assert state(world, study) == "RECEIVING"
            changed, _ = steps.send_n_set(ended(uids(study), end), MPPS, STEP)
        assert (created.Status, changed.Status) == (0, 0)
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    def test_images_that_were_announced_and_are_missing_hold_it_open(self, door, world, study):
        with peer(door) as association:  # storage and notices over one association
            association.send_n_create(begun(study[0].StudyInstanceUID), MPPS, STEP)
            store(association, study[:3])
            association.send_n_set(ended(uids(study)), MPPS, STEP)
            door.arrived(3)
            world.pass_time(600)
            assert state(world, study) == "RECEIVING"
            store(association, study[3:])
        door.arrived(4)
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    def test_a_notification_of_what_can_be_had_closes_it(self, door, world, study):
        with peer(door) as association:
            store(association, study[:2])
            notice = available(study[0].StudyInstanceUID, uids(study))
            answer, _ = association.send_n_create(notice, IAN, STEP)
            door.arrived(2)
            world.pass_time(300)
            assert (answer.Status, state(world, study)) == (0, "RECEIVING")
            store(association, study[2:])
        door.arrived(4)
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    def test_what_is_not_available_is_not_waited_for(self, door, world, study):
        notice = available(study[0].StudyInstanceUID, uids(study))
        notice.ReferencedSeriesSequence[0].ReferencedSOPSequence[
            3
        ].InstanceAvailability = "UNAVAILABLE"
        with peer(door) as association:
            association.send_n_create(notice, IAN, STEP)
            store(association, study[:3])
        door.arrived(3)
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    def test_a_step_of_two_studies_is_answered_and_promises_nothing(self, door, world, study):
        with peer(door) as association:
            both = begun(study[0].StudyInstanceUID, "1.2.3.4")
            created, _ = association.send_n_create(both, MPPS, STEP)
            changed, _ = association.send_n_set(ended([*uids(study), "1.2.3.9"]), MPPS, STEP)
            store(association, study)
        assert (created.Status, changed.Status) == (0, 0)
        door.arrived(4)
        world.pass_time(70)
        assert state(world, study) == "ROUTED"


def create(door: Door, data: Dataset | None, uid: str | None = STEP, kind: str = MPPS) -> int:
    with peer(door) as association:
        return int(association.send_n_create(data, kind, uid)[0].Status)


def change(door: Door, data: Dataset, uid: str = STEP) -> int:
    with peer(door) as association:
        return int(association.send_n_set(data, MPPS, uid)[0].Status)


class TestAnswers:
    def test_a_step_that_is_known(self, door):
        assert create(door, begun("1.2.3")) == 0
        assert create(door, begun("1.2.3")) == 0x0111
        assert door.said("DUP_SAME")["event"] == "notice.reject"

    def test_a_step_that_nobody_began(self, door):
        assert change(door, ended(["1.2.3.4"])) == 0x0112
        assert door.said("MPPS_UNKNOWN")["status"] == "0112"

    def test_a_step_that_has_ended(self, door):
        create(door, begun("1.2.3"))
        assert change(door, ended([])) == 0
        assert change(door, ended([])) == 0x0110
        assert door.said("MPPS_STATE")["aet"] == "MODALITY"

    def test_a_step_that_begins_with_its_end(self, door):
        assert create(door, begun("1.2.3", state="COMPLETED")) == 0x0106
        door.said("MPPS_STATE")

    def test_a_state_that_does_not_exist(self, door):
        create(door, begun("1.2.3"))
        assert change(door, ended([], "ABANDONED")) == 0x0106
        door.said("MPPS_STATE")

    @pytest.mark.parametrize("kind", [MPPS, IAN])
    def test_no_study(self, door, kind):
        data = Dataset()
        data.PerformedProcedureStepStatus = "IN PROGRESS"
        assert create(door, data, kind=kind) == 0x0120
        door.said("UID_MISSING")

    def test_a_study_uid_that_is_a_path(self, door):
        assert create(door, begun("../../etc")) == 0x0106
        door.said("UID_INVALID")

    def test_a_notice_uid_that_is_a_path(self, door):
        with door.associated((MPPS, [ExplicitVRLittleEndian])) as wire:
            notice = command(0x0140, sop_class=MPPS, sop_instance="../x")
            wire.send(pdv(notice, command=True), pdv(element(8, 5, "CS", b"")))
            assert wire.status() == 0x0117
        door.said("UID_INVALID")

    def test_a_data_set_that_is_none(self, door):
        with door.associated((MPPS, [ExplicitVRLittleEndian])) as wire:
            notice = command(0x0140, sop_class=MPPS, sop_instance=STEP)
            wire.send(pdv(notice, command=True), pdv(b"not a data set"))
            assert wire.status() == 0x0110
        door.said("UNPARSEABLE")

    def test_without_a_uid_it_gets_one_that_a_change_may_name(self, door):
        said = []
        with peer(door) as association:
            association.bind(evt.EVT_DIMSE_RECV, lambda event: said.append(event.message))
            assert association.send_n_create(begun("1.2.3"), MPPS, None)[0].Status == 0
            uid = said[0].command_set.AffectedSOPInstanceUID
            assert association.send_n_set(ended([]), MPPS, uid)[0].Status == 0

    def test_a_ledger_that_is_locked(self, door, monkeypatch):
        def busy(*_: Any, **__: Any) -> bool:
            raise LedgerBusy("locked")

        monkeypatch.setattr(door.ledger.expectations, "announce", busy)
        assert create(door, begun("1.2.3")) == 0x0213
        assert door.said("LEDGER_BUSY")["status"] == "0213"

    def test_no_patient_is_named_in_the_log(self, door):
        create(door, begun("1.2.3"))
        create(door, begun("1.2.3"))
        door.said("DUP_SAME")
        assert "CANARY" not in str(door.lines)


class TestLimits:
    def test_a_notice_that_is_too_large_ends_the_association(self, door, monkeypatch):
        monkeypatch.setitem(relay.LIMITS, relay.N_CREATE_RQ, 10_000)
        with door.associated((MPPS, [ExplicitVRLittleEndian])) as wire:
            notice = command(0x0140, sop_class=MPPS, sop_instance=STEP)
            wire.send(pdv(notice, command=True), pdv(bytes(20_000)))
            assert wire.is_closed(3)
        door.said("INSTANCE_SIZE")

    def test_messages_that_do_not_wait_for_their_answers_are_answered_in_order(self, door):
        with door.associated((MPPS, [ExplicitVRLittleEndian])) as wire:
            notice = command(0x0140, sop_class=MPPS, sop_instance=STEP)
            body = element(8, 5, "CS", b"")
            for _ in range(20):
                wire.send(pdv(notice, command=True), pdv(body))
            assert [wire.status() for _ in range(20)] == [0x0106] * 20

    def test_a_command_that_no_one_serves_ends_the_association(self, door):
        with door.associated((MPPS, [ExplicitVRLittleEndian])) as wire:
            wire.send(pdv(command(0x0150, sop_class=MPPS, sop_instance=STEP), command=True))
            assert wire.is_closed(3)
        door.said("BAD_COMMAND")

    def test_a_door_that_expects_nothing_does_not_take_notices(self, tmp_path):
        with open_door(tmp_path) as door, door.wire() as wire:
            assert wire.associate((MPPS, [ExplicitVRLittleEndian])) == AC
            wire.send(pdv(command(0x0140, sop_class=MPPS), command=True))
            assert wire.is_closed(3)
            door.said("NO_CONTEXT")
