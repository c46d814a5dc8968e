"""The parts of a multipart/related body (RFC 2387), each to a file as it comes.

Memory does not grow with what is sent.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from dicom_node.receive.intake import Draft, Intake, Outcome

DICOM = b"application/dicom"
MOST_PARTS = 10_000


class Unwanted(Exception):
    """The request as a whole is not what PS3.18 asks for; ``status`` is HTTP's."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


class Parts:
    """What is written is taken apart, and every part that ends is handed to ``take``."""

    def __init__(self, boundary: bytes, intake: Intake, take: Callable[[Draft], Outcome]) -> None:
        self._intake = intake
        self._take = take
        self._draft: Draft | None = None
        self._outcomes: list[Outcome] = []
        self._name = self._value = b""
        self._ended = False
        with _readable():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_name,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header,
                    "on_part_data": self._on_data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )

    def write(self, chunk: bytes) -> None:
        """Take what came next. Raises ``Unwanted``."""
        with _readable():
            self._parser.write(chunk)

    def finish(self) -> Sequence[Outcome]:
        """What became of each part. Raises ``Unwanted`` where the last is not closed."""
        if not self._ended:
            raise Unwanted(400, "MULTIPART", "The last boundary is missing.")
        if not self._outcomes:
            raise Unwanted(400, "MULTIPART", "There is no part.")
        return self._outcomes

    def discard(self) -> None:
        """Forget a part that is not whole."""
        if self._draft is not None:
            self._draft.discard()

    def _begin(self) -> None:
        if len(self._outcomes) >= MOST_PARTS:
            raise Unwanted(413, "BODY_SIZE", f"Send at most {MOST_PARTS} instances at a time.")
        self._name = self._value = b""
        self._draft = self._intake.draft()

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        kind = self._value.partition(b";")[0].strip().lower()
        if self._name.lower() == b"content-type" and kind != DICOM:
            raise Unwanted(415, "MEDIA_TYPE", "Every part must be application/dicom.")
        self._name = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._draft is not None:
            self._draft.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._draft is not None:
            self._outcomes.append(self._take(self._draft))
        self._draft = None

    def _finish(self) -> None:
        self._ended = True


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise Unwanted(400, "MULTIPART", "The body is not what its boundary says.") from error
