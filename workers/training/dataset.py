"""A data set: a folder with a table of its images, ``data.csv``, and a split that leaks no patient.

One row is one case: an image file (PNG, JPEG, TIFF), a NIfTI file, or a folder of DICOM files of
one series, or of the views of one study. Columns, in any order:

- ``image``: its path beside the table; or ``id``: then it is ``images/<id>.*``, and its mask
  ``masks/<id>.*``;
- ``name`` or ``label``: labels of the manifest's targets that are there, or of its quantities that
  the mask is of, several with ``;`` between them, none where it is empty;
- ``patient``, ``fold``: who it is of, and which part of the data it belongs to. Without folds,
  patients are shared out over five of them; without patients, DICOM files say who it is, and of
  other files folds are taken for what they say they are, as long as no image is in two: by its
  SOP Instance UID or its pixels, whoever it is said to be of;
- ``mask``: a file with the same pixels, above 0 where the finding is, or the structure that a
  number measures; a NIfTI file lies where its header says, if that and its images name a place.
  Of a folder of DICOM files also a folder with a mask for each of them, called as it is: an image
  without one shows nothing. Of several segments or targets, which ``evaluate`` measures one by
  one, the value n is the n-th of the manifest;
- a column called as a quantity of the manifest: its true number, in the manifest's unit;
- ``reference``: what a model that makes images should make of it, a file or a folder as the image;
- ``spacing_mm``: of an image file's pixels; ``sex``, ``age``, ``manufacturer``,
  ``slice_thickness``: subgroups to measure; of an image file also how thick a slice it is, in mm.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom
from pydicom.misc import is_dicom

from dicom_node.domain.errors import ConfigurationError
from workers.training.leaks import refuse_leaks
from workers.training.table import Row, read_table

FOLDS = 5
FACTS = ("sex", "age", "manufacturer", "slice_thickness")
KEYWORDS = ("PatientSex", "PatientAge", "Manufacturer", "SliceThickness")


@dataclass(frozen=True, slots=True)
class Example:
    """One case of a data set."""

    name: str
    image: Path
    """A file, or a folder of DICOM files."""
    labels: frozenset[str]
    fold: str
    patient: str | None = None
    mask: Path | None = None
    spacing_mm: float | None = None
    facts: Mapping[str, str] | None = None
    reference: Path | None = None
    """What a model should make of the image: a file, or a folder of DICOM files."""
    columns: Mapping[str, str] | None = None
    """All that its row says, by the names of the columns in lower case."""


def read_data(folder: Path, *, labelled: bool = True) -> tuple[Example, ...]:
    """The cases of a data set, in the order of its table; only those of targets are ``labelled``.

    Raises ConfigurationError: no table or several, a column or a file that is missing, and a
    patient or an image in more than one fold.
    """
    rows, files = read_table(_table(folder)), _Files(folder)
    examples = _spelt_alike([_example(files, row, labelled) for row in rows])
    _refuse_repeated(examples)
    shared = _with_folds(examples)
    refuse_leaks(shared)
    return shared


def _table(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    named = [table for table in tables if table.name == "data.csv"] or tables
    if len(named) != 1:
        found = ", ".join(table.name for table in tables) or "none"
        raise ConfigurationError(f"{folder} has to hold one table, data.csv; found: {found}")
    return named[0]


def _example(files: "_Files", given: Row, labelled: bool) -> Example:
    folder, image = files.folder, files.of(given, "image", "images")
    if image is None:
        raise ConfigurationError(f"{folder}: its table needs a column image, or id")
    example = Example(
        name=given.get("id") or given["image"],
        image=image,
        labels=frozenset(filter(None, map(str.strip, _labels(folder, given, labelled).split(";")))),
        fold=given.get("fold", ""),
        patient=given.get("patient") or None,
        mask=files.of(given, "mask", "masks"),
        spacing_mm=_spacing(folder, given),
        facts={name: given[name] for name in FACTS if given.get(name)},
        reference=files.of({"reference": given.get("reference", "")}, "reference", ""),
        columns=given,
    )
    return _with_headers(example) if image.is_dir() else example


def _spacing(folder: Path, given: Row) -> float | None:
    written = given.get("spacing_mm")
    if not written:
        return None
    try:
        spacing = float(written)
    except ValueError:
        spacing = math.nan
    if not 0 < spacing < math.inf:
        raise ConfigurationError(
            f"{folder}: its table has the spacing_mm {written!r}, and that is a number in mm"
        )
    return spacing


def _labels(folder: Path, given: Row, labelled: bool) -> str:
    for column in ("name", "label"):
        if column in given:
            return given[column]
    if not labelled:
        return ""
    raise ConfigurationError(f"{folder}: its table needs a column label: what each case shows")


@dataclass
class _Files:
    """Those that a table names; a folder is listed once, however many rows name a file of it."""

    folder: Path
    listed: dict[Path, Mapping[str, list[Path]]] = field(default_factory=dict)

    def of(self, given: Mapping[str, str], column: str, home: str) -> Path | None:
        """Where a column says it is, or where the id says so; none where neither does."""
        if given.get(column):
            found = [self._named(given[column])]
        elif given.get("id"):
            found = self._called(self.folder / home / given["id"])
            if not found and home == "masks":
                return None
        else:
            return None
        if len(found) > 1:
            raise ConfigurationError(
                f"{self.folder}: {' and '.join(file.name for file in found)} are both called as "
                f"the id {given['id']}: name one in a column {column}"
            )
        path = found[0].resolve() if found else self.folder / home / given["id"]
        if not path.is_relative_to(self.folder.resolve()) or not path.exists():
            raise ConfigurationError(
                f"{self.folder}: its table names {path.name}, which is not in it"
            )
        return path

    def _named(self, written: str) -> Path:
        """Also by a path that Windows wrote."""
        path = self.folder / written
        return path if path.exists() else self.folder / written.replace("\\", "/")

    def _called(self, place: Path) -> list[Path]:
        """Files called so but for their ending, in order."""
        if place.parent not in self.listed:
            self.listed[place.parent] = _by_name(place.parent)
        return self.listed[place.parent].get(place.name, [])


def _by_name(folder: Path) -> Mapping[str, list[Path]]:
    """What lies in a folder, by its name without its ending."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        found[path.name.removesuffix(".gz").rpartition(".")[0]].append(path)
    return dict(found)


