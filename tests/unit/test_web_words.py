"""Every reason code that the node can give has a sentence; an unknown one is shown as it is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dicom_node
from dicom_node.domain.delivery import DELIVERY_TRANSITIONS, ResultKind
from dicom_node.domain.errors import ConfigurationError, DicomNodeError, Refused
from dicom_node.web import words

ROOT = Path(dicom_node.__file__).parent.parent
ON_THE_WIRE = {
    "UID_MISSING", "CLASS_MISMATCH", "UID_MISMATCH", "NOT_ALLOWED", "UID_INVALID", "REFUSED"
}  # fmt: skip
"""Answers to a sender: they never become a reason in the ledger."""


BY_THE_SWEEP = {
    "UID_CONFLICT", "PATIENT_MIX", "UNPARSEABLE", "LEASE_LOST", "NO_MODEL", "SUPERSEDED"
}  # fmt: skip
NAMED = re.compile(
    r'(?:\bcode=|_refuse\(\s*(?:path, )?|_refusal\(\s*uid, |release\(claim, )"([A-Z_]{4,})"'
)
"""How the source gives a reason code."""


def errors(kind: type[DicomNodeError] = DicomNodeError) -> Iterator[type[DicomNodeError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from errors(child)


@pytest.mark.parametrize("kind", list(errors()), ids=lambda kind: kind.__name__)
def test_the_code_of_every_error_is_told(kind: type[DicomNodeError]) -> None:
    if issubclass(kind, ConfigurationError) or kind.code in ON_THE_WIRE:
        return
    if issubclass(kind, Refused) and kind.__name__ == "Refused":
        return
    told = words.reason(kind.code)
    assert told
    assert told.what != kind.code


def codes_in_the_source() -> set[str]:
    """All but those of the door, which go to the sender and to the log."""
    found: set[str] = set()
    for folder in ("dicom_node", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            if "receive" not in path.parts:
                found |= set(NAMED.findall(path.read_text()))
    return found - ON_THE_WIRE


@pytest.mark.parametrize("code", sorted(codes_in_the_source() | BY_THE_SWEEP))
def test_every_code_that_the_source_names_is_told(code: str) -> None:
    told = words.reason(code)
    assert told
    assert told.what != code


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("STATUS_A700", "out of resources. (status 0xA700)"),
        ("STATUS_C123", "cannot understand"),
        ("STATUS_0122", "does not support this SOP class"),
        ("STATUS_B006", "with a warning"),
        ("STATUS_0107", "with a warning"),
        ("STATUS_0111", "has it already"),
        ("STATUS_0999", "answered with status 0x0999"),
    ],
)
def test_statuses_of_a_peer_are_told(code: str, part: str) -> None:
    told = words.reason(code)
    assert told
    assert part in told.what


def test_an_unknown_code_is_shown_as_it_is_and_no_code_is_nothing() -> None:
    assert words.reason("SOMETHING_NEW") == words.Reason("SOMETHING_NEW", "SOMETHING_NEW")
    assert words.reason("") is None
    assert words.event("something.new") == "something.new"
    assert words.kind("SOMETHING_NEW") == "SOMETHING_NEW"


def test_every_kind_and_delivery_state_has_a_word() -> None:
    assert set(words.KINDS) == set(ResultKind)
    assert set(words.DELIVERIES) == set(DELIVERY_TRANSITIONS)


def test_every_event_that_the_ledger_writes_has_a_word() -> None:
    source = "".join(path.read_text() for path in (ROOT / "dicom_node" / "ledger").glob("*.py"))
    written = set(re.findall(r'"((?:study|job|delivery)\.[a-z]+)"', source))
    assert {name for name in written if words.event(name) == name} == set()
