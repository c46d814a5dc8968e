"""When what was put off is due again: by the wall clock, and never at its mercy."""

import time

from sqlalchemy import Column, ColumnElement

LONGEST_PAUSE_S = 900.0
"""No pause of the ledger is longer; one that is was made by a clock that was moved back."""


def due(next_at: Column[float]) -> ColumnElement[bool]:
    """Due by the clock, or paused beyond the longest pause: then the clock was moved."""
    now = time.time()
    return (next_at <= now) | (next_at > now + LONGEST_PAUSE_S)
