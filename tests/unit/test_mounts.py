"""A ledger on a network file system is told of before it loses something."""

from pathlib import Path

import pytest

from dicom_node.doctor import Health, _ledger
from dicom_node.domain.errors import ConfigurationError
from dicom_node.ledger import Ledger
from dicom_node.mounts import file_system, is_shared
from dicom_node.settings.node import Settings

TABLE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:44 / /srv rw shared:9 - autofs systemd-1 rw
24 23 0:45 / /srv rw,relatime shared:10 master:2 - nfs4 filer:/export rw
25 22 0:46 / /mnt/with\040blank rw - cifs //filer/share rw
26 24 8:2 / /srv/local rw - xfs /dev/sdb1 rw
27 22 0:47 / /home/x rw - fuse.sshfs x@y: rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(TABLE.lstrip())
    return file


@pytest.mark.parametrize(
    ("folder", "kind", "shared"),
    [
        ("/var/lib/dicom-node", "ext4", False),
        ("/srv/dicom-node", "nfs4", True),
        ("/srv/local/dicom-node", "xfs", False),
        ("/mnt/with blank", "cifs", True),
        ("/home/x/data", "fuse.sshfs", True),
        ("/home/xy", "ext4", False),
    ],
)
def test_the_kind_of_a_file_system(mounts: Path, folder: str, kind: str, shared: bool) -> None:
    assert (file_system(Path(folder), mounts), is_shared(kind)) == (kind, shared)


def test_where_nothing_says_what_it_is_nobody_is_warned(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "none") == ""
    assert not is_shared("")


def test_the_doctor_warns_of_sqlite_on_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dicom_node.mounts.file_system", lambda _: "nfs4")
    warning, _ = _ledger(Settings(data_dir=tmp_path))
    assert (warning.health, "nfs4" in warning.found) == (Health.NOTE, True)
    assert "PostgreSQL" in warning.advice


def test_sqlite_without_a_write_ahead_log_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, as on some network file systems, it keeps another journal without a word."""
    monkeypatch.setattr("dicom_node.ledger.database.BUSY_TIMEOUT_MS", 50)
    with pytest.raises(ConfigurationError, match="no write-ahead log"):
        Ledger.open("sqlite://")
