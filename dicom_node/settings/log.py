"""What is logged."""

from typing import Literal

from dicom_node.settings.section import Section


class Log(Section):
    """What is logged, and how. Never a patient's data."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"
