"""A study is closed when what the settings ask for is there, and never before; a promise that was
not kept holds it open until the deadline, and the deadline does what the settings say."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from log_lines import log_lines
from pydicom.uid import generate_uid
from world import World, bundle, receive_all, state_of

from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.errors import PeerUnreachable
from dicom_node.domain.rule import TagRule
from dicom_node.ledger.expectations import Change, Source
from dicom_node.receive.inquiry import ASK_AGAIN_S, PAUSE_S, Inquiry
from dicom_node.settings.completeness import Archive, NamedSeries
from dicom_node.settings.results import Destination
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study

PACS = Archive(host="127.0.0.1", port=104, ae_title="PACS")


@pytest.fixture
def study() -> list[Any]:
    return make_study(phantom(1, slices=4, size=16, lesions=0))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    worlds = []

    def made(*bundles: Any, **completeness: Any) -> World:
        worlds.append(World(tmp_path, bundles, **completeness))
        return worlds[-1]

    yield made
    for world in worlds:
        world.close()


def uids(instances: list[Any]) -> list[str]:
    return [str(data.SOPInstanceUID) for data in instances]


def performed(world: World, study: list[Any], named: list[str], *, step: str = "1.2.3") -> None:
    """What an MPPS that was created and then completed leaves in the ledger."""
    study_uid = str(study[0].StudyInstanceUID)
    world.ledger.expectations.announce(Source.MPPS, step, study_uid, (), final=False)
    done = world.ledger.expectations.change(Source.MPPS, step, named, final=True)
    assert done is Change.DONE


def state(world: World, study: list[Any]) -> str:
    return str(state_of(world, study)["state"])


class TestWithoutPromises:
    def test_images_of_several_associations_are_one_study(self, make, study):
        world = make()
        for data in study:
            receive_all(world, [data])
            world.pass_time(50)
        assert state(world, study) == "RECEIVING"
        world.pass_time(10)
        (job_id,) = world.ledger.jobs.waiting()
        assert len(world.ledger.jobs.get(job_id).inputs[0].instances) == 4

    def test_interleaved_studies_are_closed_each_in_its_time(self, make, study):
        world, other = make(), make_study(phantom(2, slices=4, size=16, lesions=0))
        for one, two in zip(study, other, strict=True):
            receive_all(world, [one, two])
        world.pass_time(40)
        receive_all(world, make_late(other))
        world.pass_time(20)
        assert (state(world, study), state(world, other)) == ("ROUTED", "RECEIVING")
        world.pass_time(60)
        assert state(world, other) == "ROUTED"

    def test_a_sender_slower_than_the_quiet_period_makes_generations_and_loses_nothing(
        self, make, study
    ):
        world = make()
        for data in study:
            receive_all(world, [data])
            world.pass_time(70)
        page = world.ledger.pages.study(study[0].StudyInstanceUID)
        assert page.study["generation"] == 4
        assert sorted(job["state"] for job in page.jobs) == ["CANCELLED"] * 3 + ["READY"]

    @pytest.mark.parametrize(
        ("policy", "ends"),
        [("analyse", ("ROUTED", "")), ("incomplete", ("QUARANTINED", "INCOMPLETE"))],
    )
    def test_a_sender_that_never_ends_is_cut_at_the_deadline(self, make, policy, ends):
        world = make(at_deadline=policy)
        study = make_study(phantom(1, slices=30, size=16, lesions=0))
        for data in study:
            if world.ledger.pages.study(data.StudyInstanceUID) is None:
                receive_all(world, [data])
            elif state(world, study) == "RECEIVING":
                receive_all(world, [data])
                world.pass_time(50)
        row = state_of(world, study)
        assert (row["state"], row["reason"]) == ends
        assert world.now == 1000

    def test_a_resend_of_everything_opens_no_job(self, make, study):
        world = make()
        receive_all(world, study)
        world.pass_time(60)
        receive_all(world, study)
        world.pass_time(120)
        assert len(world.ledger.pages.study(study[0].StudyInstanceUID).jobs) == 1
        assert state(world, study) == "ROUTED"

    def test_a_slice_a_day_late_orders_only_the_model_whose_images_changed(self, make, study):
        thin = TagRule(keyword="SeriesDescription", contains="thin")
        thick = TagRule(keyword="SeriesDescription", contains="thick")
        world = make(bundle("thin", thin), bundle("thick", thick))
        halves = study[:2], study[2:]
        for half, name in zip(halves, ("thin", "thick"), strict=True):
            series = generate_uid(None)
            for data in half:
                data.SeriesDescription, data.SeriesInstanceUID = name, series
        receive_all(world, study[:3])
        world.pass_time(60)
        first = world.ledger.jobs.waiting()
        world.pass_time(86_400, step=3600)
        receive_all(world, study[3:])
        world.pass_time(60)
        jobs = [world.ledger.jobs.get(job_id) for job_id in world.ledger.jobs.waiting()]
        assert {(j.model_name, j.generation) for j in jobs} == {("thin", 1), ("thick", 2)}
        assert len(first) == 2


def make_late(study: list[Any]) -> list[Any]:
    """One more image of a study."""
    late = make_study(phantom(9, slices=1, size=16, lesions=0), at=datetime(2026, 1, 1))
    late[0].StudyInstanceUID = study[0].StudyInstanceUID
    late[0].SeriesInstanceUID = study[0].SeriesInstanceUID
    return late


class TestNamedImages:
    def test_a_completed_step_whose_images_are_all_here_closes_early(self, make, study):
        world = make(expect=("MPPS",))
        performed(world, study, uids(study))
        receive_all(world, study)
        world.pass_time(1, step=1)
        assert state(world, study) == "RECEIVING"
        world.pass_time(1, step=1)
        assert state(world, study) == "ROUTED"

    def test_it_may_be_completed_after_the_last_image(self, make, study):
        world = make(expect=("MPPS",))
        receive_all(world, study)
        world.pass_time(20)
        performed(world, study, uids(study))
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    @pytest.mark.parametrize(
        ("policy", "ends"),
        [("analyse", ("ROUTED", "")), ("incomplete", ("QUARANTINED", "INCOMPLETE"))],
    )
    def test_53_what_never_comes_holds_it_open_until_the_deadline(self, make, study, policy, ends):
        world = make(expect=("MPPS",), at_deadline=policy)
        performed(world, study, uids(study))
        with log_lines() as lines:
            receive_all(world, study[:3])
            world.pass_time(990)
            assert state(world, study) == "RECEIVING"
            world.pass_time(10)
        row = state_of(world, study)
        assert (row["state"], row["reason"]) == ends
        told = [line for line in lines if line["event"] == "study.waits"]
        assert [(line["reason"], line["count"]) for line in told] == [("INCOMPLETE", 1)]

    def test_54_what_was_incomplete_starts_anew_with_the_image_that_was_missing(self, make, study):
        world = make(expect=("MPPS",), at_deadline="incomplete")
        performed(world, study, uids(study))
        receive_all(world, study[:3])
        world.pass_time(1000)
        receive_all(world, study[:3])
        world.pass_time(10)
        assert state(world, study) == "QUARANTINED"
        receive_all(world, study[3:])
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    def test_a_step_in_progress_promises_nothing_and_forbids_to_close_early(self, make, study):
        world = make(expect=("MPPS",))
        receive_all(world, study)
        performed(world, study, uids(study))
        uid = str(study[0].StudyInstanceUID)
        world.ledger.expectations.announce(Source.MPPS, "1.2.4", uid, (), final=False)
        world.pass_time(50)
        assert state(world, study) == "RECEIVING"
        world.pass_time(10)
        assert state(world, study) == "ROUTED"

    def test_two_steps_of_one_study_must_both_be_here(self, make, study):
        world = make(expect=("MPPS",))
        performed(world, study, uids(study[:2]))
        performed(world, study, uids(study[2:]), step="1.2.4")
        receive_all(world, study[:2])
        world.pass_time(120)
        assert state(world, study) == "RECEIVING"
        receive_all(world, study[2:])
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    def test_images_that_nobody_announced_leave_it_to_the_quiet_period(self, make, study):
        world = make(expect=("MPPS", "IAN"))
        performed(world, study, uids(study[:3]))
        receive_all(world, study)
        world.pass_time(50)
        assert state(world, study) == "RECEIVING"
        world.pass_time(10)
        assert state(world, study) == "ROUTED"

    def test_an_availability_notification_is_a_promise_too(self, make, study):
        world = make(expect=("IAN",))
        uid = str(study[0].StudyInstanceUID)
        world.ledger.expectations.announce(Source.IAN, "1.2.5", uid, uids(study), final=True)
        receive_all(world, study)
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"

    def test_a_source_that_is_turned_off_is_not_listened_to(self, make, study):
        world = make(expect=("IAN",))
        performed(world, study, [*uids(study), "1.2.3.9"])
        receive_all(world, study)
        world.pass_time(60)
        assert state(world, study) == "ROUTED"

    def test_our_own_results_are_not_waited_for(self, make, study):
        world = make(expect=("IAN",))
        receive_all(world, study[:3])
        world.pass_time(60)
        analyse(world, study)
        uid = str(study[0].StudyInstanceUID)
        named = [*uids(study), "2.25.1"]
        world.ledger.expectations.announce(Source.IAN, "1.2.5", uid, named, final=True)
        receive_all(world, study[3:])
        world.pass_time(3, step=1)
        assert state_of(world, study)["generation"] == 2

    def test_a_restart_of_the_sweep_forgets_no_promise_and_closes_nothing_early(self, make, study):
        world = make(expect=("MPPS",))
        performed(world, study, uids(study))
        receive_all(world, study[:3])
        for _ in range(5):
            world.pass_time(50)
            world.restart()
            world.sweep.once()
        assert state(world, study) == "RECEIVING"
        receive_all(world, study[3:])
        world.restart()
        world.sweep.once()
        world.pass_time(1, step=1)
        assert state(world, study) == "RECEIVING"
        world.pass_time(1, step=1)
        assert state(world, study) == "ROUTED"

    @pytest.mark.parametrize("jump_s", [86_400, -86_400])
    def test_a_clock_that_jumps_neither_keeps_nor_breaks_a_promise(
        self, make, study, monkeypatch, jump_s
    ):
        import time

        real = time.time
        world = make(expect=("MPPS",))
        performed(world, study, uids(study))
        receive_all(world, study[:3])
        monkeypatch.setattr(time, "time", lambda: real() + jump_s)
        world.pass_time(200)
        assert state(world, study) == "RECEIVING"
        receive_all(world, study[3:])
        world.pass_time(3, step=1)
        assert state(world, study) == "ROUTED"


def analyse(world: World, study: list[Any]) -> None:
    """Finish the one job that waits, with one result that the PACS has taken."""
    claim = world.ledger.jobs.claim(world.ledger.jobs.waiting()[0])
    stored = StoredResult("2.25.1", "1.2", "1.3", "AI", ResultKind.SEGMENTATION, 0, "d" * 64, 9)
    kinds = {"pacs": tuple(ResultKind)}
    world.ledger.jobs.complete(claim, [stored], kinds, summary={}, report_sha256="")
    shipment = world.ledger.deliveries.claim(claim.id, "pacs")
    world.ledger.deliveries.sent(shipment, shipment.deliveries[0], "")


class Pacs:
    """Answers with what it has; unreachable while ``counts`` is none."""

    def __init__(self, **counts: int) -> None:
        self.counts: dict[str, int] | None = counts
        self.asked: list[str] = []

    def __call__(self, study_uids: list[str]) -> dict[str, int]:
        self.asked += study_uids
        if self.counts is None:
            raise PeerUnreachable("down")
        return dict.fromkeys(study_uids, self.counts["images"])


class TestCountsOfThePacs:
    def ask(self, world: World, pacs: Pacs, seconds: float) -> Inquiry:
        """Let sweep and inquiry look every second."""
        inquiry = Inquiry(world.settings.completeness, world.ledger, pacs, lambda: world.now)
        for _ in range(int(seconds)):
            inquiry.once()
            world.pass_time(1, step=1)
        return inquiry

    def test_a_count_that_is_given_twice_and_met_closes_early(self, make, study):
        world = make(pacs=PACS)
        receive_all(world, study)
        self.ask(world, Pacs(images=4), 3)
        assert state(world, study) == "RECEIVING"
        self.ask(world, Pacs(images=4), 15)
        assert state(world, study) == "ROUTED"

    def test_a_pacs_that_has_more_holds_it_open_until_all_is_here(self, make, study):
        world = make(pacs=PACS)
        receive_all(world, study[:3])
        self.ask(world, Pacs(images=4), 120)
        assert state(world, study) == "RECEIVING"
        receive_all(world, study[3:])
        self.ask(world, Pacs(images=4), 20)
        assert state(world, study) == "ROUTED"

    def test_a_pacs_that_still_receives_closes_nothing_early(self, make, study):
        """Each image comes here as soon as the PACS has it: both counts are always equal."""
        world = make(pacs=PACS)
        pacs = Pacs(images=0)
        inquiry = Inquiry(world.settings.completeness, world.ledger, pacs, lambda: world.now)
        for number, data in enumerate(study, 1):
            pacs.counts = {"images": number}
            receive_all(world, [data])
            for _ in range(int(ASK_AGAIN_S)):
                inquiry.once()
                world.pass_time(1, step=1)
            assert state(world, study) == "RECEIVING"

    def test_a_pacs_that_does_not_answer_leaves_it_to_the_quiet_period(self, make, study):
        world, pacs = make(pacs=PACS), Pacs()
        pacs.counts = None
        receive_all(world, study)
        with log_lines() as lines:
            self.ask(world, pacs, 59)
            assert state(world, study) == "RECEIVING"
            self.ask(world, pacs, 1)
        assert state(world, study) == "ROUTED"
        said = [line for line in lines if line["event"] == "expect.unanswered"]
        assert said[0]["reason"] == "PEER_UNREACHABLE"
        assert len(pacs.asked) <= 60 / PAUSE_S + 1

    def test_it_is_asked_every_few_seconds_at_the_most_and_less_and_less(self, make, study):
        world, pacs = make(pacs=PACS), Pacs(images=9)
        receive_all(world, study)
        self.ask(world, pacs, 60)
        assert 3 <= len(pacs.asked) <= 60 / ASK_AGAIN_S
        before = len(pacs.asked)
        self.ask(world, pacs, 1)
        assert len(pacs.asked) - before <= 1

    def test_a_study_that_the_pacs_does_not_know_is_left_to_the_quiet_period(self, make, study):
        world = make(pacs=PACS)
        receive_all(world, study)
        inquiry = Inquiry(world.settings.completeness, world.ledger, lambda _: {}, lambda: 0)
        inquiry.once()
        world.pass_time(60)
        assert state(world, study) == "ROUTED"

    def test_results_of_ours_that_it_has_are_not_images_that_we_lack(self, make, study):
        world = make(pacs=PACS)
        pacs = Destination(name="pacs", host="127.0.0.1", port=104, ae_title="PACS")
        world.settings = world.settings.model_copy(update={"destinations": (pacs,)})
        world.restart()
        receive_all(world, study[:3])
        world.pass_time(60)
        analyse(world, study)
        receive_all(world, study[3:])
        self.ask(world, Pacs(images=5), 20)
        assert state_of(world, study)["generation"] == 2

    def test_an_old_answer_does_not_stand_for_what_came_since(self, make, study):
        world = make(pacs=PACS)
        uid = str(study[0].StudyInstanceUID)
        for _ in range(2):
            world.ledger.expectations.counted(uid, 4, 2)
        receive_all(world, study)
        world.pass_time(50)
        assert state(world, study) == "RECEIVING"


class TestNamedSeries:
    VENOUS = NamedSeries(
        name="venous",
        rules=(
            TagRule(keyword="Modality", equals="CT"),
            TagRule(keyword="SeriesDescription", contains="venous"),
        ),
        min_images=2,
    )

    def test_a_study_waits_for_its_named_series(self, make, study):
        world = make(series=(self.VENOUS,))
        receive_all(world, study[:2])
        with log_lines() as lines:
            world.pass_time(300)
        assert state(world, study) == "RECEIVING"
        assert [line["reason"] for line in lines] == ["SERIES_MISSING"]
        for data in study[2:]:
            data.SeriesDescription, data.SeriesInstanceUID = "Venous 1.0", "1.2.3.4"
        receive_all(world, study[2:])
        world.pass_time(60)
        assert state(world, study) == "ROUTED"

    def test_too_few_images_of_it_are_not_it(self, make, study):
        world = make(series=(self.VENOUS,))
        study[0].SeriesDescription, study[0].SeriesInstanceUID = "Venous", "1.2.3.4"
        receive_all(world, study)
        world.pass_time(300)
        assert state(world, study) == "RECEIVING"

    @pytest.mark.parametrize(
        ("policy", "ends"), [("analyse", "ROUTED"), ("incomplete", "QUARANTINED")]
    )
    def test_the_deadline_ends_the_waiting(self, make, study, policy, ends):
        world = make(series=(self.VENOUS,), at_deadline=policy)
        receive_all(world, study)
        world.pass_time(990)
        assert state(world, study) == "RECEIVING"
        world.pass_time(10)
        assert state(world, study) == ends

    def test_other_studies_are_not_asked_for_it(self, make, study):
        only_mr = self.VENOUS.model_copy(update={"modalities": ("MR",)})
        world = make(series=(only_mr,))
        receive_all(world, study)
        world.pass_time(60)
        assert state(world, study) == "ROUTED"

    def test_a_kept_promise_does_not_stand_for_a_series_that_is_missing(self, make, study):
        world = make(series=(self.VENOUS,), expect=("MPPS",))
        performed(world, study, uids(study))
        receive_all(world, study)
        world.pass_time(300)
        assert state(world, study) == "RECEIVING"
