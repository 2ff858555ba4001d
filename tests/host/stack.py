"""What the host tests know about the stack: its name, its containers, how to ask it."""

import json
import re
import time
from collections.abc import Callable

from testinfra.host import Host

from target import settings

STACK = settings()["STACK_NAME"]
REPLICAS = ("api-v1-1", "api-v1-2", "api-v1-3", "api-v2-1")
EXPORTERS = ("nginx-exporter-1", "log-exporter-1", "host-exporter-1", "tls-exporter-1")
OURS = (*REPLICAS, "nginx-1", *EXPORTERS, "prometheus-1")
# Run where a setting or an image allows it.
GRAFANA, ALERTMANAGER = "grafana-1", "alertmanager-1"
OPTIONAL = (GRAFANA, ALERTMANAGER)
# A container for one command, of an image of the stack's: without the label that would make it one
# of the stack's own, and without the limits of those: some may take little of a processor.
SCRATCH = "docker run --rm --label stack= --interactive --network none --read-only"
# For the shell. No proxy of the machine has a part in it.
CURL = "curl --silent --show-error --noproxy '*' --max-time 10"
# The same for the gateway, after an eval of what `make env` prints.
CURL_GATEWAY = (
    f'{CURL} --retry 3 --include --cacert "$GATEWAY_CA" '
    '${GATEWAY_ADDRESS:+--connect-to "::$GATEWAY_ADDRESS:"}'
)


# Name: Docker's own, a sibling's, or a path inside the container are no secrets.
SECRET_NAME = re.compile(
    r"(PASS(WORD|WD)?|SECRET|TOKEN|API_?KEY|CREDENTIAL)[A-Z_]*$", re.IGNORECASE
)
# As images read them (Docker's secrets): the variable names a file that holds the value.
PATH_NAME = re.compile(r"_FILE$")


class Secret(str):
    """A string that no failure message of a test shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def left_out(name: str, environment: dict[str, str]) -> str:
    """Return why a container of OPTIONAL does not run."""
    if name == GRAFANA:
        return environment.get("LEFT_OUT") or "Grafana does not run"
    return "no alert is sent: monitoring_alert_webhook and monitoring_alert_email are empty"


def secret_variables(environment: list[str]) -> list[str]:
    """Return the names of the variables that hold a secret by their name: not the path of one."""
    found = []
    for line in environment:
        name, _, value = line.partition("=")
        path = PATH_NAME.search(name) and re.fullmatch(r"(/[\w.-]+)+", value)
        if SECRET_NAME.search(name) and value and not path:
            found.append(name)
    return found


def secrets_in(text: str, secrets: dict[str, str]) -> list[str]:
    """Return the names of the secrets that a text holds, as they are or as JSON writes them."""
    return [
        name
        for name, value in secrets.items()
        if value in text or json.dumps(str(value))[1:-1] in text
    ]


def predict(host: Host, sentence: str, group: str = "") -> str:
    """Ask the gateway from the machine itself; return the answer with its head.

    Args:
        host: the machine.
        sentence: what to judge, also sent as a query string, which no log may hold.
        group: value of X-Experiment-Group.
    """
    # The password on neither command line: the shell reads it, curl gets it on its stdin.
    return str(
        host.check_output(
            "bash -c %s - %s %s %s",
            'eval "$("$1" env)"; printf "user = \\"%s:%s\\"\\n" "$API_USER" "$API_PASSWORD" | '
            f"{CURL_GATEWAY} --config - "
            '--header "Content-Type: application/json" --header "X-Experiment-Group: $3" '
            '--data "{\\"sentence\\": \\"$2\\"}" '
            '"$GATEWAY_URL/predict?query=$2"',
            STACK,
            sentence,
            group,
        )
    )


def request_id(answer: str) -> str:
    """Return the X-Request-ID of an answer with its head."""
    found = re.search(r"(?im)^x-request-id: ([0-9a-f]{32})", answer)
    assert found, answer
    return found[1]


def until_logged(seen: Callable[[], bool], what: str) -> None:
    """Look until it is seen, what follows from a line of the access log: at most 20 s.

    The gateway writes its log once a second. Each look is a command on the machine, which takes its
    time, so none is added between two.
    """
    deadline = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < deadline, f"not in 20 s: {what}"
