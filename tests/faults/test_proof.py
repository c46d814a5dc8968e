"""I9: a worker that is killed while it asks for a proof, or a listener while it takes a report,
leaves nothing confirmed that is not, and nothing forgotten."""

import time

import pytest
from asking import prove
from campaign import Injection
from committing import Archive, running, send_report
from outbox import PACS, Outbox
from points import PROVE, REPORT
from processes import CONTEXT, PATIENCE_S, STARTED, start

from dicom_node.domain.delivery import Proof
from dicom_node.redis_server import free_port
from dicom_node.send import commitment

pytestmark = pytest.mark.slow


@pytest.fixture
def outbox(tmp_path):
    made = Outbox(tmp_path)
    yield made
    made.ledger.close()


def worker(outbox, archive, offer=Proof.COMMITMENT, plan="", wait_s=PATIENCE_S):
    """Its exit status."""
    url = outbox.ledger.database.url
    arguments = (url, outbox.job, archive.peer, offer, plan, wait_s)
    process = CONTEXT.Process(target=prove, args=arguments)
    process.start()
    STARTED.append(process)
    process.join(PATIENCE_S)
    return process.exitcode


@pytest.mark.parametrize(("point", "offer"), PROVE)
def test_a_worker_killed_while_it_asks(point, offer, outbox, campaign):
    archive = Archive(has=set(outbox.uids()), silent=True)
    with running(archive):
        assert worker(outbox, archive, Proof(offer), point, wait_s=0) == -9
        known = {row["transaction_uid"] for row in outbox.wanted()}
        safe = {str(asked.TransactionUID) for asked in archive.asked} <= known
        confirmed = {row["state"] for row in outbox.wanted()} & {"CONFIRMED"}
        assert outbox.claim() is None, "another must not ask at once"
        outbox.pass_time()
        archive.silent = False
        began = time.monotonic()
        assert worker(outbox, archive, Proof(offer)) == 0
    survived = safe and not confirmed and {state for state, _ in outbox.told()} == {"CONFIRMED"}
    took = time.monotonic() - began
    campaign.add(Injection("proof", f"worker killed at {point}", survived, recovery_s=took))


def test_a_listener_killed_before_it_answers_a_report(tmp_path, campaign):
    port, data = free_port(), tmp_path / "data"
    data.mkdir()
    outbox = Outbox(data)
    config = tmp_path / "node.toml"
    config.write_text(
        f'data_dir = "{data}"\n[listen]\nport = {port}\nreserve_mib = 1\n'
        f'[[destinations]]\nname = "{PACS}"\nhost = "127.0.0.1"\nport = 1\nae_title = "ARCHIVE"\n'
    )
    report, *_ = Archive().report(commitment.request(outbox.ask(), outbox.sent))
    listener = start("listen", config, REPORT)
    assert listener.ready()
    assert send_report(port, report) is None
    assert listener.ended(PATIENCE_S)
    listener = start("listen", config)
    assert listener.ready()
    survived = send_report(port, report) == 0 and outbox.told() == {("CONFIRMED", "")}
    listener.kill()
    outbox.ledger.close()
    campaign.add(Injection("proof", f"listener killed at {REPORT}", survived))
