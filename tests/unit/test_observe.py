"""No log line carries patient data: an allow-list decides, and libraries are only named."""

import json
import logging
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from dicom_node.observe import log, printable, set_up_logging
from dicom_node.settings.log import Log


@pytest.fixture
def lines(capfd):
    root = logging.getLogger()
    before = (root.handlers[:], root.level, warnings.filters[:])
    set_up_logging(Log(level="DEBUG"))
    yield lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    structlog.reset_defaults()
    root.handlers[:], root.level = before[0], before[1]
    warnings.filters[:] = before[2]


def test_only_listed_fields_leave(lines):
    log("listen").warning("store.reject", reason="UID_MISMATCH", patient_name="ZZPHI^CANARY")
    (line,) = lines()
    assert line["reason"] == "UID_MISMATCH"
    assert "CANARY" not in json.dumps(line)


def test_an_exception_is_named_but_not_quoted(lines):
    try:
        raise ValueError("bad PatientName ZZPHI^CANARY")
    except ValueError as error:
        log("worker").error("job.stopped", exc_info=error)
    (line,) = lines()
    assert line["exception"].startswith("ValueError at ")
    assert "CANARY" not in json.dumps(line)


def test_libraries_are_named_but_not_quoted(lines):
    logging.getLogger("kombu.connection").error("value ZZPHI^CANARY")
    logging.getLogger("pydicom").error("value ZZPHI^CANARY")
    warnings.warn("value ZZPHI^CANARY", stacklevel=1)
    assert [line.get("library") for line in lines()] == ["kombu.connection"]


def test_control_characters_do_not_reach_the_terminal():
    assert printable("a\nb\x1b[31m\u202ec", 50) == "a\ufffdb\ufffd[31m\ufffdc"
    assert printable("x" * 500, 10) == "x" * 9 + "…"


def test_a_log_that_cannot_be_written_stops_nothing(lines, monkeypatch):
    with monkeypatch.context() as patch, suppress(OSError), Path("/dev/full").open("w") as full:
        patch.setattr("sys.stderr", full)
        log("listen").warning("store.reject", reason="NO_SPACE")
    log("listen").warning("store.reject", reason="EMPTY_AGAIN")
    assert [line["reason"] for line in lines()] == ["EMPTY_AGAIN"]
