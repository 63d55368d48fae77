"""Half a gigabyte goes through a small API process."""

from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Stack, upload, wait_for_end

MEGABYTE = 1024 * 1024


@pytest.fixture
def large_wav(tmp_path: Path) -> Path:
    """500 MB of silence as a WAV (4 h 20 min), sparse on disk."""
    path = tmp_path / "large.wav"
    data_bytes = 500 * MEGABYTE - 44
    header = b"RIFF" + (data_bytes + 36).to_bytes(4, "little") + b"WAVEfmt "
    header += (16).to_bytes(4, "little") + (1).to_bytes(2, "little") + (1).to_bytes(2, "little")
    header += (16000).to_bytes(4, "little") + (32000).to_bytes(4, "little")
    header += (2).to_bytes(2, "little") + (16).to_bytes(2, "little")
    header += b"data" + data_bytes.to_bytes(4, "little")
    with path.open("wb") as out:
        out.write(header)
        out.truncate(data_bytes + 44)
    return path


def test_half_a_gigabyte(api: httpx.Client, stack: Stack, large_wav: Path) -> None:
    process = api_process(api)

    response = upload(api, large_wav)

    assert response.status_code == 202
    assert peak_bytes(process) < 200 * MEGABYTE
    task = wait_for_end(api, response.json()["id"], seconds=150)
    assert task["status"] == "completed"
    assert "No speech was found in the recording." in task["warnings"]
    transcript = api.get(f"/api/v1/tasks/{task['id']}/result").json()
    assert transcript["segments"] == []
    assert transcript["duration"] == pytest.approx((500 * MEGABYTE - 44) / 32000)
    api.delete(f"/api/v1/tasks/{task['id']}")


def peak_bytes(process: psutil.Process) -> int:
    """The most memory that a process ever had resident (Linux keeps count)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


def api_process(api: httpx.Client) -> psutil.Process:
    """The process that listens where the API answers."""
    port = api.base_url.port
    for connection in psutil.net_connections("tcp"):
        if connection.status == "LISTEN" and connection.laddr.port == port and connection.pid:
            return psutil.Process(connection.pid)
    pytest.fail("nothing listens on the API's port")
