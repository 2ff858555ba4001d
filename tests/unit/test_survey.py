"""The survey of a machine: what it reads of the tools' output, and what it sees of the disk."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unit.namespace import in_namespace

SCRIPT = Path(__file__).resolve().parents[2] / "roles/stack/files/survey.py"
survey = runpy.run_path(str(SCRIPT))


def test_listeners_have_address_port_and_program() -> None:
    text = """\
LISTEN 0      4096         0.0.0.0:443        0.0.0.0:*    users:(("docker-proxy",pid=12,fd=4))
LISTEN 0      4096   127.0.0.53%lo:53         0.0.0.0:*    users:(("systemd-resolve",pid=1,fd=14))
LISTEN 0      128             [::]:22            [::]:*    users:(("sshd",pid=1),("init",pid=1))
LISTEN 0      511                *:80               *:*
"""
    assert survey["listeners"](text) == [
        {"address": "0.0.0.0", "port": 443, "program": "docker-proxy"},
        {"address": "127.0.0.53%lo", "port": 53, "program": "systemd-resolve"},
        {"address": "::", "port": 22, "program": "sshd"},
        {"address": "*", "port": 80, "program": ""},
    ]
    assert survey["listeners"]("") == []


def test_routes_of_every_table_are_found() -> None:
    """wg-quick keeps those of a VPN that takes everything in a table of its own."""
    found = survey["routes"](
        in_namespace("""
            ip link add wg0 type bridge
            ip link set wg0 up
            ip address add 10.8.0.2/24 dev wg0
            ip route add 172.16.0.0/12 dev wg0 table 51820
            ip route add blackhole 172.28.10.0/25
            ip -json -4 route show table all""")
    )
    assert {
        "network": "172.16.0.0/12",
        "interface": "wg0",
        "type": "unicast",
        "table": "51820",
    } in found
    assert {
        "network": "172.28.10.0/25",
        "interface": "",
        "type": "blackhole",
        "table": "main",
    } in found
    assert any(route["network"] == "10.8.0.2" and route["type"] == "local" for route in found)


def test_networks_have_name_subnets_and_bridge() -> None:
    inspected: list[dict[str, Any]] = [
        {
            "Name": "shop_default",
            "Id": "0123456789abcdef",
            "Driver": "bridge",
            "IPAM": {"Config": [{"Subnet": "172.28.0.0/16"}, {"Subnet": "fd00::/64"}]},
            "Options": {},
            "Labels": {},
        },
        {
            "Name": "app",
            "Id": "f" * 64,
            "Driver": "bridge",
            "IPAM": {"Config": [{"Subnet": "172.28.10.0/24", "Gateway": "172.28.10.1"}]},
            "Options": {"com.docker.network.bridge.name": "br-app"},
            "Labels": {"stack": "app"},
        },
        {
            "Name": "host",
            "Id": "a" * 64,
            "Driver": "host",
            "IPAM": {"Config": None},
            "Options": None,
            "Labels": None,
        },
    ]
    shop, own, host = survey["networks"](json.dumps(inspected))
    assert (shop["subnets"], shop["bridge"]) == (["172.28.0.0/16", "fd00::/64"], "br-0123456789ab")
    # What the role compares its network with.
    assert own == {
        "name": "app",
        "driver": "bridge",
        "subnets": ["172.28.10.0/24"],
        "bridge": "br-app",
        "stack": "app",
    }
    assert (host["subnets"], host["stack"]) == ([], None)


def test_published_ports_are_found_as_docker_writes_them() -> None:
    text = (
        "web\t0.0.0.0:443->8443/tcp, [::]:443->8443/tcp, 9000/tcp\n"
        "many\t127.0.0.1:7000-7002->7000-7002/tcp\n"
        "none\t\n"
    )
    assert [(each["container"], each["port"]) for each in survey["published"](text)] == [
        ("web", 443),
        ("web", 443),
        ("many", 7000),
        ("many", 7001),
        ("many", 7002),
    ]


def test_containers_are_described_with_the_image_that_their_reference_names_now() -> None:
    labels = {"stack.component": "api", "stack.variant": "v1", "stack.config": "abc"}
    running = {
        "Name": "/app-api-v1-1",
        "Image": "sha256:1",
        "Config": {"Image": "app-api-v1:0", "Labels": labels},
        "State": {"Status": "running", "Health": {"Status": "starting"}},
    }
    stopped = {
        "Name": "/app-grafana-1",
        "Image": "sha256:3",
        "Config": {"Image": "docker.io/grafana/grafana:12", "Labels": None},
        "State": {"Status": "exited"},
    }
    images = survey["image_ids"]("app-api-v1:0 sha256:2\ngrafana/grafana:12 sha256:3\n")
    assert survey["containers"](json.dumps([running, stopped]), images) == [
        {
            "name": "app-api-v1-1",
            "component": "api",
            "service": "v1",
            "config": "abc",
            "image": "app-api-v1:0",
            "image_id": "sha256:1",
            # A build of the same name has taken its place.
            "image_now": "sha256:2",
            "state": "running",
            "health": "starting",
        },
        {
            "name": "app-grafana-1",
            "component": "",
            "service": "",
            "config": "",
            "image": "docker.io/grafana/grafana:12",
            "image_id": "sha256:3",
            "image_now": "sha256:3",
            "state": "exited",
            "health": "none",
        },
    ]
    assert survey["containers"]("", images) == []


def test_a_place_that_is_not_there_yet_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    found = survey["place"](tmp_path / "a/b/c")
    assert found["free_mb"] > 0
    assert not found["read_only"]


def test_a_full_a_read_only_and_an_exhausted_file_system_are_seen(tmp_path: Path) -> None:
    (tmp_path / "places.py").write_text(f"""
