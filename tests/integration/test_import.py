"""``dicom-node import`` takes files as if they had been sent, and says of each other why not."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from log_lines import log_lines
from typer.testing import CliRunner, Result

from dicom_node.cli import app
from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.receive.folder import SETTLE_S, WatchedFolder
from dicom_node.receive.intake import Intake
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return save_study(make_study(phantom(1, slices=3, size=16, lesions=0)), tmp_path / "in" / "a")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite3'}")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("DICOM_NODE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DICOM_NODE__LISTEN__RESERVE_MIB", "1")
    monkeypatch.setenv("DICOM_NODE__LOG__FORMAT", "json")


def run(path: Path) -> Result:
    return CliRunner().invoke(app, ["import", str(path)], env={"COLUMNS": "300"})


def arrivals(ledger: Ledger) -> int:
    return sum(study.arrivals for study in ledger.studies.receiving())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


class TestOnce:
    def test_a_folder_is_taken_and_left_as_it_was(self, tmp_path, files, ledger):
        before = contents(tmp_path / "in")
        done = run(tmp_path / "in")
        assert done.exit_code == 0
        assert "3 of 3 files taken" in done.stdout
        assert arrivals(ledger) == 3
        assert contents(tmp_path / "in") == before

    def test_one_file(self, files, ledger):
        assert run(files[0]).exit_code == 0
        assert arrivals(ledger) == 1

    def test_again_it_says_that_all_is_here(self, files, ledger):
        run(files[0].parent)
        done = run(files[0].parent)
        assert done.exit_code == 0
        assert "DUP_SAME" in done.stdout
        assert arrivals(ledger) == 3

    def test_a_cd_with_its_directory_and_viewer(self, files, ledger):
        folder = files[0].parent
        shutil.copy(files[0], folder / "DICOMDIR")
        (folder / "VIEWER.EXE").write_bytes(b"MZ" + bytes(1000))
        (folder / "README").write_text("hello")
        done = run(folder)
        assert done.exit_code == 0
        assert "3 of 3 files taken" in done.stdout
        assert "3 others are no DICOM files, or a DICOMDIR" in done.stdout

    def test_what_is_refused_is_told_with_its_reason_and_what_to_do(self, files, ledger):
        whole = files[0].read_bytes()
        files[0].write_bytes(whole[:-10])
        files[1].write_bytes(b"\x7fELF" + files[1].read_bytes()[4:])
        done = run(files[0].parent)
        assert done.exit_code == 1
        assert "2 of 3 files taken" in done.stdout
        assert "TRUNCATED" in done.stdout
        assert "the sender must correct the data set" in done.stdout
        assert str(files[0]) in done.stdout
        logged = [line for line in done.stderr.splitlines() if '"store.' in line]
        assert '"reason": "TRUNCATED"' in logged[0]
        assert '"status": "C000"' in logged[0]
        assert '"reason": "PREAMBLE"' in logged[1]
        assert str(files[0].parent) not in done.stderr

    @pytest.mark.parametrize("magic", [b"MZ\x90\0", b"\x7fELF"])
    def test_63_a_preamble_that_is_a_program_is_zeroed(self, tmp_path, files, ledger, magic):
        raw = magic + files[0].read_bytes()[4:]
        files[0].write_bytes(raw)
        run(files[0])
        (study,) = ledger.studies.receiving()
        (kept,) = ledger.studies.instances(study.study_instance_uid)
        stored = InstanceStore(tmp_path / "data" / "store").path(kept.sha256).read_bytes()
        assert stored[:132] == bytes(128) + b"DICM"
        assert files[0].read_bytes() == raw

    def test_a_file_that_is_named_and_none(self, tmp_path):
        (tmp_path / "letter.txt").write_text("Dear colleague")
        done = run(tmp_path / "letter.txt")
        assert done.exit_code == 1
        assert "not a DICOM file: it has no preamble with the prefix DICM" in done.stdout

    def test_a_folder_without_any(self, tmp_path):
        (tmp_path / "empty").mkdir()
        done = run(tmp_path / "empty")
        assert done.exit_code == 1
        assert "no DICOM file there" in str(done.exception)

    def test_a_file_that_cannot_be_read(self, files):
        files[0].unlink()
        files[0].symlink_to("/proc/self/mem")
        done = run(files[0].parent)
        assert done.exit_code == 1
        assert "FILE_UNREADABLE" in done.stdout


class Watching:
    """A watched folder with a clock that the test moves."""

    def __init__(self, tmp_path: Path, ledger: Ledger) -> None:
        self.now = 0.0
        self.folder = tmp_path / "in"
        self.folder.mkdir(exist_ok=True)
        self.intake = Intake(
            InstanceStore(tmp_path / "data" / "store"), ledger, reserve_mib=1, role="import"
        )
        self.watched = WatchedFolder(self.folder, self.intake, lambda: self.now)

    def look(self, after_s: float = SETTLE_S) -> list[str]:
        self.now += after_s
        return [outcome.code for _, outcome in self.watched.once()]


@pytest.fixture
def watching(tmp_path: Path, ledger: Ledger) -> Watching:
    return Watching(tmp_path, ledger)


class TestWatched:
    def test_what_has_settled_is_taken_and_moved(self, files, ledger, watching):
        before = contents(watching.folder)
        assert watching.look() == []
        assert watching.look() == ["NEW"] * 3
        assert arrivals(ledger) == 3
        assert contents(watching.folder) == {f"taken/{name}": raw for name, raw in before.items()}
        assert watching.look() == []

    def test_what_still_grows_is_left_alone(self, files, ledger, watching):
        whole = files[0].read_bytes()
        for end in range(100, 600, 100):
            files[0].write_bytes(whole[:end])
            assert "TRUNCATED" not in watching.look(SETTLE_S - 1)
        files[0].write_bytes(whole)
        watching.look()
        assert watching.look() == ["NEW"]
        assert arrivals(ledger) == 3

    def test_what_changes_while_it_is_read_waits(self, files, ledger, watching, monkeypatch):
        watching.look()
        draft = watching.intake.draft

        def grow() -> Any:
            files[0].write_bytes(files[0].read_bytes() + b"x")
            return draft()

        monkeypatch.setattr(watching.intake, "draft", grow)
        assert watching.look() == ["NEW"] * 2
        assert files[0].exists()

    def test_what_is_refused_is_moved_aside(self, files, ledger, watching):
        raw = files[0].read_bytes()[:-10]
        files[0].write_bytes(raw)
        watching.look()
        assert sorted(watching.look()) == ["NEW", "NEW", "TRUNCATED"]
        assert (watching.folder / "refused" / "a" / files[0].name).read_bytes() == raw

    def test_what_was_taken_is_not_looked_through_for_ever(
        self, files, ledger, watching, monkeypatch
    ):
        watching.look()
        assert watching.look() == ["NEW"] * 3
        visited, scan = [], os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: visited.append(Path(path)) or scan(path))
        assert watching.look() == []
        assert visited == [watching.folder, watching.folder / "a"]

    def test_what_the_node_cannot_take_now_stays_and_is_tried_again(
        self, files, ledger, watching, monkeypatch
    ):
        def busy(*_: Any) -> None:
            raise LedgerBusy("locked")

        with monkeypatch.context() as broken, log_lines() as lines:
            broken.setattr(ledger.studies, "record", busy)
            watching.look()
            assert watching.look() == ["LEDGER_BUSY"] * 3
        assert {line["reason"] for line in lines} == {"LEDGER_BUSY"}
        assert all(file.exists() for file in files)
        assert watching.look(1) == ["NEW"] * 3

    def test_nothing_is_ever_overwritten(self, files, ledger, watching):
        raw = files[0].read_bytes()
        for _ in range(3):
            files[0].write_bytes(raw)
            watching.look()
            watching.look()
        found = contents(watching.folder / "taken" / "a")
        assert [found[files[0].name + end] for end in ("", ".1", ".2")] == [raw] * 3

    def test_what_cannot_be_moved_is_taken_once(self, files, ledger, watching, monkeypatch):
        def denied(*_: Any) -> None:
            raise PermissionError("read-only")

        monkeypatch.setattr(Path, "rename", denied)
        with log_lines() as lines:
            watching.look()
            assert watching.look() == ["NEW"] * 3
            assert watching.look() == []
        assert {line["reason"] for line in lines} == {"FILE_STUCK"}
        assert all(file.exists() for file in files)

    def test_hidden_files_are_nobody_s(self, files, watching):
        files[0].rename(files[0].with_name(".half-copied.dcm"))
        watching.look()
        assert watching.look() == ["NEW"] * 2

    def test_a_folder_that_does_not_exist(self, tmp_path, watching):
        (tmp_path / "file").write_text("")
        done = CliRunner().invoke(app, ["import", "--watch", str(tmp_path / "file")])
        assert "--watch needs one that exists" in str(done.exception)


@pytest.mark.slow
def test_the_command_watches_until_it_is_told_to_stop(tmp_path, files, ledger):
    command = [sys.executable, "-P", "-m", "dicom_node", "import", "--watch", str(tmp_path / "in")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONSAFEPATH": "1"})
    try:
        deadline = time.monotonic() + 60
        while arrivals(ledger) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
