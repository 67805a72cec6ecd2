"""A real archive: Orthanc, with DICOMweb, in a process of its own."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import requests

#: Sends what is stable, of all modalities that are scans, to the node: Orthanc's own rule.
ROUTE = """
function OnStableSeries(series, tags, metadata)
  if tags['Modality'] == 'CT' or tags['Modality'] == 'DX' then
    RestApiPost('/modalities/node/store', '{"Resources": ["' .. series .. '"], "Synchronous": false}')
  end
end
"""
PLUGINS = Path("/usr/share/orthanc/plugins")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_there() -> bool:
    return all(map(shutil.which, ("Orthanc", "storescu", "dsrdump")))


def tool(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    return found


class Archive:
    """Orthanc in `folder`, which knows a node at `node_port`; `start` and `stop` may be called again and again."""

    title = "ARCHIVE"

    def __init__(self, folder: Path, node_port: int, route: bool = True):
        self.folder, self.port, self.http, self.node_port = folder, free_port(), free_port(), node_port
        self.web = f"http://127.0.0.1:{self.http}/dicom-web"
        folder.mkdir(parents=True)
        (folder / "route.lua").write_text(ROUTE)
        self._told = folder / "orthanc.json"
        self._told.write_text(
            json.dumps(
                {
                    "AuthenticationEnabled": False,
                    "DicomAet": self.title,
                    "DicomModalities": {"node": ["LIQUIDLENS", "127.0.0.1", node_port]},
                    "DicomPort": self.port,
                    "DicomServerEnabled": True,
                    "HttpPort": self.http,
                    "IndexDirectory": str(folder / "index"),
                    "LuaScripts": [str(folder / "route.lua")] if route else [],
                    "OverwriteInstances": False,
                    "Plugins": [str(PLUGINS)] if PLUGINS.is_dir() else [],
                    "RemoteAccessAllowed": False,
                    "StableAge": 1,
                    "StorageDirectory": str(folder / "store"),
                }
            )
        )
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen([tool("Orthanc"), str(self._told)], stdout=log, stderr=log)
        for _ in range(600):
            try:
                requests.get(f"http://127.0.0.1:{self.http}/system", timeout=5).raise_for_status()
                return
            except requests.RequestException:
                assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        raise AssertionError("Orthanc does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def store(self, *files: Path) -> None:
        """Push files with dcmtk, as a modality does."""
        subprocess.run(
            [tool("storescu"), "-aec", self.title, "-aet", "SCANNER", "127.0.0.1", str(self.port), *map(str, files)],
            check=True,
            capture_output=True,
        )

    def put(self, file: Path) -> None:
        """Have a file kept as it is, whatever its UIDs are."""
        answer = requests.post(f"http://127.0.0.1:{self.http}/instances", data=file.read_bytes(), timeout=30)
        answer.raise_for_status()

    def ask(self, path: str) -> Any:
        answer = requests.get(f"http://127.0.0.1:{self.http}{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def reports(self, modality: str = "SR") -> list[str]:
        """Orthanc's names of the instances of this modality."""
        found = requests.post(
            f"http://127.0.0.1:{self.http}/tools/find",
            json={"Level": "Instance", "Query": {"Modality": modality}},
            timeout=30,
        )
        found.raise_for_status()
        return found.json()

    def file(self, name: str) -> bytes:
        answer = requests.get(f"http://127.0.0.1:{self.http}/instances/{name}/file", timeout=30)
        answer.raise_for_status()
        return answer.content
