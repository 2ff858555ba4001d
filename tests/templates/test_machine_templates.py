"""What the machine gets beside the containers: firewall, the stack's commands, units, login."""

import json
import os
import re
import runpy
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


# ---- the stack's command ------------------------------------------------------------------------

# A Docker that knows four containers, a file in $STATE for each that runs. It notes its calls.
FAKE_DOCKER = """#!/bin/bash
echo "$*" >>"$STATE/calls"
names="app-api-v1-1 app-api-v1-2 app-nginx-1 app-prometheus-1"
declare -A component=(
  [app-api-v1-1]=api [app-api-v1-2]=api [app-nginx-1]=nginx [app-prometheus-1]=prometheus)
case $1 in
  ps) echo "$names" ;;
  start)
    shift
    code=0
    for n in "$@"; do
      if [ "$n" = "${BROKEN:-}" ]; then echo "$n: no" >&2; code=1; else touch "$STATE/$n"; fi
    done
    exit "$code"
    ;;
  stop) shift; for n in "$@"; do rm -f "$STATE/$n"; done ;;
  exec) sleep "${CHECK_TAKES:-0}"; [ "${CHECK:-${HEALTH:-healthy}}" = healthy ] ;;
  inspect)
    separator='['
    shift
    for n in "$@"; do
      [ -e "$STATE/$n" ] && state=running running=true || { state=exited running=false; }
      printf '%s{"Id": "%s", "Name": "/%s", "RestartCount": 0, "State": {' "$separator" "$n" "$n"
      printf '"Status": "%s", "Running": %s, ' "$state" "$running"
      printf '"StartedAt": "", "FinishedAt": "", '
      printf '"Health": {"Status": "%s"}}, ' "${HEALTH:-healthy}"
      printf '"Config": {"Image": "i", "Labels": {"stack.component": "%s"}, ' "${component[$n]}"
      printf '"Healthcheck": {"Timeout": %s, "Test": ["CMD", "check", "%s"]}}}' "${TIMEOUT:-0}" "$n"
      separator=,
    done
    echo ']'
    ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path, dict[str, str]]:
    """The command, a folder with the state of a stand-in for Docker, and the environment."""
    state = tmp_path / "state"
    state.mkdir()
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    executable(bin_dir / "docker", FAKE_DOCKER)
    # Nobody's sudo: whoever runs the tests may not be root.
    executable(bin_dir / "sudo", '#!/bin/bash\nexec "$@"\n')
    text = render.render("stack", "stack.py.j2", stack_name="app", stack_dir=str(tmp_path / "etc"))
    text = text.replace("os.geteuid() != 0", "False").replace("PATIENCE = 180", "PATIENCE = 1")
    command = executable(tmp_path / "app", text)
    return command, state, {"PATH": f"{bin_dir}:{os.environ['PATH']}", "STATE": str(state)}


def call(machine: tuple[Path, Path, dict[str, str]], *words: str, **more: str) -> tuple[int, str]:
    command, _, environment = machine
    done = subprocess.run(
        [command, *words], env=environment | more, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def reword(machine: tuple[Path, Path, dict[str, str]], old: str, new: str) -> None:
    """Change the program itself, for what a test can neither set nor see from outside."""
    text = machine[0].read_text()
    assert old in text
    machine[0].write_text(text.replace(old, new))


def calls(machine: tuple[Path, Path, dict[str, str]], verb: str) -> list[str]:
    lines = (machine[1] / "calls").read_text().splitlines()
    return [line for line in lines if line.startswith(verb + " ")]


def test_the_stack_starts_replicas_then_gateway_then_the_rest(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    code, output = call(machine, "start")
    assert code == 0, output
    assert calls(machine, "start") == [
        "start app-api-v1-1 app-api-v1-2",
        "start app-nginx-1",
        "start app-prometheus-1",
    ]
    assert call(machine, "start") == (0, "")


def test_the_stack_stops_the_gateway_first(machine: tuple[Path, Path, dict[str, str]]) -> None:
    call(machine, "start")
    assert call(machine, "stop")[0] == 0
    assert calls(machine, "stop")[0] == "stop app-nginx-1"
    assert sorted(calls(machine, "stop")[1].split()[1:]) == [
        "app-api-v1-1",
        "app-api-v1-2",
        "app-prometheus-1",
    ]


def test_what_stays_ill_is_named_and_keeps_nothing_else_from_its_start(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    code, output = call(machine, "start", HEALTH="unhealthy")
    assert code == 1
    *others, last = output.splitlines()
    assert others == []
    assert last == (
        "not healthy after 1 s: app-api-v1-1, app-api-v1-2, app-nginx-1, app-prometheus-1"
    )
    assert len(calls(machine, "start")) == 3


def test_what_cannot_start_says_why_and_the_others_start(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    code, output = call(machine, "start", BROKEN="app-api-v1-1")
    assert code == 1
    assert sorted(output.splitlines()) == [
        "app-api-v1-1: no",
        "not healthy after 1 s: app-api-v1-1",
        "started app-api-v1-2",
        "started app-nginx-1",
        "started app-prometheus-1",
    ]


def test_a_check_may_take_as_long_as_its_image_says(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    # Nobody waits half a minute for the end of a check.
    reword(machine, "CHECK_SECONDS = 30", "CHECK_SECONDS = 0.1")
    (machine[1] / "app-nginx-1").touch()
    words, slow = ("await", "0", "app-nginx-1"), {"HEALTH": "starting", "CHECK_TAKES": "1"}
    assert call(machine, *words, CHECK="healthy", **slow, TIMEOUT=f"{20 * 10**9}") == (0, "")
    assert "not healthy" in call(machine, *words, CHECK="healthy", **slow)[1]


def test_half_of_a_wait_is_left_to_the_start_up_and_it_ends_in_time(
    machine: tuple[Path, Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = runpy.run_path(str(machine[0]))
    clock, pauses = [0.0], []

    def check(item: object) -> bool:
        clock[0] += 7
        return False

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", pause)
    names = stack["ill_after"].__globals__
    monkeypatch.setitem(names, "inspect", lambda names: [{"Name": f"/{name}"} for name in names])
    monkeypatch.setitem(names, "is_ready", check)
    assert stack["ill_after"](40, ["nginx"]) == ["nginx"]
    assert pauses == [7, 7, 5]


def test_what_the_engine_has_not_asked_yet_is_asked(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    (machine[1] / "app-nginx-1").touch()
    assert "1 of 4" in call(machine, "status", "--brief", HEALTH="starting", CHECK="healthy")[1]
    assert "0 of 4" in call(machine, "status", "--brief", HEALTH="starting", CHECK="ill")[1]
    assert "0 of 4" in call(machine, "status", "--brief", HEALTH="unhealthy", CHECK="healthy")[1]


def test_waiting_asks_a_container_by_its_own_check(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    assert call(machine, "await", "0", "app-nginx-1") == (
        1,
        "not healthy after 0 s: app-nginx-1\n",
    )
    assert "exec" not in {
        line.split()[0] for line in (machine[1] / "calls").read_text().splitlines()
    }
    (machine[1] / "app-nginx-1").touch()
    assert call(machine, "await", "0", "app-nginx-1", HEALTH="starting", CHECK="healthy")[0] == 0
    assert calls(machine, "exec") == ["exec app-nginx-1 check app-nginx-1"]
    assert call(machine, "await", "0", "app-nginx-1", HEALTH="ill")[0] == 1


def test_waiting_takes_the_engines_word_for_a_healthy_container(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    """Its own check may take long on a busy machine, and it has just passed."""
    (machine[1] / "app-nginx-1").touch()
    assert call(machine, "await", "0", "app-nginx-1", CHECK="ill") == (0, "")


def test_the_state_in_one_line(machine: tuple[Path, Path, dict[str, str]]) -> None:
    (machine[1] / "app-nginx-1").touch()
    code, output = call(machine, "status", "--brief")
    assert (code, output) == (1, "app: 1 of 4 containers well, certificate None days left\n")


def test_maintenance_is_switched_on_and_off_and_shown(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    code, output = call(machine, "maintenance", "on")
    assert (code, "There is no gateway of the stack app here" in output) == (1, True)
    folder = machine[0].parent / "etc/nginx"
    folder.mkdir(parents=True)
    for _ in range(2):
        assert call(machine, "maintenance", "on")[0] == 0
        assert (folder / "maintenance").exists()
    assert "in maintenance" in call(machine, "status", "--brief")[1]
    assert json.loads(call(machine, "status", "--json")[1])["maintenance"] is True
    for _ in range(2):
        assert call(machine, "maintenance", "off")[0] == 0
        assert not (folder / "maintenance").exists()
    assert "maintenance" not in call(machine, "status", "--brief")[1]
    assert call(machine, "maintenance")[0] == 2
    assert call(machine, "maintenance", "maybe")[0] == 2


def test_what_it_does_not_know_gives_the_usage(
    machine: tuple[Path, Path, dict[str, str]],
) -> None:
    code, output = call(machine, "status", "--jsn")
    assert code == 2
    assert "Usage: app status" in output


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
    assert "ExecStart=/usr/local/bin/emotions-certificate\n" in service


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
    executable(tmp_path / "none", "#!/bin/sh\necho emotions: 7 of 7 containers well\n")
    done = subprocess.run(
        ["sh", "-c", text], capture_output=True, text=True, timeout=60, check=True
    )
    assert "  emotions: 7 of 7 containers well\n" in done.stdout


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