def _with_headers(example: Example) -> Example:
    """What the table leaves out, from the headers of one of the DICOM files."""
    files = (path for path in sorted(example.image.rglob("*")) if path.is_file())
    first = next(filter(is_dicom, files), None)
    if first is None:
        raise ConfigurationError(f"{example.image} holds no DICOM files")
    header = pydicom.dcmread(first, stop_before_pixels=True, specific_tags=["PatientID", *KEYWORDS])
    values = zip(FACTS, (header.get(keyword) for keyword in KEYWORDS), strict=True)
    told = {name: str(value) for name, value in values if value not in (None, "")}
    patient = example.patient or str(header.get("PatientID") or "").strip() or None
    return replace(example, patient=patient, facts={**told, **(example.facts or {})})


def _spelt_alike(examples: Sequence[Example]) -> Sequence[Example]:
    """Patients whose names differ by capitals or spaces alone are one, as the first is written."""
    first: dict[str, str] = {}
    for patient in filter(None, (example.patient for example in examples)):
        first.setdefault(_spelling(patient), patient)
    return [
        replace(e, patient=first[_spelling(e.patient)] if e.patient else None) for e in examples
    ]


def _spelling(patient: str) -> str:
    return " ".join(patient.split()).casefold()


def _refuse_repeated(examples: Sequence[Example]) -> None:
    """What one row says of an image is all that is known of it: others would contradict it."""
    counts = Counter(example.image for example in examples)
    twice = [example.name for example in examples if counts[example.image] > 1]
    if twice:
        raise ConfigurationError(
            f"{twice[0]} has more than one row in the table: write one for each image, with all "
            "its labels, ; between them, and one mask"
        )


def _with_folds(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Patients shared out over folds, always alike, where the table names none."""
    without = sum(not example.fold for example in examples)
    if 0 < without < len(examples):
        raise ConfigurationError(
            f"{without} of {len(examples)} rows of the table have no fold: fill the column, or "
            "leave it out, and patients are shared out"
        )
    if not without:
        return tuple(examples)
    if any(example.patient is None for example in examples):
        raise ConfigurationError(
            "the table needs a column patient, or fold: images of one patient must not be divided",
            code="DATA_LEAK",
        )
    return tuple(replace(e, fold=str(1 + _number(e.patient or "") % FOLDS)) for e in examples)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
