"""The monitoring's data: saved, restored, and freed from samples of the future."""

import io
import json
import tarfile
import time
from pathlib import Path

import pytest

from machine import backup
from unit.fake_machine import Machine


@pytest.fixture
def data(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let Prometheus run with a file of data; return the folder of its volume."""
    folder = machine.folder / "volumes/app-prometheus/_data"
    folder.mkdir(parents=True)
    (folder / "samples").write_text("first")
    machine.holds("app-prometheus-1")
    machine.write(volumes={"app-prometheus": str(folder)})
    monkeypatch.setattr(backup, "HEALTHY_SECONDS", 0)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return folder


def held(data: Path) -> dict[str, str]:
    """Return the volume's files; beside it, nothing may be left."""
    assert [path.name for path in data.parent.iterdir()] == [data.name]
    return {path.name: path.read_text() for path in data.rglob("*") if path.is_file()}


def test_what_is_saved_is_restored_and_the_container_runs(machine: Machine, data: Path) -> None:
    file = machine.folder / "saved.tar.gz"
    code, output = machine("backup", str(file))
    assert (code, output[:17]) == (0, "saved prometheus:")
    assert file.stat().st_mode & 0o777 == 0o600
    (data / "samples").write_text("second")
    assert machine("restore", str(file))[0] == 0
    assert held(data) == {"samples": "first"}
    assert machine.engine["containers"]["app-prometheus-1"]["running"]
    assert len(machine.calls("stop")) == len(machine.calls("start")) == 2


def test_data_that_a_container_is_unhealthy_with_are_rolled_back(
    machine: Machine, data: Path
) -> None:
    file = machine.folder / "saved.tar.gz"
    machine("backup", str(file))
    (data / "samples").write_text("second")
    machine.write(health="starting", check="fails")
    code, output = machine("restore", str(file))
    assert (code, "app-prometheus-1 is unhealthy with these data" in output) == (1, True)
    assert held(data) == {"samples": "second"}


def test_a_restore_that_was_cut_off_is_rolled_back(machine: Machine, data: Path) -> None:
    data.rename(data.with_name(backup.BEFORE))
    data.mkdir()
    (data / "samples").write_text("unproved")
    data.with_name(backup.STAGING).mkdir()
    assert machine("backup", str(machine.folder / "saved.tar.gz"))[0] == 0
    assert held(data) == {"samples": "first"}


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("../etc/passwd", tarfile.REGTYPE, "it holds ../etc/passwd"),
        ("/etc/passwd", tarfile.REGTYPE, "it holds /etc/passwd"),
        ("prometheus/link", tarfile.SYMTYPE, "it holds prometheus/link"),
        ("other/file", tarfile.REGTYPE, "it holds other"),
        ("grafana/file", tarfile.REGTYPE, "runs no grafana"),
    ],
)
def test_an_archive_of_somebody_elses_is_refused(
    machine: Machine, data: Path, name: str, kind: bytes, reason: str
) -> None:
    file = machine.folder / "foreign.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type = kind
        archive.addfile(member, io.BytesIO())
    code, output = machine("restore", str(file))
    assert (code, reason in output, "Nothing was changed." in output) == (1, True, True)
    assert held(data) == {"samples": "first"}
    assert machine.calls("stop") == []


def test_blocks_of_the_past_are_kept_and_nothing_else(machine: Machine, data: Path) -> None:
    for name, end in (("past", time.time() - 60), ("future", time.time() + 3600)):
        (data / name).mkdir()
        (data / name / "meta.json").write_text(json.dumps({"maxTime": end * 1000}))
    code, output = machine("forget-future")
    assert (code, "kept 1 blocks of the past" in output) == (0, True)
    assert [path.name for path in data.iterdir()] == ["past"]
