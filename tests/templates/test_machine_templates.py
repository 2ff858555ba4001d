"""What the machine gets beside the containers: firewall, the stack's commands, units, login."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import render

DEDICATED = {"stack_dedicated": True}


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("facts", "separate"),
    [
        # A rollback gathers no facts of the distribution.
        ({}, False),
        ({"distribution": "Debian", "distribution_version": "n/a"}, False),
        ({"distribution": "Debian", "distribution_version": "12.11"}, False),
        ({"distribution": "Debian", "distribution_version": "13.2"}, True),
        ({"distribution": "Ubuntu", "distribution_version": "24.04"}, False),
    ],
)
def test_the_engines_packages_are_those_of_the_distribution(
    facts: dict[str, str], separate: bool
) -> None:
    packages = render.resolve("docker", "__stack_engine_packages", ansible_facts=facts)
    assert packages[0] == "docker.io"
    assert ("docker-cli" in packages) == separate


# ---- firewall of a dedicated machine ------------------------------------------------------------


def chain(text: str, name: str) -> list[str]:
    """Return the lines of a chain, without comments."""
    body = text.split(f"chain {name} {{\n")[1].split("\n\t}")[0]
    lines = [line.strip() for line in body.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_only_a_dedicated_machine_gets_an_input_rule() -> None:
    assert "hook input" not in render.render("docker", "firewall.nft.j2")
    off = render.render("docker", "firewall.nft.j2", **DEDICATED, docker_input_rule=False)
    assert "hook input" not in off
    assert "by others" not in off
    assert "hook input" in render.render("docker", "firewall.nft.j2", **DEDICATED)


def test_the_rules_are_switched_off_one_by_one() -> None:
    text = render.render("docker", "firewall.nft.j2", **DEDICATED, docker_drop_rule=False)
    assert [rule.rpartition(": ")[2] for rule in chain(text, "forward")[1:]] == [
        'gateway, docker_open_ports"',
        'published by others"',
    ]
    assert "hook input" in text
    # What stands after -e NAME= is text.
    off = {"docker_drop_rule": "false", "docker_input_rule": "false"}
    text = render.render("docker", "firewall.nft.j2", **DEDICATED, **off)
    assert "hook input" not in text
    assert len(chain(text, "forward")) == 1


def test_what_other_containers_publish_is_as_closed_as_the_machine() -> None:
    text = render.render("docker", "firewall.nft.j2", **DEDICATED, docker_open_ports=[29090])
    opened, closed = chain(text, "forward")[-2:]
    (ours,) = [r for r in chain(text, "input") if "tcp dport" in r]
    assert "l4proto tcp ct original proto-dst { 22, 80, 443, 29090 } accept" in opened
    assert "ct status & dnat == dnat drop" in closed
    assert "dport { 22, 80, 443, 29090 } accept" in ours


@pytest.mark.parametrize("dedicated", [False, True])
def test_nft_reads_the_rules(tmp_path: Path, dedicated: bool) -> None:
    if os.geteuid() != 0 or shutil.which("nft") is None:
        pytest.skip("nft checks rules for root only, and is not everywhere")
    text = render.render("docker", "firewall.nft.j2", stack_dedicated=dedicated)
    (tmp_path / "rules").write_text(text)
    done = subprocess.run(
        ["nft", "--check", "--file", tmp_path / "rules"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_dedicated_machine_drops_what_nobody_asked_for_last() -> None:
    rules = chain(render.render("docker", "firewall.nft.j2", **DEDICATED), "input")
    assert rules[-1].startswith("drop ")
    assert [r for r in rules[1:-1] if " accept " not in r] == []
    assert any(r.startswith("ct state established,related accept") for r in rules)


def test_the_way_in_by_ssh_and_the_gateway_stay_open() -> None:
    heard = [
        {"address": "0.0.0.0", "port": 2022, "program": "sshd"},
        {"address": "::", "port": 2022, "program": "sshd"},
        {"address": "0.0.0.0", "port": 25, "program": "master"},
    ]
    text = render.render(
        "docker",
        "firewall.nft.j2",
        **DEDICATED,
        __stack_found={"listeners": heard},
        ansible_port=2222,
        docker_open_ports=[29090],
        stack_https_port=8443,
    )
    (rule,) = [r for r in chain(text, "input") if "tcp dport" in r]
    assert re.findall(r"\d+", rule.split("{")[1].split("}")[0]) == [
        "22",
        "80",
        "2022",
        "8443",
        "29090",
    ]


@pytest.mark.parametrize(
    "heard",
    [
        [],
        # Of a login that forwards something, by an sshd that systemd starts.
        [{"address": "127.0.0.1", "port": 6010, "program": "sshd"}],
        [{"address": "::1", "port": 6010, "program": "sshd"}],
        [
            {"address": "0.0.0.0", "port": 22, "program": "sshd"},
            {"address": "0.0.0.0", "port": 2222, "program": ""},
        ],
    ],
)
def test_the_port_of_the_run_stays_open_where_this_machine_has_it(
    heard: list[dict[str, object]],
) -> None:
    text = render.render(
        "docker",
        "firewall.nft.j2",
        **DEDICATED,
        ansible_port=2222,
        __stack_found={"listeners": heard},
    )
    (rule,) = [r for r in chain(text, "input") if "tcp dport" in r]
    assert re.findall(r"\d+", rule.split("{")[1].split("}")[0]) == ["22", "80", "443", "2222"]


def test_the_firewall_comes_before_the_network_and_waits_for_nothing_that_waits_for_it() -> None:
    unit = render.render("docker", "firewall.service.j2")
    assert "\nDefaultDependencies=no\n" in unit
    assert "\nPartOf=nftables.service\n" in unit
    assert re.search(r"(?m)^Before=network-pre.target docker.service shutdown.target$", unit)
    assert "\nWantedBy=sysinit.target\n" in unit


def test_the_public_port_leads_to_the_gateway_on_the_machine_itself() -> None:
    assert "type nat" not in render.render("docker", "firewall.nft.j2")
    text = render.render("docker", "firewall.nft.j2", stack_public_https_port=8443)
    (rule,) = [r for r in chain(text, "output") if "redirect" in r]
    assert rule.startswith("ip daddr 127.0.0.0/8 tcp dport 8443 redirect to :443 ")


# ---- the stand-in of a gateway that is replaced -------------------------------------------------


def test_new_connections_to_both_ports_go_to_the_stand_in() -> None:
    text = render.render("nginx", "stand_in.nft.j2", stack_https_port=8443)
    for hook in ("prerouting", "output"):
        rules = [r for r in chain(text, hook) if "dnat" in r]
        assert [re.findall(r"dport (\d+) dnat ip to ([\d.:]+)", r)[0] for r in rules] == [
            ("8443", "172.28.10.11:443"),
            ("80", "172.28.10.11:80"),
        ]
        assert all("fib daddr type local" in rule for rule in rules)


def test_the_stand_in_keeps_to_the_address_that_the_gateway_is_bound_to() -> None:
    text = render.render("nginx", "stand_in.nft.j2", stack_bind_address="192.0.2.7")
    assert text.count("ip daddr 192.0.2.7 fib daddr type local") == 4


# ---- units, login, sudo -------------------------------------------------------------------------


def test_the_boot_unit_does_not_go_down_with_the_engine() -> None:
    unit = render.render("host", "stack.service.j2")
    assert re.search(r"(?m)^Wants=.*\bdocker\.service\b", unit)
    assert re.search(r"(?m)^After=.*\bdocker\.service\b.*\bemotions-firewall\.service$", unit)
    # Any of these would stop the stack whenever the engine restarts.
    assert not re.search(r"(?m)^(Requires|BindsTo|PartOf)=", unit)
    assert "ExecStart=/usr/local/bin/emotions start\n" in unit
    assert "ExecStop=/usr/local/bin/emotions stop\n" in unit


def test_what_is_missing_switched_off_or_down_is_not_well() -> None:
    def said(unit: str, enabled: str, active: str) -> dict[str, object]:
        return {"item": unit, "status": {"UnitFileState": enabled, "ActiveState": active}}

    units = render.resolve("host", "__host_units")
    assert units[0] == "emotions.service"
    well = [said(unit, "enabled", "active") for unit in units]
    assert render.resolve("host", "__host_units_ill", __host_asked={"results": well}) == []
    ill = [said(units[0], "disabled", "active"), said(units[1], "enabled", "failed")]
    missing = [{"item": units[2], "msg": "no such unit"}, {"item": units[3], "status": {}}]
    asked = {"results": ill + missing}
    assert render.resolve("host", "__host_units_ill", __host_asked=asked) == units


def test_the_timer_looks_every_day_and_catches_up() -> None:
    timer = render.render("host", "certificate.timer.j2")
    assert "OnCalendar=daily\n" in timer
    assert "Persistent=true\n" in timer
    service = render.render("host", "certificate.service.j2")
    assert "ExecStart=/usr/local/bin/emotions certificate\n" in service


def test_those_who_may_look_may_do_nothing_else() -> None:
    text = render.render("host", "sudoers.j2").replace("\\\n", "")
    (rule,) = [line for line in text.splitlines() if line.startswith("%")]
    allowed = rule.partition("NOPASSWD:")[2].split(",")
    assert rule.startswith("%adm ALL=(root) NOPASSWD:")
    assert {c.split()[0] for c in allowed} == {"/usr/local/bin/emotions"}
    assert {c.split()[1] for c in allowed} == {"status", "logs", "releases", "history"}


def test_the_login_message_names_the_stack_and_never_fails(tmp_path: Path) -> None:
    text = render.render("host", "motd.sh.j2", __host_command=str(tmp_path / "none"))
    done = subprocess.run(
        ["sh", "-c", text], capture_output=True, text=True, timeout=60, check=True
    )
    assert "emotions status" in done.stdout
    executable(tmp_path / "none", "#!/bin/sh\necho emotions: 7 of 7 containers healthy\n")
    done = subprocess.run(
        ["sh", "-c", text], capture_output=True, text=True, timeout=60, check=True
    )
    assert "  emotions: 7 of 7 containers healthy\n" in done.stdout


def test_the_containers_write_to_the_journal_where_there_is_one() -> None:
    assert render.resolve("api", "__stack_logging")["driver"] == "journald"
    assert render.resolve("api", "__stack_logging")["options"] == {
        "tag": "{{.Name}}",
        "labels": "stack",
    }
    elsewhere = render.resolve(
        "api", "__stack_logging", ansible_facts={**render.FACTS, "service_mgr": "docker-init"}
    )
    assert elsewhere["driver"] == "json-file"
    assert set(elsewhere["options"]) == {"max-size", "max-file"}
