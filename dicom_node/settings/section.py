"""What sections of the settings are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$")
]
Host = Annotated[str, Field(max_length=253, pattern=r"^[^\s.]{1,63}(\.[^\s.]{1,63})*\.?$")]
"""A name or an address. None would be this machine, and an empty label ends the connecting."""
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of the file: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
