"""Silence is measured by what the watcher sees and by its own monotonic clock."""

from dicom_node.ledger import OpenStudy
from dicom_node.receive.completeness import Readiness
from dicom_node.settings.completeness import Completeness
from dicom_node.watch import Watch


def test_a_change_starts_the_clock_again():
    watch = Watch()
    assert watch.still_s("a", 1, now=0) == 0
    assert watch.still_s("a", 1, now=5) == 5
    assert watch.still_s("a", 2, now=6) == 0
    assert watch.still_s("a", 2, now=9) == 3


def test_forgotten_keys_begin_anew():
    watch = Watch()
    watch.still_s("a", 1, now=0)
    watch.keep_only(["b"])
    assert watch.still_s("a", 1, now=9) == 0


def study(uid, arrivals):
    return OpenStudy(uid, arrivals, first_received_at=1e9)


def uids(ready):
    return [r.study.study_instance_uid for r in ready]


def test_a_study_is_ready_after_the_quiet_period_and_not_before():
    readiness = Readiness(Completeness(quiet_s=60, deadline_s=1000))
    assert uids(readiness.ready([study("1", 5)], now=0)) == []
    assert uids(readiness.ready([study("1", 6)], now=59)) == []
    assert uids(readiness.ready([study("1", 6)], now=118)) == []
    assert uids(readiness.ready([study("1", 6)], now=119)) == ["1"]


def test_a_slow_sender_is_cut_at_the_deadline():
    readiness = Readiness(Completeness(quiet_s=60, deadline_s=100))
    ready = [uids(readiness.ready([study("1", n)], now=n * 50)) for n in range(3)]
    assert ready == [[], [], ["1"]]


def test_interleaved_studies_do_not_wait_for_each_other():
    readiness = Readiness(Completeness(quiet_s=10, deadline_s=1000))
    readiness.ready([study("1", 5), study("2", 1)], now=0)
    assert uids(readiness.ready([study("1", 5), study("2", 2)], now=10)) == ["1"]
