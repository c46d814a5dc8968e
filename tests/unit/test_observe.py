"""No log line carries patient data: an allow-list decides, and libraries are only named."""

import ast
import json
import logging
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

import dicom_node
from dicom_node.observe import FIELDS, log, printable, set_up_logging
from dicom_node.settings.log import Log


@pytest.fixture
def lines(capfd, monkeypatch):
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)  # to be put back
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


def test_no_line_names_a_field_that_is_dropped():
    """Of a dictionary of fields nothing is known here: that is what the doors' tests are for."""
    root = Path(dicom_node.__file__).parent
    for file in [*root.rglob("*.py"), *(root.parent / "workers").rglob("*.py")]:
        for call in (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)):
            how = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            first = call.args[0] if call.args else None
            if how in ("debug", "info", "warning", "error", "critical") or how == "_tell":
                names = {keyword.arg for keyword in call.keywords if keyword.arg}
                assert names <= FIELDS | {"exc_info", "extra"}, (file.name, ast.dump(first))


def test_a_list_is_cut_in_its_length_and_in_its_parts(lines):
    log("listen").warning("assoc.note", sop_classes=["CT Image Storage", "9" * 100] + ["1"] * 200)
    (line,) = lines()
    assert line["sop_classes"][:2] == ["CT Image Storage", "9" * 63 + "…"]
    assert len(line["sop_classes"]) == 128


def fail():
    raise ValueError("bad PatientName ZZPHI^CANARY")


def test_an_exception_that_nobody_caught_is_not_quoted_either(lines):
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    with pytest.raises(ValueError, match="CANARY") as caught:
        fail()
    sys.excepthook(caught.type, caught.value, caught.tb)
    of_thread, of_process = lines()
    assert (of_thread["event"], of_process["event"]) == ("thread.failed", "process.failed")
    for line in (of_thread, of_process):
        assert line["exception"].startswith("ValueError at fail:")
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
