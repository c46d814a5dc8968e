"""The page, and who may see it."""

import ipaddress
from typing import Self

from pydantic import SecretStr, model_validator

from dicom_node.settings.section import Port, Section


def is_loopback(host: str) -> bool:
    """Whether a listening address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Web(Section):
    """The page."""

    host: str = "127.0.0.1"
    port: Port = 8080
    password: SecretStr | None = None
    """Asked for by HTTP Basic with any user name; must be set when ``host`` is not loopback."""
    rejection_password: SecretStr | None = None
    """Asked for before a result is rejected, of those who may retract; none: whoever may review."""

    @model_validator(mode="after")
    def _password_beyond_loopback(self) -> Self:
        if not is_loopback(self.host) and self.password is None:
            raise ValueError(
                f"host {self.host} can be reached from other machines: set password (better, as a "
                "secret file web__password), and put a TLS proxy in front"
            )
        return self
