"""A real Orthanc on free ports, started and ended by its own process."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from dicom_node.redis_server import free_port
from dicom_node.send.cstore import Peer
from dicom_node.settings.listen import Listen

AE_TITLE = "ORTHANC"
PLUGINS = "/usr/share/orthanc/plugins"


@dataclass
class Orthanc:
    """Its addresses, and its REST API."""

    dicom_port: int
    http: httpx.Client

    @property
    def peer(self) -> Peer:
        """Where to send to."""
        return Peer("127.0.0.1", self.dicom_port, AE_TITLE, "TEST")

    def know(self, listen: Listen) -> None:
        """Let it report to a listener."""
        where = {"AET": listen.ae_title, "Host": listen.host, "Port": listen.port}
        self.http.put("/modalities/node", json=where).raise_for_status()

    def get(self, path: str) -> Any:
        """JSON of a REST resource."""
        return self.http.get(path).raise_for_status().json()

    def study(self, study_instance_uid: str) -> dict[str, Any]:
        """The study's resource."""
        query = {
            "Level": "Study",
            "Query": {"StudyInstanceUID": study_instance_uid},
            "Expand": True,
        }
        (found,) = self.http.post("/tools/find", json=query).raise_for_status().json()
        return dict(found)

    def instances(self, study_instance_uid: str) -> list[dict[str, Any]]:
        """Tags of all instances of a study, by keyword."""
        study = self.study(study_instance_uid)
        return [
            self.get(f"/instances/{i['ID']}/simplified-tags") | {"_id": i["ID"]}
            for i in self.get(f"/studies/{study['ID']}/instances")
        ]

    def file(self, orthanc_id: str) -> bytes:
        """The stored DICOM file of an instance."""
        return self.http.get(f"/instances/{orthanc_id}/file").raise_for_status().content


TRIES = 3
"""Of starting: somebody else may take a free port before it does."""


@contextmanager
def running_orthanc(
    program: str, folder: Path, modalities: Mapping[str, Sequence[Any]] = MappingProxyType({})
) -> Iterator[Orthanc]:
    """Start Orthanc with its data in a folder; end it at the end of the block.

    ``modalities``: those that it knows, [AE title, host, port] by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for last in (False,) * (TRIES - 1) + (True,):
        http_port, dicom_port = free_port(), free_port()
        _configure(folder, http_port, dicom_port, modalities)
        with (folder / "log").open("w") as log:
            command = [program, str(folder / "orthanc.json")]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=30) as http:
                try:
                    _wait(http, process, folder / "log")
                except RuntimeError as error:
                    if last or "already in use" not in str(error):
                        raise
                    continue
                yield Orthanc(dicom_port, http)
                return
        finally:
            process.terminate()
            process.wait(30)


def _configure(
    folder: Path, http_port: int, dicom_port: int, modalities: Mapping[str, Sequence[Any]]
) -> None:
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": AE_TITLE,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowFind": True,
        "DicomModalities": dict(modalities),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [f"{PLUGINS}/libOrthancDicomWeb.so"],
        "UnknownSopClassAccepted": True,  # label maps are younger than this Orthanc
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))


def _wait(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])
        try:
            http.get("/system").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("Orthanc did not start within 30 s")
