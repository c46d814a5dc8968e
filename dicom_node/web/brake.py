"""A brake on guessing a password: of each address a few different wrong ones a minute are heard.

The same wrong one again is no new guess, so that a page that refreshes with an old password locks
nobody out. A browser that was let in before stays in, whoever guesses from its address: behind a
proxy, all have the same.
"""

import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from threading import Lock
from time import monotonic

MOST_GUESSES, PERIOD_S = 10, 60.0
MOST_ADDRESSES, MOST_BROWSERS = 4096, 1024
"""That are remembered; those that were heard of first are forgotten first."""


class Brake:
    """What was guessed, by address. Any number of threads may call."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._key = secrets.token_bytes(32)
        self._guesses: OrderedDict[str, dict[bytes, float]] = OrderedDict()
        self._browsers: OrderedDict[str, None] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """For how many seconds nothing is heard of an address; 0: it may say a password."""
        with self._lock:
            recent = self._recent(address)
            if len(recent) < MOST_GUESSES:
                return 0.0
            return min(recent.values()) + PERIOD_S - monotonic()

    def wrong(self, address: str, guess: bytes) -> None:
        """Remember a wrong password, by a digest that only this process can make."""
        digest = hashlib.blake2b(guess, key=self._key, digest_size=16).digest()
        with self._lock:
            recent = self._recent(address)
            recent.setdefault(digest, monotonic())
            self._guesses[_network(address)] = recent
            if len(self._guesses) > MOST_ADDRESSES:
                self._guesses.popitem(last=False)

    def let_in(self, token: str) -> None:
        """Remember the token of a browser that said the right password."""
        with self._lock:
            self._browsers[token] = None
            if len(self._browsers) > MOST_BROWSERS:
                self._browsers.popitem(last=False)

    def knows(self, token: str) -> bool:
        """Whether the browser that holds this token was let in."""
        with self._lock:
            return token in self._browsers

    def _recent(self, address: str) -> dict[bytes, float]:
        since = monotonic() - PERIOD_S
        guesses = self._guesses.get(_network(address), {})
        return {digest: at for digest, at in guesses.items() if at > since}


def _network(address: str) -> str:
    """One machine may have all of an IPv6 network of 64 bits."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else address
