"""Receiving beside DCMTK's storescp, which syncs nothing: the same sender, the same images."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, in_turn, row

from dicom_node.ledger import Ledger
from dicom_node.receive.listener import Listener
from dicom_node.redis_server import free_port
from dicom_node.settings import Listen
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

IMAGES = 100
PEER = "DCMTK storescp"


def rows() -> Iterator[Row]:
    """Images a second over one association of DCMTK's storescu."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = save_study(make_study(phantom(1, slices=IMAGES, size=512)), folder / "study")
        figures = in_turn(
            {
                "node": lambda: _node(folder / "node", files),
                PEER: lambda: _storescp(folder / "storescp", files),
            }
        )
    yield row(figures, "node", "receive.durable.ct.1.images_per_s", "images/s", PEER)


def _node(folder: Path, files: list[Path]) -> float:
    listen = Listen(port=free_port())
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
    listener = Listener(listen, folder / "store", ledger)
    listener.start()
    try:
        return _send(listen.port, listen.ae_title, files)
    finally:
        listener.stop()
        ledger.close()
        shutil.rmtree(folder)


def _storescp(folder: Path, files: list[Path]) -> float:
    folder.mkdir()
    port = free_port()
    receiver = subprocess.Popen(["storescp", "-od", str(folder), str(port)])
    time.sleep(0.3)
    try:
        return _send(port, "ANY", files)
    finally:
        receiver.terminate()
        receiver.wait()
        shutil.rmtree(folder)


def _send(port: int, ae_title: str, files: list[Path]) -> float:
    command = ["storescu", "-aec", ae_title, "127.0.0.1", str(port), *map(str, files)]
    started = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})
    return len(files) / (time.perf_counter() - started)
