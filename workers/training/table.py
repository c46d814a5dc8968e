"""A table of cases as people write it: separators, endings of lines, and rows that are refused."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom_node.domain.errors import ConfigurationError

SEPARATORS = ",;\t"
"""Spreadsheets write one or another, by the country that they are set to."""
Row = Mapping[str, str]
"""By the names of the columns in lower case."""


def read_table(file: Path) -> Sequence[Row]:
    """All rows that say anything, in their order.

    Raises ConfigurationError: a file that is no UTF-8, no rows, two columns of one name, and a row
    with more values than there are columns, for then it is not known which is of which.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is no UTF-8: save it as CSV in UTF-8") from error
    except (csv.Error, ValueError) as error:
        raise ConfigurationError(f"{file} has no rows that can be read as CSV") from error
    columns = [name.strip().lower() for name in header]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{file} has two columns {', '.join(twice)}: leave one of each")
    said = [_row(file, columns, row) for row in rows if any(map(str.strip, row))]
    if not said:
        raise ConfigurationError(f"{file} has no rows")
    return said


def _separator(text: str) -> str:
    """The one that stands most often between the names of the columns."""
    return max(SEPARATORS, key=text.partition("\n")[0].count)


def _row(file: Path, columns: Sequence[str], values: Sequence[str]) -> Row:
    if any(map(str.strip, values[len(columns) :])):
        raise ConfigurationError(
            f"{file}: the row of {values[0]} has {len(values)} values, and there are "
            f"{len(columns)} columns: put values that hold a separator in quotes"
        )
    padded = [*values, *[""] * (len(columns) - len(values))]
    return {name: value.strip() for name, value in zip(columns, padded, strict=False) if name}
