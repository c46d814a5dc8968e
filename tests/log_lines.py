"""The log as its readers get it: what the allow-list leaves of each line."""

from contextlib import AbstractContextManager
from typing import Any

from structlog.testing import capture_logs

from dicom_node.observe import allow_listed, exception_name


def log_lines() -> AbstractContextManager[list[Any]]:
    """The lines written inside the block."""
    return capture_logs(processors=[exception_name, allow_listed])
