"""Monitors learn what the ledger knows, and nothing of a patient."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from ward import Visitor, Ward, every_state

from dicom_node.domain.delivery import DeliveryState
from dicom_node.domain.job import JobState
from dicom_node.domain.study import StudyState
from dicom_node.ledger.schema import role

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def visitor(ward: Ward) -> Visitor:
    return Visitor(ward)


def scraped(visitor: Visitor) -> dict[str, Samples]:
    answer = visitor.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        family.name: {tuple(s.labels.values()): s.value for s in family.samples}
        for family in text_string_to_metric_families(answer.text)
    }


def test_the_gauges_agree_with_the_ledger(ward: Ward, visitor: Visitor) -> None:
    every_state(ward)
    found, counts = scraped(visitor), ward.ledger.pages.counts()
    for name, told in (("studies", counts.studies), ("jobs", counts.jobs)):
        samples = {key: n for key, n in found[f"dicom_node_{name}"].items() if n}
        assert samples == {(state,): n for state, n in told.items()}
    sent = {key: n for key, n in found["dicom_node_deliveries"].items() if n}
    assert sent == dict(counts.deliveries)
    assert found["dicom_node_instances"][()] == counts.instances == 43
    assert found["dicom_node_stored_bytes"][()] == counts.stored_bytes == 43 * 524_288
    assert found["dicom_node_oldest_wait_seconds"][()] == pytest.approx(counts.oldest_wait_s, abs=5)
    assert found["dicom_node_store_free_bytes"][()] > 0


def test_a_state_that_nothing_is_in_says_zero(visitor: Visitor) -> None:
    found = scraped(visitor)
    assert found["dicom_node_studies"] == {(state,): 0 for state in StudyState}
    assert found["dicom_node_jobs"] == {(state,): 0 for state in JobState}
    assert found["dicom_node_deliveries"] == {("pacs", state): 0 for state in DeliveryState}
    assert found["dicom_node_oldest_wait_seconds"] == {(): 0}


def test_the_metrics_name_no_patient_and_no_study(ward: Ward, visitor: Visitor) -> None:
    studies = every_state(ward)
    text = visitor.get("/metrics").text
    for attributes in ward.attributes.values():
        assert attributes["PatientName"].partition("^")[0] not in text
        assert attributes["PatientID"] not in text
    assert not any(uid in text for uid in studies.values())


def test_a_role_of_which_no_process_lives_is_named(ward: Ward, visitor: Visitor) -> None:
    roles = ward.ledger.roles
    for name, host in (("sweep", "a"), ("worker", "a"), ("worker", "b"), ("listen", "a")):
        roles.beat(name, host, time.time())
    assert "Not running" not in visitor.get().text
    with ward.ledger.database.write() as connection:
        old = update(role).where(role.c.host == "a", role.c.name != "listen")
        connection.execute(old.values(seen_at=time.time() - 300))
    page = visitor.get().text
    assert "sweep (last sign of life 5 min ago)." in page
    assert "worker (" not in page
    silent = scraped(visitor)["dicom_node_role_silent_seconds"]
    assert silent["a", "worker"] == pytest.approx(300, abs=30)
    assert silent["b", "worker"] == pytest.approx(0, abs=30)


def test_a_node_that_works_is_alive_and_ready(visitor: Visitor) -> None:
    assert visitor.get("/healthz").text == "ok\n"
    answer = visitor.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ledger": "ok", "store": "ok"}
    for path in ("/healthz", "/readyz"):  # load balancers ask so
        assert visitor.client.head(path).status_code == 200


def test_being_ready_leaves_nothing_in_the_store(ward: Ward, visitor: Visitor) -> None:
    visitor.get("/readyz")
    assert list(ward.store.incoming.iterdir()) == []


def test_without_its_store_a_node_is_alive_but_not_ready(ward: Ward, visitor: Visitor) -> None:
    ward.store.incoming.rmdir()
    answer = visitor.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ledger": "ok", "store": "FileNotFoundError"}
    assert visitor.get("/healthz").status_code == 200


def test_without_its_ledger_every_page_says_so(
    ward: Ward, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise OperationalError("SELECT", {"name": "Doe^Jane"}, Exception("locked"))

    monkeypatch.setattr(ward.ledger.database.engine, "connect", busy)
    assert visitor.get("/readyz").json() == {"ledger": "LedgerBusy", "store": "ok"}
    for path in ("/", "/studies/1.2.3", "/metrics"):
        answer = visitor.get(path)
        assert answer.status_code == 503
        assert "The ledger does not answer" in answer.text
        assert "Doe" not in answer.text
