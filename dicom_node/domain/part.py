"""What all parts of a manifest share."""

from pydantic import BaseModel, ConfigDict, Field
from pydicom.sr.coding import Code


class Part(BaseModel):
    """A table of ``manifest.toml``: unknown keys are errors, and nothing changes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CodedConcept(Part):
    """A coded concept: CodeValue, CodingSchemeDesignator, CodeMeaning (PS3.3 section 8.8)."""

    value: str = Field(min_length=1, max_length=16)
    scheme: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)

    @property
    def code(self) -> Code:
        """The same as pydicom's named tuple."""
        return Code(self.value, self.scheme, self.meaning)
