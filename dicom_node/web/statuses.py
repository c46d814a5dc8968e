"""What a destination answered, in words: DIMSE statuses, and its reasons not to commit."""

import re

_STATUS = re.compile(r"STATUS_([0-9A-F]{4})")
_COMMITMENT = re.compile(r"COMMITMENT_([0-9A-F]{4})")
_LOST = "The node asks and sends again by itself. If it is held, read the destination's log first."
_STATUSES = (
    (r"B...|0001|0107|0116", "The destination took it with a warning.", ""),
    (r"0111", "The destination has it already.", ""),
    (r"A7..|0213", "The destination is out of resources.", "Sending goes on by itself."),
    (r"0110", "The destination failed to process it.", "Sending goes on by itself."),
    (
        r"0122|A8..",
        "The destination does not support this SOP class.",
        "Allow it there, or leave it out of this destination's kinds, then send again.",
    ),
    (
        r"0124",
        "The destination does not allow this node to store.",
        "Give its AE title the right to store there, then send again.",
    ),
    (
        r"A9..|C...",
        "The destination says that it cannot understand the object.",
        "Read its log, correct it there, then send again.",
    ),
)


def told(code: str) -> tuple[str, str] | None:
    """What happened and what to do, of a reason code that holds a status; none for any other.

    PS3.4 Table B.2-1, PS3.3 section C.14 (Failure Reason), PS3.7 Annex C.
    """
    if match := _COMMITMENT.fullmatch(code):
        return f"The destination does not confirm it (code 0x{match[1]}).", _LOST
    match = _STATUS.fullmatch(code)
    if match is None:
        return None
    for pattern, what, do in _STATUSES:
        if re.fullmatch(pattern, match[1]):
            return f"{what} (status 0x{match[1]})", do
    return f"The destination answered with status 0x{match[1]}.", ""
