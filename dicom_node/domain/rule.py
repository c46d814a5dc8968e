"""TagRule: one condition on a header attribute, as manifests and settings write it."""

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator


class TagRule(BaseModel):
    """One condition on a header attribute; exactly one comparison is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keyword: str
    equals: str | float | None = None
    contains: str | None = None
    """A value of a multi-valued attribute, or a part of a text; upper and lower case are equal."""
    matches: str | None = None
    """A regular expression, searched for; upper and lower case are equal."""
    at_least: float | None = None
    at_most: float | None = None
    negate: bool = False

    @field_validator("keyword")
    @classmethod
    def _known_keyword(cls, keyword: str) -> str:
        from pydicom.datadict import tag_for_keyword  # late: settings need it only with a rule

        if tag_for_keyword(keyword) is None:
            raise ValueError(f"{keyword!r} is no DICOM keyword; see PS3.6 for the spelling")
        return keyword

    @field_validator("matches")
    @classmethod
    def _compilable(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        given = [
            name
            for name in ("equals", "contains", "matches", "at_least", "at_most")
            if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of equals, contains, matches, at_least, at_most "
                f"for {self.keyword}; found {given or 'none'}"
            )
        return self
