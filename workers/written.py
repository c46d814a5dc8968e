"""Files that people name: manifests, cards and recipes to read, and where results are to go."""

import os
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


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigurationError where nobody may make this file or folder, or write into it."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    is_place = there == path.absolute() or there.is_dir()
    if not is_place or not os.access(there, os.W_OK):
        raise ConfigurationError(
            f"{path} cannot be written: {there} is {'for others' if is_place else 'no folder'}; "
            "name another place"
        )


def refuse_no_folder(path: Path) -> None:
    """Raise ConfigurationError for a place where no folder is, or can be made."""
    if path.exists() and not path.is_dir():
        raise ConfigurationError(f"{path} is a file: name a folder")
    refuse_unwritable(path)
