"""Record files: what survives a crash, what is refused; claims; status."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from warmstart.core.errors import WarmstartError
from warmstart.core.files import DiskFullError
from warmstart.experiments.records import claims
from warmstart.experiments.records.claims import CLAIM, STALE_SECONDS, Claim, ClaimedError, holder
from warmstart.experiments.records.records import RecordWriter
from warmstart.experiments.records.schema import read_jsonl
from warmstart.experiments.records.status import Status, StatusWriter, read_status

needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")


def test_records_read_back(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    writer = RecordWriter(path)
    records = [{"event": "evaluation", "step": 0, "returns": [1.5, -0.1]}, {"event": "end", "steps": 3}]
    for record in records:
        writer.append(record)
    assert read_jsonl(path) == records  # while the writer has it open
    writer.close()
    writer.close()
    assert path.read_text().count("\n") == 2


def test_a_new_writer_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    for step in (1, 2):
        writer = RecordWriter(path)
        writer.append({"step": step})
        writer.close()
    assert read_jsonl(path) == [{"step": 2}]


@pytest.mark.parametrize("torn", [b'{"step": 2', b"{", b"\x00\x00\x00", b'{"a": "\xc3', b"12"])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"step": 1}\n' + torn)
    assert read_jsonl(path) == [{"step": 1}]


def test_a_damaged_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(WarmstartError, match=r"records.jsonl, line 2: this is not a JSON object"):
        read_jsonl(path)


def test_a_missing_file_has_no_records(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "none.jsonl") == []


@needs_full_device
def test_a_full_disk_is_said_clearly() -> None:
    writer = RecordWriter(Path("/dev/full"))
    with pytest.raises(DiskFullError, match=r"disk is full.*free some space"):
        writer.append({"step": 1})


def test_a_claim_is_exclusive(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with Claim(tmp_path) as claim:
        owner = holder(tmp_path)
        assert owner is not None
        assert owner.pid == os.getpid()
        assert claim.is_ours()
        with pytest.raises(ClaimedError), Claim(tmp_path):
            pass
        assert claim.is_ours()
    assert holder(tmp_path) is None
    assert not (tmp_path / CLAIM).exists()


def test_a_claim_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom warmstart.experiments.records.claims import Claim\n"
        "with Claim(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ClaimedError, match=str(process.pid)), Claim(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / CLAIM).exists()
    assert holder(tmp_path) is None
    with Claim(tmp_path) as claim:
        assert claim.is_ours()


def test_a_silent_claim_of_another_host_goes_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "WATCHED_SECONDS", 0.2)
    path = tmp_path / CLAIM
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": "1", "token": "x"}))
    assert holder(tmp_path) is not None
    old = time.time() - STALE_SECONDS - 1
    os.utime(path, (old, old))
    assert holder(tmp_path) is not None  # clocks differ: it is watched first
    time.sleep(0.3)
    assert holder(tmp_path) is None


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_clock_that_jumps_costs_no_claim(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "WATCHED_SECONDS", 0.2)
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
    path = tmp_path / CLAIM
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": "1", "token": "x"}))
    for beat in range(8):
        then = time.time() + jump + beat
        os.utime(path, (then, then))
        assert holder(tmp_path) is not None
        time.sleep(0.05)
    beating = threading.Timer(0.03, os.utime, (path, (then + 9, then + 9)))
    beating.start()
    with pytest.raises(ClaimedError, match="process 1 on elsewhere"), Claim(tmp_path):
        pass
    beating.join()
    with Claim(tmp_path) as claim:  # its heart stands still now
        assert claim.is_ours()


def test_a_claim_knows_when_it_was_taken_over(tmp_path: Path) -> None:
    with Claim(tmp_path) as claim:
        (tmp_path / CLAIM).write_text(json.dumps({"token": "another"}))
        assert not claim.is_ours()
    assert (tmp_path / CLAIM).exists()  # the other's claim is left alone


def test_status_counts_attempts(tmp_path: Path) -> None:
    assert read_status(tmp_path) == Status()
    for attempt in (1, 2):
        writer = StatusWriter(tmp_path, total=100)
        writer.progress(50, last_return=3.0)
        assert read_status(tmp_path).attempt == attempt
        assert read_status(tmp_path).state == "running"
        writer.end("failed", "why")
    status = read_status(tmp_path)
    assert (status.state, status.step, status.total, status.last_return) == ("failed", 50, 100, 3.0)
    assert status.error == "why"