import json, pathlib, runpy
place = runpy.run_path("{SCRIPT}")["place"]
names = ("full", "few", "closed")
print(json.dumps([place(pathlib.Path(name, "new")) for name in names]))
""")
    full, few, closed = json.loads(
        in_namespace(f"""
            cd {tmp_path}
            mkdir full few closed
            mount -t tmpfs -o size=1m tmpfs full
            dd if=/dev/zero of=full/file bs=1M count=1 status=none
            mount -t tmpfs -o size=1m,nr_inodes=3 tmpfs few
            mount -t tmpfs -o size=1m,ro tmpfs closed
            "{sys.executable}" places.py""")
    )
    assert full["free_mb"] == 0
    assert few["free_inodes"] <= 2
    assert (full["read_only"], few["read_only"], closed["read_only"]) == (False, False, True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, {"settings": {}}),
        ("", {"settings": {}}),
        ('{"userns-remap": "default"}', {"settings": {"userns-remap": "default"}}),
        ("[]", {"error": "it holds no JSON object"}),
    ],
)
def test_the_engines_configuration_is_read(
    tmp_path: Path, content: str | None, expected: dict[str, Any]
) -> None:
    path = tmp_path / "daemon.json"
    if content is not None:
        path.write_text(content)
    survey["daemon"].__globals__["DAEMON"] = path
    assert survey["daemon"]() == expected


def test_a_configuration_that_is_no_json_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"live-restore": true,}')
    survey["daemon"].__globals__["DAEMON"] = path
    assert "line 1" in survey["daemon"]()["error"]


def test_the_users_environment_leads_to_no_other_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.setenv(name, "elsewhere")
    lines = survey["output"]("env").splitlines()
    assert [line for line in lines if line.startswith("DOCKER_")] == [
        "DOCKER_HOST=unix:///var/run/docker.sock"
    ]
    assert "LC_ALL=C" in lines


def test_a_tool_that_is_missing_fails_or_hangs_is_an_empty_answer() -> None:
    output = survey["output"]
    assert output("no-such-command") == ""
    assert output("sh", "-c", "echo text; exit 1") == ""
    assert output("sh", "-c", "echo text; exit 1", partly=True) == "text\n"
    assert output("sleep", "30", timeout=0.1) == ""


def test_packages_that_would_have_to_go_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = """\
The following packages will be REMOVED:
  containerd.io docker-ce
Remv docker-ce [5:28.2.2-1~debian.12~bookworm]
Remv containerd.io [1.7.27-1]
Inst docker.io (20.10.24+dfsg1-1 Debian:12/stable [amd64])
"""
    asked = []

    def output(*command: str, timeout: float = 60) -> str:
        asked.append(command)
        return simulated if command[0] == "apt-get" else ""

    monkeypatch.setitem(survey["removals"].__globals__, "output", output)
    assert survey["removals"](["docker.io"]) == ["docker-ce", "containerd.io"]
    assert "--simulate" in asked[0]
    which = lambda name, path=None: None  # noqa: E731
    monkeypatch.setattr(shutil, "which", which)
    assert survey["installation"](["docker.io"], False)["removals"] == [
        "docker-ce",
        "containerd.io",
    ]
    # Nothing is installed beside an engine that answers.
    assert survey["installation"](["docker.io"], True)["removals"] == []


@pytest.mark.parametrize(
    ("client", "said", "kind"),
    [
        ("/usr/bin/docker", "podman version 4.3.1\n", "podman"),
        ("/snap/bin/docker", "Docker version 28.1.1, build 4eba377\n", "snap"),
        ("/usr/bin/docker", "Docker version 28.2.2, build e6534b4\n", None),
    ],
)
def test_what_stands_in_the_engines_place_is_recognised(
    monkeypatch: pytest.MonkeyPatch, client: str, said: str, kind: str | None
) -> None:
    def output(*command: str, timeout: float = 60) -> str:
        return said if command == ("docker", "--version") else ""

    def which(name: str, path: str | None = None) -> str | None:
        return client if name == "docker" else f"/usr/sbin/{name}"

    monkeypatch.setitem(survey["installation"].__globals__, "output", output)
    monkeypatch.setattr(shutil, "which", which)
    found = survey["installation"](["docker.io"], False)
    assert {name: found[name] for name in ("podman", "snap")} == {
        "podman": kind == "podman",
        "snap": kind == "snap",
    }
    # It is installed and does not answer: it is started, and nothing is installed over it.
    assert found["installed"]
    assert found["removals"] == []


def test_the_survey_is_json_and_changes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "no-such-stack", "docker.io", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert {"listeners", "routes", "engine", "places", "installation"} <= set(found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "version"),
    [(None, ""), ('{"stack": "app"}', "0.0.0"), ('{"version": "1.2.3"}', "1.2.3"), ("{", "0.0.0")],
)
def test_the_version_of_the_installed_stack_is_found(
    tmp_path: Path, content: str | None, version: str
) -> None:
    if content is not None:
        (tmp_path / "stack.json").write_text(content)
    assert survey["installed_version"](tmp_path / "stack.json") == version
