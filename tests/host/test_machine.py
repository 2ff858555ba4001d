"""The machine as a place to work: what explains itself, what starts it, what survives what."""

import json
from typing import Any

import pytest
from testinfra.host import Host

from host.stack import REPLICAS, STACK

Inspected = dict[str, dict[str, Any]]


@pytest.fixture
def systemd(host: Host) -> None:
    """Skip where no systemd runs, which starts and times everything below."""
    if not host.file("/run/systemd/system").is_directory:
        pytest.skip("this machine runs without systemd: no units, timers or journal")


@pytest.fixture
def dedicated(host: Host, systemd: None) -> None:
    """Skip where the machine is not the stack's own."""
    if "hook input" not in host.file(f"/etc/{STACK}/firewall.nft").content_string:
        pytest.skip("this machine is not dedicated to the stack (stack_dedicated): not hardened")


# ---- everywhere ----------------------------------------------------------------------------------


def test_the_folder_of_configuration_explains_itself(host: Host) -> None:
    readme = host.file(f"/etc/{STACK}/README")
    assert (readme.user, readme.mode) == ("root", 0o644)
    text = readme.content_string
    for name in host.check_output("ls /etc/%s", STACK).split():
        assert name == "README" or name in text, f"the README does not explain {name}"


def test_where_memory_runs_out_the_gateway_dies_last(inspected: Inspected) -> None:
    score = {name: item["HostConfig"]["OomScoreAdj"] for name, item in inspected.items()}
    others = {name: value for name, value in score.items() if name != "nginx-1"}
    assert score["nginx-1"] == 0
    assert min(others.values()) > 0
    assert max(score[name] for name in REPLICAS) < score["prometheus-1"]


def test_containers_outlive_a_restart_of_the_engine(host: Host) -> None:
    form = "{{.LiveRestoreEnabled}} {{.Swarm.LocalNodeState}}"
    assert host.check_output("docker info --format %s", form) == "true inactive"


def test_the_certificate_is_in_order_and_served(host: Host) -> None:
    assert host.check_output("%s certificate --check", STACK) == ""


def test_a_watch_restarts_what_hangs(host: Host) -> None:
    running = host.process.filter(user="root")
    assert [p.args for p in running if p.args.endswith(f"/{STACK} watch")], "the watch does not run"


def test_the_replicas_are_the_live_release(host: Host, inspected: Inspected) -> None:
    names = host.check_output("ls /etc/%s/releases", STACK).split()
    records = [
        json.loads(host.file(f"/etc/{STACK}/releases/{name}").content_string) for name in names
    ]
    live = max(records, key=lambda record: str(record["live_since"]))
    for name in REPLICAS:
        labels = inspected[name]["Config"]["Labels"]
        assert live["images"][labels["stack.variant"]] == inspected[name]["Config"]["Image"]
        assert live["models"][labels["stack.variant"]] == labels["stack.model"]


def test_the_history_is_roots_and_its_last_run_has_ended(host: Host) -> None:
    history = host.file(f"/etc/{STACK}/history.jsonl")
    assert (history.user, history.mode) == ("root", 0o644)
    last = json.loads(history.content_string.splitlines()[-1])
    assert last.keys() == {"time", "what", "who", "commit", "release", "result", "seconds"}
    assert host.file(f"/run/{STACK}.lock").content_string == "", "somebody holds the lock"


# ---- with systemd --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit", ["{}.service", "{}-certificate.timer", "{}-firewall.service", "{}-watch.service"]
)
def test_unit_starts_with_the_machine(host: Host, systemd: None, unit: str) -> None:
    service = host.service(unit.format(STACK))
    assert service.is_enabled
    assert service.is_running


def test_the_journal_has_what_the_containers_wrote(
    host: Host, systemd: None, inspected: Inspected
) -> None:
    lines = host.check_output(
        "journalctl STACK=%s --lines 2000 --output json --output-fields CONTAINER_NAME", STACK
    )
    for name in REPLICAS:
        assert f'"{STACK}-{name}"' in lines


def test_login_says_how_the_stack_is(host: Host, systemd: None) -> None:
    said = host.check_output("run-parts /etc/update-motd.d")
    assert f"{STACK}: " in said
    assert " containers healthy" in said
    assert f"/etc/{STACK}/README" in said


def test_who_may_look_may_do_nothing_else(host: Host, systemd: None) -> None:
    rules = host.check_output("grep --no-filename --invert-match '^#' /etc/sudoers.d/%s", STACK)
    assert host.run("visudo --check --file=/etc/sudoers.d/%s", STACK).rc == 0
    assert "NOPASSWD" in rules
    for word in ("env", "start", "stop", "ALL:ALL"):
        assert word not in rules


# ---- on a dedicated machine ----------------------------------------------------------------------


def test_the_machine_drops_what_nobody_asked_for(host: Host, dedicated: None) -> None:
    chain = host.check_output("nft list chain inet %s input", STACK)
    rules = [line.strip() for line in chain.splitlines() if "comment" in line]
    assert rules[-1].startswith("drop")
    assert "published by others" in host.check_output("nft list chain inet %s forward", STACK)


def test_ssh_takes_no_passwords(host: Host, dedicated: None) -> None:
    if not host.file(f"/etc/ssh/sshd_config.d/10-{STACK}.conf").exists:
        pytest.skip("the account of the run came in without a key")
    said = host.check_output("/usr/sbin/sshd -T").lower().splitlines()
    assert "passwordauthentication no" in said
    assert "kbdinteractiveauthentication no" in said


def test_security_updates_come_by_themselves(host: Host, dedicated: None) -> None:
    said = host.check_output("apt-config dump")
    assert 'APT::Periodic::Unattended-Upgrade "1";' in said
    assert 'APT::Periodic::Enable "1";' in said
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in said
    for unit in ("apt-daily", "apt-daily-upgrade"):
        timer = host.service(f"{unit}.timer")
        assert timer.is_enabled
        assert timer.is_running
        assert not host.service(f"{unit}.service").is_masked


def test_there_is_swap_and_a_clock(host: Host, dedicated: None) -> None:
    assert len(host.file("/proc/swaps").content_string.splitlines()) > 1
    assert "yes" in host.check_output("timedatectl show --property NTP --value")
