"""Containers as engine and kernel see them: running, healthy, and able to do little harm.

A docstring names what of the CIS Docker Benchmark a test holds, numbered as in its release 1.5.0.
docs/security.md lists all of it, also where the project decides otherwise.
"""

import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from host.stack import (
    ALERTMANAGER,
    EXPORTERS,
    GRAFANA,
    OPTIONAL,
    OURS,
    REPLICAS,
    SCRATCH,
    STACK,
    left_out,
    secret_variables,
    secrets_in,
)

Inspected = dict[str, dict[str, Any]]
# By container, what the kernel says of each process.
Processes = dict[str, list[dict[str, str]]]
ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = {
    "api": "src/api/Dockerfile",
    "nginx": "roles/nginx/files/image/Dockerfile",
    "prometheus": "roles/monitoring/files/prometheus/Dockerfile",
    "alertmanager": "roles/monitoring/files/prometheus/Dockerfile",
} | {name.removesuffix("-1"): "roles/monitoring/files/exporters/Dockerfile" for name in EXPORTERS}
NO_CAPABILITY = "0000000000000000"
WHERE_STATE_LIVES = {"/var/log/gateway", "/prometheus", "/var/lib/grafana"}
# What a component listens on; the gateway's last is its private listener.
PORTS = {
    "api": {8000},
    "nginx": {80, 443, 8081},
    "prometheus": {9090},
    "alertmanager": {9090},
    "grafana": {3000},
} | {name.removesuffix("-1"): {9100} for name in EXPORTERS}
# The one container that other machines reach.
ENTRY = {"nginx-1"}


@pytest.fixture(params=[*OURS, *OPTIONAL])
def name(request: pytest.FixtureRequest, inspected: Inspected, environment: dict[str, str]) -> str:
    """Each container in turn."""
    there = environment["GRAFANA_URL"] if request.param == GRAFANA else request.param in inspected
    if request.param in OPTIONAL and not there:
        pytest.skip(left_out(request.param, environment))
    assert request.param in inspected, f"{STACK}-{request.param} is not there: `make status`"
    return str(request.param)


@pytest.fixture
def item(name: str, inspected: Inspected) -> dict[str, Any]:
    """The engine's record of it."""
    return inspected[name]


# What the tests below look at, each by one command for all containers: an emulated machine takes a
# second and more for one.


def outputs(said: str) -> list[str]:
    """Return what each turn of a loop said that ends each with a line of "="."""
    return re.split(r"(?m)^=$\n?", said)[:-1]


@pytest.fixture(scope="module")
def processes(host: Host, inspected: Inspected) -> Processes:
    """What the kernel says of each process in each container."""
    # A health check may have ended meanwhile: then its file is not there.
    script = (
        "for id; do for pid in $(docker top $id -eo pid | tail -n +2); "
        "do cat /proc/$pid/status; done 2>/dev/null; echo =; done"
    )
    said = host.check_output(
        f"bash -c %s - {' '.join(i['Id'] for i in inspected.values())}", script
    )
    found = {}
    for name, text in zip(inspected, outputs(said), strict=True):
        statuses = [
            {key: value.strip() for key, _, value in (x.partition(":") for x in one.splitlines())}
            for one in re.split(r"(?m)^(?=Name:)", text)[1:]
        ]
        assert str(inspected[name]["State"]["Pid"]) in {status["Pid"] for status in statuses}, name
        # The engine's own program, on its way to become a health check.
        found[name] = [s for s in statuses if not s["Name"].startswith("runc:")]
    return found


@pytest.fixture(scope="module")
def steps(host: Host, inspected: Inspected) -> dict[str, list[str]]:
    """The steps that made each image, the last first."""
    images = sorted({item["Image"] for item in inspected.values()})
    script = (
        "for image; do docker history --no-trunc --format '{{.CreatedBy}}' $image; echo =; done"
    )
    said = host.check_output(f"bash -c %s - {' '.join(images)}", script)
    return dict(zip(images, (text.splitlines() for text in outputs(said)), strict=True))


