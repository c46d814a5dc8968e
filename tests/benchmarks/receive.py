"""Receiving beside others: the same senders, the same images, round after round.

Every receiver has taken some images of another kind when its time begins: a listener of a hospital
runs for months, and its first association is not what it is asked about.

Names: ``receive.<durability>.<images>.<associations>.<metric>``; the peer's figure is of the same
rounds. CPU and memory are of the receiver's process with its children.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, have_memory, in_turn, row
from receivers import (
    AE,
    FORK,
    IGNORE,
    NODE,
    NODE_OS,
    ORTHANC,
    STOCK,
    STORESCP,
    clear,
    running,
)
from sinks import DICOM_SINK, SINK, send_to_sink
from traffic import Traffic, make_traffic, storescu

from dicom_node.domain.errors import DicomNodeError

ROUNDS = 5
TWO = "node os, 2 processes"
SETTLE_S, WARM_S = 1.5, 0.5
WARMING = 40
"""Images."""


@dataclass
class Cost:
    """Of one receiver in one cell: CPU seconds a gigabyte and resident memory, by round."""

    cpu_s_per_gb: list[float]
    rss_mib: list[float]


def rows() -> Iterator[Row]:
    """All cells, then what is asked beside them."""
    with TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        kinds = make_traffic(folder / "traffic", ["ct", "mr", "mg", "jpegls"])
        for traffic in kinds:
            for associations in (1, 4):
                yield from _cell(
                    traffic, _some_other(kinds, traffic), associations, folder / "cell"
                )
        yield from _nagle(kinds[:2], folder / "nagle")
        yield from _many_associations(kinds[1], folder / "setup")
        yield from _long_run(kinds[1], folder / "long")


def _some_other(kinds: Sequence[Traffic], traffic: Traffic) -> Traffic:
    """To warm up by: small images of another kind, so that none of them is sent twice."""
    ct, mr, *_ = kinds
    other = ct if traffic is mr else mr
    return replace(other, files=other.files[:WARMING])


def _cell(traffic: Traffic, warming: Traffic, associations: int, folder: Path) -> Iterator[Row]:
    names = [NODE, NODE_OS, STORESCP, IGNORE, ORTHANC, STOCK, SINK, DICOM_SINK]
    if associations > 1:
        names += [FORK, TWO]
    costs = {name: Cost([], []) for name in names}
    counter = iter(range(10**6))
    figures = in_turn(
        {
            name: partial(
                _images_per_s,
                name,
                traffic,
                associations,
                folder,
                counter,
                costs[name],
                warming=warming,
            )
            for name in names
        },
        ROUNDS,
        are_warm=True,
    )
    clear(folder)
    case = f"{traffic.name}.{associations}"
    yield from _against(
        figures,
        NODE,
        f"receive.durable.{case}",
        {ORTHANC: 1.5, SINK: 0.8, DICOM_SINK: None, STORESCP: None},
    )
    yield from _against(
        figures, NODE_OS, f"receive.os.{case}", {STORESCP: 1.2, IGNORE: None, STOCK: None}
    )
    yield row(figures, IGNORE, f"receive.ceiling.{case}.images_per_s", "images/s", STORESCP)
    if associations > 1:
        yield from _against(figures, TWO, f"receive.os.{case}.two_processes", {FORK: 1.0})
    yield from _costs(costs, case)


def _images_per_s(
    name: str,
    traffic: Traffic,
    associations: int,
    folder: Path,
    counter: Iterator[int],
    cost: Cost,
    *,
    nagle: bool = False,
    warming: Traffic | None = None,
) -> float:
    with running(name, folder / str(next(counter))) as receiver:
        if warming is not None and name != SINK:
            storescu(warming, receiver.port, AE, associations, nagle=nagle)
            time.sleep(WARM_S)
        have_memory(2 * traffic.gigabytes)
        before = receiver.cpu_s()
        started = time.perf_counter()
        if name == SINK:
            send_to_sink(traffic, receiver.port, associations)
        else:
            storescu(traffic, receiver.port, AE, associations, nagle=nagle)
        seconds = time.perf_counter() - started
        if receiver.pid:
            cost.rss_mib.append(receiver.rss_mib())
            time.sleep(SETTLE_S)  # what a receiver does behind its answers is its cost, too
            cost.cpu_s_per_gb.append((receiver.cpu_s() - before) / traffic.gigabytes)
    return len(traffic.files) / seconds


def _against(
    figures: dict[str, list[float]], ours: str, name: str, peers: Mapping[str, float | None]
) -> Iterator[Row]:
    """``peers`` with the ratio that is the goal, where there is one."""
    for peer, goal in peers.items():
        yield row(figures, ours, f"{name}.images_per_s", "images/s", peer, at_least=goal)


def _costs(costs: dict[str, Cost], case: str) -> Iterator[Row]:
    peer = statistics.median(costs[STORESCP].cpu_s_per_gb)
    for ours, durability in ((NODE, "durable"), (NODE_OS, "os")):
        cpu = statistics.median(costs[ours].cpu_s_per_gb)
        name = f"receive.{durability}.{case}"
        yield Row(f"{name}.cpu_s_per_gb", cpu, "s/GB", STORESCP, cpu / peer, at_most=1.5)
        yield Row(f"{name}.rss_mib", max(costs[ours].rss_mib), "MiB", at_most=150)


def _nagle(kinds: list[Traffic], folder: Path) -> Iterator[Row]:
    """Without TCP_NODELAY the senders wait for an acknowledgement of each half-filled packet."""
    counter = iter(range(10**6))
    for traffic in kinds:
        some = Traffic(traffic.name, traffic.files[:60], traffic.option)
        figures = in_turn(
            {
                name: partial(
                    _images_per_s, name, some, 1, folder, counter, Cost([], []), nagle=True
                )
                for name in (NODE_OS, STORESCP)
            },
            ROUNDS,
        )
        yield from _against(figures, NODE_OS, f"receive.nagle.{traffic.name}.1", {STORESCP: 10})
    clear(folder)


def _many_associations(traffic: Traffic, folder: Path) -> Iterator[Row]:
    """1,000 associations of one small image each, one after the other."""
    counter = iter(range(10**6))
    figures = in_turn(
        {
            name: partial(_one_image_each, name, traffic, folder, counter)
            for name in (NODE_OS, STORESCP)
        },
        ROUNDS,
    )
    clear(folder)
    yield from _against(figures, NODE_OS, "receive.associations.mr.1", {STORESCP: 0.8})


def _one_image_each(name: str, traffic: Traffic, folder: Path, counter: Iterator[int]) -> float:
    """Associations a second, made by a raw sender: a process for each would hide the receiver."""
    from knocker import knock

    with running(name, folder / str(next(counter))) as receiver:
        started = time.perf_counter()
        knock(receiver.port, AE, traffic.files)
        return len(traffic.files) / (time.perf_counter() - started)


def _long_run(traffic: Traffic, folder: Path) -> Iterator[Row]:
    """Resident memory over 20,000 images, none of which is sent twice: the most of it, and how it
    grows over the last 10,000 (least squares), when what fills once is full.
    """
    new = replace(traffic, option="+II")
    ways = {"durable": NODE, "os": NODE_OS}
    for (durability, name), associations in product(ways.items(), (1, 4)):
        sizes = []
        with running(name, folder / "0") as receiver:
            for _ in range(20):
                storescu(new, receiver.port, AE, associations, nagle=False)
                sizes.append(receiver.rss_mib())
            if receiver.cpu_s() <= 0:
                raise DicomNodeError("the receiver did nothing")
        clear(folder)
        growth = statistics.linear_regression(range(10), sizes[-10:]).slope * 10
        case = f"receive.{durability}.20000.{associations}"
        yield Row(f"{case}.rss_mib_per_10000", growth, "MiB")
        yield Row(f"{case}.rss_mib", max(sizes), "MiB")
