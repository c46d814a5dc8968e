"""The campaign's record: what was injected, and what became of it."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

FULL = os.environ.get("FAULTS") == "full"
"""``make faults`` runs all of it; else a bounded part."""
LEAST = 200
"""Injections that a run of all files makes, damaged messages not counted."""
MESSAGES = "mutations"


def often(bounded: int, full: int) -> int:
    """How many times."""
    return full if FULL else bounded


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault, and what was found after the recovery."""

    area: str
    fault: str
    survived: bool
    lost: int = 0
    """Acknowledged instances, or jobs, that are gone."""
    duplicates: int = 0
    recovery_s: float = 0.0
    note: str = ""


@dataclass
class Campaign:
    """All injections of a run."""

    injections: list[Injection] = field(default_factory=list)

    def add(self, injection: Injection) -> None:
        """Record one, and fail the test at once if the node did not stand it."""
        self.injections.append(injection)
        sound = injection.survived and not injection.lost and not injection.duplicates
        assert sound, injection

    def rows(self) -> list[dict[str, object]]:
        """One row for each kind of fault."""
        groups: dict[tuple[str, str], list[Injection]] = defaultdict(list)
        for injection in self.injections:
            groups[injection.area, injection.fault].append(injection)
        return [_row(area, fault, group) for (area, fault), group in groups.items()]

    def write(self, path: Path) -> None:
        """Everything, as JSON."""
        content = {
            "total": _row("", "all", self.injections),
            "faults": self.rows(),
            "injections": [asdict(i) for i in self.injections],
        }
        path.write_text(json.dumps(content, indent=1) + "\n")

    def table(self) -> Iterable[str]:
        """Lines for people."""
        yield f"{'fault':58}{'tried':>6}{'survived':>9}{'lost':>6}{'twice':>6}{'longest':>9}"
        for row in [*self.rows(), _row("", "all", self.injections)]:
            name = f"{row['area']}: {row['fault']}" if row["area"] else str(row["fault"])
            yield (
                f"{name[:57]:58}{row['tried']:>6}{row['survived']:>9}{row['acknowledged_lost']:>6}"
                f"{row['duplicates']:>6}{row['longest_recovery_s']:>7} s"
            )


def shortfall(report: Path) -> str:
    """What the written report of a whole run says against it; nothing: all is well."""
    written = json.loads(report.read_text())
    total, tried = (
        written["total"],
        sum(row["tried"] for row in written["faults"] if row["area"] != MESSAGES),
    )
    found = {
        f"{tried} faults were tried, at least {LEAST} should be": tried < LEAST,
        "not all were survived": total["survived"] < total["tried"],
        f"{total['acknowledged_lost']} were lost": total["acknowledged_lost"],
        f"{total['duplicates']} came twice": total["duplicates"],
    }
    return "; ".join(what for what, holds in found.items() if holds)


def _row(area: str, fault: str, group: list[Injection]) -> dict[str, object]:
    return {
        "area": area,
        "fault": fault,
        "tried": len(group),
        "survived": sum(i.survived for i in group),
        "acknowledged_lost": sum(i.lost for i in group),
        "duplicates": sum(i.duplicates for i in group),
        "longest_recovery_s": round(max((i.recovery_s for i in group), default=0), 2),
    }