@pytest.fixture(scope="module")
def packages(host: Host, inspected: Inspected) -> dict[str, dict[str, str]]:
    """The version of each package in each image of ours."""
    images = sorted({item["Image"] for name, item in inspected.items() if name != GRAFANA})
    script = (
        f"for image; do {SCRATCH} --entrypoint cat $image /usr/share/stack/packages.txt; "
        "echo =; done"
    )
    lines = [
        o.splitlines()
        for o in outputs(host.check_output(f"bash -c %s - {' '.join(images)}", script))
    ]
    return {
        image: {
            name.partition(":")[0]: version for name, version in (x.split("\t") for x in listed)
        }
        for image, listed in zip(images, lines, strict=True)
    }


@pytest.fixture(scope="module")
def confinement(host: Host, root: None) -> str:
    """What the engine can confine a container by."""
    return str(host.check_output("docker info --format '{{.SecurityOptions}}'"))


def published(inspected: Inspected) -> set[tuple[str, str, int]]:
    """Return (container, address, port) of everything that is published on the machine."""
    return {
        (name, binding["HostIp"], int(binding["HostPort"]))
        for name, item in inspected.items()
        for bindings in (item["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    }


def test_no_other_container_has_the_label(inspected: Inspected) -> None:
    assert set(inspected) - set(OPTIONAL) == set(OURS)


def test_container_runs(item: dict[str, Any]) -> None:
    assert item["State"]["Status"] == "running"


def test_container_is_healthy_by_a_check_of_its_own(item: dict[str, Any]) -> None:
    """CIS 4.6 and 5.26."""
    test = (item["Config"].get("Healthcheck") or {}).get("Test", ["NONE"])
    assert test[0] in ("CMD", "CMD-SHELL")
    # Of a container that is younger than the interval of its checks, `<stack> status` knows more.
    health = item["State"]["Health"]
    assert health["Status"] in ("healthy", "starting"), health["Log"][-1]


def test_container_was_not_killed_for_memory(item: dict[str, Any]) -> None:
    assert not item["State"]["OOMKilled"]


def test_image_tells_its_packages_and_none_is_older_than_asked_for(
    host: Host, name: str, item: dict[str, Any], packages: dict[str, dict[str, str]]
) -> None:
    if name == GRAFANA:
        pytest.skip("Grafana's image is not made of Debian's packages")
    versions = packages[item["Image"]]
    component = item["Config"]["Labels"]["stack.component"]
    wanted = re.findall(
        r"([a-z0-9.+-]+) \(>= ([^)]+)\)", (ROOT / DOCKERFILES[component]).read_text()
    )
    assert wanted
    words = [word for package, least in wanted for word in (package, versions[package], least)]
    older = (
        'while [ $# -gt 0 ]; do dpkg --compare-versions "$2" ge "$3" || '
        'echo "$1 is $2, wanted is $3 or newer"; shift 3; done'
    )
    assert host.check_output(f"sh -c %s -{' %s' * len(words)}", older, *words) == ""


def test_container_user_is_not_root(item: dict[str, Any]) -> None:
    """CIS 4.1."""
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*|:0)?", item["Config"]["User"])


def test_processes_run_without_root_and_capabilities(name: str, processes: Processes) -> None:
    """CIS 5.3, 5.22, 5.23 and 5.25: processes that `docker exec` started included."""
    for status in processes[name]:
        assert "0" not in status["Uid"].split(), status["Name"]
        assert {status[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {
            NO_CAPABILITY
        }, status["Name"]
        assert status["NoNewPrivs"] == "1", status["Name"]


def test_processes_are_filtered_by_seccomp(
    name: str, processes: Processes, confinement: str
) -> None:
    """CIS 5.21."""
    # 2: a filter. The engine says by itself that it could not (a kernel without).
    if "seccomp" not in confinement:
        pytest.skip("this engine or kernel has no seccomp")
    assert {status["Seccomp"] for status in processes[name]} == {"2"}


@pytest.mark.parametrize(
    ("module", "field"), [("apparmor", "AppArmorProfile"), ("selinux", "ProcessLabel")]
)
def test_containers_are_confined_where_the_machine_can(
    inspected: Inspected, confinement: str, module: str, field: str
) -> None:
    """CIS 5.1 and 5.2."""
    if f"name={module}" not in confinement:
        pytest.skip(f"this engine or kernel has no {module}")
    for name, item in inspected.items():
        assert item[field] not in ("", "unconfined"), name


def test_no_container_runs_sshd(name: str, processes: Processes) -> None:
    """CIS 5.6."""
    assert not [status["Name"] for status in processes[name] if "ssh" in status["Name"]]


def test_root_file_system_is_read_only(host: Host, item: dict[str, Any]) -> None:
    """CIS 5.12."""
    assert item["HostConfig"]["ReadonlyRootfs"] is True
    mounts = host.file(f"/proc/{item['State']['Pid']}/mountinfo").content_string.splitlines()
    options = [line.split()[5].split(",") for line in mounts if line.split()[4] == "/"]
    assert options
    assert all("ro" in found for found in options)


def test_container_drops_all_capabilities_and_gains_none(item: dict[str, Any]) -> None:
    """CIS 5.3 and 5.4."""
    assert item["HostConfig"]["CapDrop"] == ["ALL"]
    assert not item["HostConfig"]["CapAdd"]
    assert not item["HostConfig"]["Privileged"]


def test_container_gains_no_privileges(item: dict[str, Any]) -> None:
    """CIS 5.21 and 5.25."""
    assert {"no-new-privileges", "no-new-privileges:true"} & set(
        item["HostConfig"]["SecurityOpt"] or []
    )
    assert not [o for o in item["HostConfig"]["SecurityOpt"] if "unconfined" in o]


def test_container_shares_nothing_of_the_machine(item: dict[str, Any]) -> None:
    """CIS 5.9, 5.15, 5.16, 5.17, 5.20 and 5.30."""
    config = item["HostConfig"]
    assert "host" not in (
        config["NetworkMode"],
        config["PidMode"],
        config["IpcMode"],
        config["UTSMode"],
        config["UsernsMode"],
    )
    assert not config["Devices"]
    assert not config.get("DeviceRequests")
    assert not config.get("DeviceCgroupRules")


def test_container_is_where_the_engine_puts_it_among_control_groups(item: dict[str, Any]) -> None:
    """CIS 5.24."""
    assert item["HostConfig"]["CgroupParent"] == ""


def test_container_has_limits(item: dict[str, Any]) -> None:
    """CIS 5.10, 5.11 and 5.28."""
    config = item["HostConfig"]
    assert 0 < config["Memory"] <= 2 << 30
    assert config["MemorySwap"] == config["Memory"]
    assert 0 < (config["PidsLimit"] or 0) <= 512
    assert config["NanoCpus"] > 0 or config["CpuQuota"] > 0


def test_only_the_gateway_has_a_limit_of_its_own_on_open_files(
    host: Host, inspected: Inspected
) -> None:
    """CIS 5.18: where needed. Its configuration asks for as many (worker_rlimit_nofile)."""
    own = {
        n: i["HostConfig"]["Ulimits"] for n, i in inspected.items() if i["HostConfig"]["Ulimits"]
    }
    assert own == {"nginx-1": [{"Name": "nofile", "Soft": 8192, "Hard": 8192}]}
    limits = host.file(f"/proc/{inspected['nginx-1']['State']['Pid']}/limits").content_string
    assert re.search(r"(?m)^Max open files +8192 +8192 ", limits)


def test_container_comes_back_unless_stopped(item: dict[str, Any]) -> None:
    """CIS 5.14 wants on-failure:5; docs/security.md says why not."""
    assert item["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_container_log_is_bounded(item: dict[str, Any]) -> None:
    log = item["HostConfig"]["LogConfig"]
    if log["Type"] == "journald":
        # The journal bounds itself; the stack's lines are found by this field.
        assert log["Config"]["labels"] == "stack"
        return
    assert log["Type"] == "json-file"
    assert re.fullmatch(r"[1-9]\d*[km]", log["Config"].get("max-size", ""))
    assert 1 <= int(log["Config"].get("max-file", 0)) <= 10


def test_container_is_labelled(name: str, item: dict[str, Any]) -> None:
    labels = item["Config"]["Labels"]
    assert labels["stack"] == STACK
    component = name.rpartition("-")[0]
    if name in REPLICAS:
        assert labels["stack.variant"] == name.split("-")[1]
        assert re.fullmatch(r"[0-9a-f]{12}", labels["stack.model"])
        component = "api"
    assert labels["stack.component"] == component


def test_container_image_is_named_by_its_content(name: str, item: dict[str, Any]) -> None:
    image = item["Config"]["Image"]
    if name == GRAFANA:
        # Also one of its flavours (-ubuntu) or of its security releases (-security-01).
        assert re.search(r":\d+\.\d+\.\d+(-[\w-]+)?$", image), "at an exact version"
    else:
        kind = "exporters" if name in EXPORTERS else name.rpartition("-")[0]
        # Two programs of one image.
        kind = "prometheus" if name == ALERTMANAGER else kind
        assert re.fullmatch(rf"{STACK}-{kind}:[0-9a-f]{{12}}", image)


def test_container_holds_the_image_that_its_tag_names(host: Host, inspected: Inspected) -> None:
    """CIS 5.27."""
    tags = {item["Config"]["Image"]: item["Image"] for item in inspected.values()}
    found = host.check_output(f"docker image inspect --format {{{{.Id}}}} {' '.join(tags)}")
    assert dict(zip(tags, found.splitlines(), strict=True)) == tags


def test_container_address_is_fixed_and_in_the_stacks_network(
    host: Host, inspected: Inspected
) -> None:
    """CIS 5.29."""
    subnet = ipaddress.ip_network(
        host.check_output(
            "docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' %s", STACK
        )
    )
    for name, item in inspected.items():
        networks = item["NetworkSettings"]["Networks"]
        assert list(networks) == [STACK], name
        assert networks[STACK]["IPAMConfig"]["IPv4Address"] == networks[STACK]["IPAddress"], name
        assert ipaddress.ip_address(networks[STACK]["IPAddress"]) in subnet, name


def test_container_mounts_little_and_writes_less(item: dict[str, Any]) -> None:
    """CIS 5.5, 5.19 and 5.31."""
    for mount in item["Mounts"]:
        assert "docker" not in mount["Source"] or mount["Type"] == "volume"
        assert mount["Source"] not in ("/", "/etc", "/var", "/root", "/home")
        assert not re.match(r"/(boot|dev|lib\w*|proc|run|s?bin|sys|usr)(/|$)", mount["Source"])
        # Volumes have none.
        assert mount["Propagation"] in ("", "private", "rprivate")
        if mount["RW"]:
            assert mount["Destination"] in WHERE_STATE_LIVES
    assert "docker.sock" not in json.dumps([item["Mounts"], item["HostConfig"]["Binds"]])


def test_no_container_mounts_a_secret_that_is_not_its_own(name: str, item: dict[str, Any]) -> None:
    folder = f"/etc/{STACK}/secrets"
    own = {f"{folder}/grafana-admin"} if name == GRAFANA else set()
    for mount in item["Mounts"]:
        inside = f"{mount['Source']}/".startswith(f"{folder}/")
        around = f"{folder}/".startswith(f"{mount['Source'].rstrip('/')}/")
        assert not around, f"{mount['Source']} holds all secrets"
        assert not inside or mount["Source"] in own


def test_container_environment_holds_no_secret(
    item: dict[str, Any], secrets: dict[str, str]
) -> None:
    assert secret_variables(item["Config"]["Env"] or []) == []
    assert secrets_in(json.dumps(item), secrets) == []


def test_image_history_holds_no_secret(
    item: dict[str, Any], steps: dict[str, list[str]], secrets: dict[str, str]
) -> None:
    """CIS 4.10."""
    history = "\n".join(steps[item["Image"]])
    assert history
    assert secrets_in(history, secrets) == []


def test_image_is_made_of_checked_steps(
    name: str, item: dict[str, Any], steps: dict[str, list[str]]
) -> None:
    """CIS 4.7 and 4.9: no list of packages is older than what it installs, nothing is fetched."""
    if name == GRAFANA:
        pytest.skip("Grafana's image is its makers'")
    made = steps[item["Image"]]
    updates = [step for step in made if "apt-get update" in step]
    assert updates
    assert [step for step in updates if "apt-get satisfy" not in step] == []
    # The last one is the base's own file system.
    assert [step for step in made[:-1] if re.search(r"(#\(nop\) +|^)ADD ", step)] == []


def test_container_log_holds_no_secret(
    host: Host, item: dict[str, Any], secrets: dict[str, str]
) -> None:
    log = host.run("docker logs --tail 2000 %s", item["Id"])
    assert log.rc == 0
    assert secrets_in(log.stdout + log.stderr, secrets) == []


def test_addresses_differ(inspected: Inspected) -> None:
    addresses = [
        item["NetworkSettings"]["Networks"][STACK]["IPAddress"] for item in inspected.values()
    ]
    assert len(set(addresses)) == len(addresses)


def test_only_gateway_and_monitoring_publish_ports(inspected: Inspected) -> None:
    """CIS 5.8."""
    published = {
        name: sorted(
            port for port, hosts in (item["NetworkSettings"]["Ports"] or {}).items() if hosts
        )
        for name, item in inspected.items()
    }
    assert published.pop("nginx-1") == ["443/tcp", "80/tcp"]
    assert published.pop("prometheus-1") == ["9090/tcp"]
    assert published.pop(GRAFANA, ["3000/tcp"]) == ["3000/tcp"]
    assert not any(published.values()), published


def test_nothing_but_the_gateway_takes_a_port_below_1024(inspected: Inspected) -> None:
    """CIS 5.7, a finding that stays: 443 and 80 are where clients look for HTTPS and HTTP."""
    assert {name for name, _, port in published(inspected) if port < 1024} <= ENTRY


def test_nothing_but_the_gateway_is_bound_to_every_interface(inspected: Inspected) -> None:
    """CIS 5.13, a finding that stays: the gateway is for whoever reaches the machine.

    `stack_bind_address` names one address instead.
    """
    # An empty one is every interface, too.
    wide = {name for name, address, _ in published(inspected) if address in ("0.0.0.0", "::", "")}
    assert wide <= ENTRY


def test_container_listens_on_its_own_ports_only(host: Host, item: dict[str, Any]) -> None:
    """CIS 5.8, from inside: what is not published counts as well."""
    namespace = f"/proc/{item['State']['Pid']}/net"
    lines = host.check_output(f"cat {namespace}/tcp {namespace}/tcp6")
    sockets = [line.split() for line in lines.splitlines() if "local_address" not in line]
    listening = [local.split(":") for _, local, _, state, *_ in sockets if state == "0A"]
    # 127.0.0.11 is the engine's name server.
    ports = {int(port, 16) for address, port in listening if address != "0B00007F"}
    assert ports == PORTS[item["Config"]["Labels"]["stack.component"]]


def test_replicas_of_one_version_share_one_image(inspected: Inspected) -> None:
    assert len({inspected[name]["Image"] for name in REPLICAS if name.startswith("api-v1")}) == 1


def test_v1_image_holds_no_code_of_v2_and_the_other_way_round(
    host: Host, inspected: Inspected
) -> None:
    for name, own in (("api-v1-1", "v1"), ("api-v2-1", "v2")):
        found = host.check_output("docker exec %s ls /app/api", inspected[name]["Id"]).split()
        assert [entry for entry in found if entry in ("v1", "v2")] == [own]


def test_process_list_holds_no_secret(host: Host, secrets: dict[str, str]) -> None:
    processes = host.check_output("ps -ewwo args")
    assert secrets_in(processes, secrets) == []
