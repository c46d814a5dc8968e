"""Logs without patient data: an allow-list decides which fields may leave the process.

A line is an event name (``store.reject``) and fields from ``FIELDS``: UIDs, reason codes, counts,
peers. Anything else is dropped, text is cut and its control characters removed, so that not even
a programming error puts a header's value into a log. Messages of libraries are replaced by the
name of the logger that spoke, for they quote what they choke on.
"""

import logging
import sys
import threading
import unicodedata
import warnings
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import structlog

from dicom_node.settings.log import Log

FIELDS = frozenset(
    {
        "event", "level", "timestamp", "service", "role", "version", "exception",
        "reason", "status", "peer", "aet", "called", "assoc", "bytes", "count", "seconds",
        "study", "series", "sop", "sop_classes", "transfer_syntax", "kind",
        "job", "delivery", "destination", "model", "attempt", "state", "generation",
        "host", "port", "url", "pid", "signal", "advice", "library", "error", "pack", "transaction",
    }
)  # fmt: skip
LONGEST, LONGEST_OF_MANY, MOST = 300, 64, 128
"""Characters of a text, of each of a list, and how many of it: those of one association request."""
Event = MutableMapping[str, Any]


def log(role: str) -> Any:
    """A logger whose lines say which role of the node speaks."""
    return structlog.get_logger(role=role)


def set_up_logging(settings: Log) -> None:
    """Route every log line of this process, the libraries' too, through the allow-list."""
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if settings.format == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            exception_name,
            allow_listed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.level)),
        logger_factory=_Logger,
    )
    _quiet_libraries()
    threading.excepthook = _tell_of_thread
    sys.excepthook = _tell_of_process


def _tell_of_thread(caught: threading.ExceptHookArgs) -> None:
    """Python itself would print an exception that nobody caught, with what it quotes."""
    if caught.exc_type is not SystemExit:
        log("thread").critical("thread.failed", reason="INTERNAL", exc_info=caught.exc_value)


def _tell_of_process(_type: object, error: BaseException, _trace: object) -> None:
    log("process").critical("process.failed", reason="INTERNAL", exc_info=error)


def exception_name(_logger: object, _method: str, event: Event) -> Event:
    """Keep of an exception its type and where it was raised, not its text."""
    info = event.pop("exc_info", None)
    if info:
        error = info if isinstance(info, BaseException) else sys.exc_info()[1]
        trace = error.__traceback__ if error else None
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f" at {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else ""
        event["exception"] = type(error).__name__ + where
    return event


def allow_listed(_logger: object, _method: str, event: Event) -> Event:
    """Drop the fields that are not in ``FIELDS``; make the others safe to print."""
    kept = {key: _safe(value) for key, value in event.items() if key in FIELDS}
    kept["service"] = "dicom-node"
    return kept


def _safe(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [printable(str(each), LONGEST_OF_MANY) for each in value[:MOST]]
    return printable(str(value), LONGEST)


def printable(text: str, longest: int) -> str:
    """Text without control, format and line-breaking characters, cut to a length."""
    clean = "".join(
        c
        if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029"
        else "\N{REPLACEMENT CHARACTER}"
        for c in text[: longest + 1]
    )
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


class _Logger:
    """Writes lines to stderr; a full disk behind it costs the line, never the work."""

    _lock = threading.Lock()

    def __init__(self, *_: object) -> None:
        """Take the arguments of ``structlog.get_logger``, of which there are none."""

    def msg(self, line: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = log = msg


class _LibraryHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(role="library")
        logger.log(record.levelno, "library.message", library=record.name)


def _quiet_libraries() -> None:
    warnings.simplefilter("ignore")
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(logging.ERROR)
    for name in ("pynetdicom", "pydicom", "celery", "kombu", "uvicorn", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL if name[:2] == "py" else logging.ERROR)
