"""What the host tests take for a secret, and what not."""

import json

import pytest

from host.stack import secret_variables, secrets_in


@pytest.mark.parametrize(
    "line",
    [
        # The settings of Grafana's container, and of other images that read a secret from a file.
        "GF_SECURITY_ADMIN_PASSWORD__FILE=/run/secrets/grafana-admin",
        "POSTGRES_PASSWORD_FILE=/run/secrets/db.txt",
        "GF_SECURITY_ADMIN_PASSWORD=",
        "GF_SECURITY_ADMIN_USER=admin",
        "GF_PATHS_DATA=/var/lib/grafana",
    ],
)
def test_no_secret(line: str) -> None:
    assert secret_variables([line]) == []


@pytest.mark.parametrize(
    "line",
    [
        "GF_SECURITY_ADMIN_PASSWORD=chosen",
        # A value where a path has to be.
        "GF_SECURITY_ADMIN_PASSWORD__FILE=chosen",
        "GF_SECURITY_ADMIN_PASSWORD__FILE=/cho sen",
        # A path that no name announces may as well be a password.
        "GF_SECURITY_ADMIN_PASSWORD=/run/secrets/grafana-admin",
        "API_KEY=x",
        "auth_token=x",
    ],
)
def test_a_secret(line: str) -> None:
    assert secret_variables(["PATH=/bin", line]) == [line.partition("=")[0]]


@pytest.mark.parametrize("value", ["plain-value", 'with "quotes"', "with \\ and ü"])
def test_a_secret_is_found_as_it_is_and_in_json(value: str) -> None:
    secrets = {"one": "other-value", "two": value}
    assert secrets_in(f"a {value} b", secrets) == ["two"]
    assert secrets_in(json.dumps({"Env": [f"A={value}"]}), secrets) == ["two"]
    assert secrets_in("nothing", secrets) == []
