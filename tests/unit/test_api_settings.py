"""The environment is checked once, at the start."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.settings import Settings, SettingsError


def test_defaults_are_those_of_the_image(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MODEL_DIR": str(tmp_path)})
    assert (settings.replica, settings.log_level, settings.port) == ("local", "info", 8000)
    assert Settings.model_dir == Path("/app/model")


def test_values_are_read_from_the_environment(tmp_path: Path) -> None:
    environment = {
        "REPLICA": "v1-2",
        "MODEL_DIR": str(tmp_path),
        "LOG_LEVEL": "WARNING",
        "PORT": "9000",
    }
    assert Settings.from_environment(environment) == Settings("v1-2", tmp_path, "warning", 9000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REPLICA", ""),
        ("REPLICA", "v1 2"),
        ("REPLICA", "v1\r\nX-Evil: 1"),
        ("REPLICA", "v" * 65),
        ("LOG_LEVEL", "loud"),
        ("LOG_LEVEL", ""),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "8000.0"),
        ("PORT", "http"),
        ("MODEL_DIR", "/nowhere"),
    ],
)
def test_bad_value_is_refused_by_the_name_of_its_variable(
    tmp_path: Path, name: str, value: str
) -> None:
    environment = {"MODEL_DIR": str(tmp_path), name: value}
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_LEVEL", "loud"), ("VARIANT", "v9"), ("VARIANT", "model"), ("VARIANT", "v1.main")],
)
def test_process_with_a_bad_setting_ends_with_one_line(
    tmp_path: Path, environment: Callable[..., dict[str, str]], name: str, value: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "api.serve"],
        env=environment(tmp_path, **{name: value}),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    assert name in json.loads(line)["message"]
