"""Commands that are used wrongly, or on a machine that is not as it should be, say what to do."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from door import open_door
from typer.testing import CliRunner

from dicom_node import cli, roles
from dicom_node.address import check_free
from dicom_node.doctor import Health, examine
from dicom_node.domain.errors import CannotListen, ConfigurationError
from dicom_node.ledger import Ledger
from dicom_node.receive.listener import Listener
from dicom_node.redis_server import free_port, redis_role, wait_for
from dicom_node.send.command import parse_address
from dicom_node.settings.listen import Listen
from dicom_node.settings.node import Settings
from dicom_node.settings.web import Web
from workers import cli as worker_cli


@pytest.mark.parametrize("command", [["verify"], ["alive", "listen"]])
def test_who_looks_at_a_node_that_is_not_there_is_told_so_and_makes_none(
    tmp_path, monkeypatch, command
):
    """An empty ledger would be a sound one: 0 files hashed, exit status 0."""
    monkeypatch.setenv("DICOM_NODE__DATA_DIR", str(tmp_path / "data"))
    run = CliRunner().invoke(cli.app, command)
    assert isinstance(run.exception, ConfigurationError)
    assert "--config" in str(run.exception)
    assert not (tmp_path / "data").exists()


def test_the_doctor_makes_no_ledger(tmp_path):
    """Else root would own it, whom the node does not run as."""
    checks = {check.what: check for check in examine(Settings(data_dir=tmp_path))}
    assert "will be made" in checks["ledger"].found
    assert not list(tmp_path.iterdir())


def test_the_doctor_finds_a_folder_that_nobody_can_write_to():
    checks = {check.what: check for check in examine(Settings(data_dir=Path("/etc/hosts/data")))}
    assert checks["disk"].health is Health.BAD
    assert "move data_dir" in checks["disk"].advice


def test_a_path_that_the_system_refuses_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", lambda: Path("/etc/hosts/store").mkdir())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "dicom-node: /etc/hosts/store: Not a directory; check data_dir, and who may write there\n"
    )


@pytest.mark.parametrize(
    "error", [FileExistsError(17, "File exists", "out"), OSError(28, "No space")]
)
def test_what_the_system_refuses_a_worker_is_one_line(monkeypatch, capsys, error):
    def refused():
        raise error

    monkeypatch.setattr(worker_cli, "app", refused)
    with pytest.raises(SystemExit) as ended:
        worker_cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("dicom-worker: ")
    assert said.endswith("; look at the disk, and at who may read and write there\n")


@pytest.fixture
def taken():
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def door(tmp_path):
    """Of a node with two listener processes."""
    with open_door(tmp_path, processes=2) as opened:
        yield opened


def test_a_listener_whose_port_is_taken_says_so(tmp_path, taken):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    listener = Listener(Listen(port=taken), tmp_path / "store", ledger)
    with pytest.raises(CannotListen, match=r"another program listens there.*listen\.port"):
        listener.start()
    listener.stop()


def test_two_nodes_never_share_a_port(tmp_path, door):
    """Linux would deal out the connections among both, and each would have half of a study."""
    wanted = Listen(port=door.settings.port, processes=2)
    with pytest.raises(CannotListen, match="another program listens there"):
        roles.run_listener(Settings(data_dir=tmp_path / "other", listen=wanted), None, None)


def test_a_page_whose_port_is_taken_says_so(tmp_path, taken):
    settings = Settings(data_dir=tmp_path, web=Web(port=taken))
    with pytest.raises(CannotListen, match=r"another program listens there.*web\.port"):
        roles.run_web(settings)


@pytest.mark.parametrize("host", ["192.0.2.1", "none.invalid"])
def test_an_address_of_another_machine_is_named(host):
    with pytest.raises(CannotListen, match=r"correct listen\.host"):
        check_free("listen", host, free_port())


@pytest.mark.parametrize(
    ("address", "calling"), [("A@host:0", "NODE"), ("A@host:65536", "NODE"), ("A@host:1", "N" * 17)]
)
def test_an_address_that_no_peer_can_have_is_explained(address, calling):
    with pytest.raises(ConfigurationError, match=r"AE@HOST:PORT|--calling"):
        parse_address(address, calling)


def test_redis_starts_in_a_folder_with_spaces_and_quotes(tmp_path, tool):
    role, url = redis_role(tool("redis-server"), tmp_path / 'the "node"')
    with subprocess.Popen(role.command, stdin=subprocess.PIPE, stdout=sys.stderr) as server:
        server.stdin.write(role.stdin.encode())
        server.stdin.close()
        try:
            wait_for(url)
        finally:
            server.kill()
