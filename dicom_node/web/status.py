"""What monitors ask: is the process alive, can it work, how much waits. No patient data."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_node import __version__
from dicom_node.domain.delivery import DeliveryState
from dicom_node.domain.errors import DicomNodeError
from dicom_node.domain.job import JobState
from dicom_node.domain.study import StudyState
from dicom_node.ledger.pages import Counts
from dicom_node.ledger.roles import RoleSeen
from dicom_node.web.site import Here, Site

router = APIRouter()

Values = Iterable[tuple[tuple[str, ...], float]]


@router.get("/healthz")
async def healthz() -> PlainTextResponse:
    """The process answers; it waits for no thread that others have."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(site: Here) -> JSONResponse:
    """The ledger answers and the store can be written; 503 says which does not."""
    checks: dict[str, Callable[[Site], object]] = {"ledger": _ledger, "store": _store}
    found = {name: _outcome(check, site) for name, check in checks.items()}
    ready = set(found.values()) == {"ok"}
    return JSONResponse(found, 200 if ready else 503)


def _outcome(check: Callable[[Site], object], site: Site) -> str:
    try:
        check(site)
    except (DicomNodeError, OSError) as error:
        return type(error).__name__
    return "ok"


def _ledger(site: Site) -> None:
    site.ledger.database.revision()


def _store(site: Site) -> None:
    with tempfile.TemporaryFile(dir=site.store.incoming) as file:
        file.write(b"ready")
        file.flush()


@router.get("/metrics")
def metrics(site: Here) -> Response:
    """Gauges for Prometheus, read from the ledger now."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(site))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class LedgerCollector(Collector):
    """The ledger's counts as gauges; a state that nothing is in says 0, so that alarms can ask."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One consistent moment of the ledger."""
        counts = self._site.ledger.pages.counts()
        yield from _by_state(counts)
        yield self._deliveries(counts)
        yield _gauge("instances", "Instances received.", counts.instances)
        yield _gauge("stored_bytes", "Bytes of the instances received.", counts.stored_bytes)
        free = shutil.disk_usage(self._site.store.root).free
        yield _gauge("store_free_bytes", "Bytes free on the disk of the store.", free)
        waits = "Since the oldest job that waits for a worker was opened; 0: none waits."
        yield _gauge("oldest_wait_seconds", waits, counts.oldest_wait_s)
        yield self._roles()
        paused = {(model.id,): 1.0 for model in self._site.ledger.breaker.paused()}
        meaning = "Models whose jobs wait for a person: reason MODEL_PAUSED."
        yield _labelled("model_paused", meaning, ("model",), paused.items())
        yield _labelled("info", "The running version.", ("version",), [((__version__,), 1)])

    def _roles(self) -> GaugeMetricFamily:
        now = time.time()
        seen = {(r.name, r.host): now - r.seen_at for r in self._site.ledger.roles.seen()}
        meaning = "Since a process of the node gave its last sign of life."
        return _labelled("role_silent_seconds", meaning, ("role", "host"), seen.items())

    def _deliveries(self, counts: Counts) -> GaugeMetricFamily:
        names = self._site.destinations
        zeros = {(name, state.value): 0 for name in names for state in DeliveryState}
        found = zeros | dict(counts.deliveries)
        meaning = "Objects by destination and state."
        return _labelled("deliveries", meaning, ("destination", "state"), found.items())


def silent_roles(seen: Iterable[RoleSeen]) -> dict[str, float]:
    """Roles of which no process lives, on any host, with their last sign of life."""
    known = sorted(seen, key=lambda role: role.seen_at)
    living = {role.name for role in known if role.lives}
    return {role.name: role.seen_at for role in known if role.name not in living}


def _by_state(counts: Counts) -> Iterable[GaugeMetricFamily]:
    studies = {(state.value,): 0 for state in StudyState}
    studies |= {(state,): n for state, n in counts.studies.items()}
    yield _labelled("studies", "Studies by state.", ("state",), studies.items())
    jobs = {(state.value,): 0 for state in JobState}
    jobs |= {(state,): n for state, n in counts.jobs.items()}
    yield _labelled("jobs", "Jobs by state.", ("state",), jobs.items())


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"dicom_node_{name}", meaning, value=value)


def _labelled(
    name: str, meaning: str, labels: tuple[str, ...], values: Values
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dicom_node_{name}", meaning, labels=labels)
    for key, value in sorted(values):
        family.add_metric(key, value)
    return family
