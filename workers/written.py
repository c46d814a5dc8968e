"""Text files that people write: manifests, cards, recipes."""

from pathlib import Path

from dicom_node.domain.errors import ConfigurationError


def read_text(file: Path) -> str:
    """The text, without the mark that some editors put in front of it.

    Raises ConfigurationError for what is no UTF-8.
    """
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file.name} is no UTF-8: save it in UTF-8") from error
