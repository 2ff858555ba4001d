"""Firewall, log rotation, Prometheus, `make env`, and a second stack's names in all of them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import fake_grafana
import render

ROOT = Path(__file__).resolve().parents[2]
RULE = re.compile(r'^\t\t(.*) (accept|drop) comment "(.*)"$', re.MULTILINE)
SECOND = {"stack_name": "other", "stack_subnet": "172.28.99.0/24"}


def firewall(**overrides: Any) -> str:
    return render.render("docker", "firewall.nft.j2", **overrides)


def prometheus(**overrides: Any) -> dict[str, Any]:
    text = render.render("monitoring", "prometheus.yml.j2", **overrides)
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def job(config: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (found,) = [j for j in config["scrape_configs"] if j["job_name"] == name]
    targets: list[dict[str, Any]] = found["static_configs"]
    return targets


# ---- firewall -----------------------------------------------------------------------------------


def test_firewall_has_three_rules_and_drops_last() -> None:
    rules = RULE.findall(firewall())
    assert [verdict for _, verdict, _ in rules] == ["accept", "accept", "drop"]
    # Nothing else in the chain: a line is a rule, a comment, or the hook itself.
    chain = firewall().split("chain forward {\n")[1].split("\n\t}")[0]
    others = [line.strip() for line in chain.splitlines() if line and not RULE.match(line)]
    assert [o for o in others if not o.startswith(("#", "type filter hook"))] == []


def test_firewall_drops_what_no_published_port_rewrote() -> None:
    condition, verdict, _ = RULE.findall(firewall())[2]
    assert condition == "ip daddr 172.28.10.0/24 ct status & dnat != dnat"
    assert verdict == "drop"


def test_firewall_lets_the_stack_and_answers_pass() -> None:
    conditions = [condition for condition, _, _ in RULE.findall(firewall())]
    assert conditions[:2] == [
        'iifname "br-emotions"',
        "ip daddr 172.28.10.0/24 ct state established,related",
    ]


def test_firewall_leaves_other_traffic_alone() -> None:
    assert "type filter hook forward priority filter - 10; policy accept;" in firewall()
    assert firewall().count("hook ") == 1


def test_firewall_replaces_its_own_table_in_one_go() -> None:
    lines = [line for line in firewall().splitlines() if line.startswith(("table", "delete"))]
    assert lines == [
        "table inet emotions",
        "delete table inet emotions",
        "table inet emotions {",
    ]


def test_firewall_of_a_second_stack_is_another_table_and_bridge() -> None:
    text = firewall(**SECOND)
    assert "table inet other {" in text
    assert 'iifname "br-other"' in text
    assert "172.28.99.0/24" in text
    assert "emotions" not in text
    assert "172.28.10." not in text


def test_firewall_unit_loads_and_removes_that_table() -> None:
    unit = render.render("docker", "firewall.service.j2")
    assert "ExecStart=/usr/sbin/nft --file /etc/emotions/firewall.nft\n" in unit
    assert "ExecStop=/usr/sbin/nft delete table inet emotions\n" in unit
    assert re.search(r"^Before=.*\bdocker\.service\b", unit, re.MULTILINE)


# ---- log rotation -------------------------------------------------------------------------------


def test_logrotate_bounds_the_logs_and_tells_the_gateway() -> None:
    text = render.render("nginx", "logrotate.j2")
    assert "/var/log/emotions/*.log {" in text
    lines = [line.strip() for line in text.splitlines()]
    for line in ("daily", "maxsize 100M", "rotate 14", "compress", "missingok", "sharedscripts"):
        assert line in lines
    assert re.search(r"postrotate\n\s+docker exec emotions-nginx-1 nginx .*-s reopen", text)
    # Both lose lines, the first one those that are written while it copies.
    assert "copytruncate" not in lines
    assert not re.search(r"(?m)^\s*create\b", text)


def test_logrotate_of_a_second_stack_touches_no_other() -> None:
    text = render.render("nginx", "logrotate.j2", **SECOND)
    assert "/var/log/other/*.log {" in text
    assert "docker exec other-nginx-1 " in text
    assert "emotions" not in text


# ---- Prometheus ---------------------------------------------------------------------------------


def test_each_replica_is_a_target_with_its_labels() -> None:
    assert job(prometheus(), "api") == [
        {
            "targets": [f"172.28.10.{host}:8000"],
            "labels": {"service": service, "replica": replica},
        }
        for host, service, replica in [
            (21, "v1", "v1-1"),
            (22, "v1", "v1-2"),
            (23, "v1", "v1-3"),
            (41, "v2", "v2-1"),
        ]
    ]


def test_prometheus_asks_every_15_seconds_and_waits_less() -> None:
    general = prometheus()["global"]
    assert general["scrape_interval"] == general["evaluation_interval"] == "15s"
    assert general["scrape_timeout"] == "10s"


@pytest.mark.parametrize(
    ("interval", "timeout"),
    [("1s", "1s"), ("5s", "5s"), ("500ms", "500ms"), ("10s", "10s"), ("30s", "10s"), ("1m", "10s")],
)
def test_scrape_timeout_never_exceeds_the_interval(interval: str, timeout: str) -> None:
    general = prometheus(monitoring_prometheus_scrape_interval=interval)["global"]
    assert (general["scrape_interval"], general["scrape_timeout"]) == (interval, timeout)


@pytest.mark.parametrize(("interval", "seconds"), [("15s", 15), ("1m", 60), ("500ms", 0.5)])
def test_verify_waits_for_a_scrape_of_any_interval(interval: str, seconds: float) -> None:
    looks = render.resolve(
        "monitoring", "__monitoring_looks", monitoring_prometheus_scrape_interval=interval
    )
    # Three seconds lie between two; one target's answer may take ten.
    assert seconds + 10 <= 3 * int(looks) <= seconds + 16


def test_prometheus_watches_gateway_and_itself() -> None:
    config = prometheus()
    assert job(config, "gateway")[0]["targets"] == ["172.28.10.5:9100"]
    assert job(config, "access-log")[0]["targets"] == ["172.28.10.8:9100"]
    assert job(config, "host")[0]["targets"] == ["172.28.10.9:9100"]
    assert job(config, "tls")[0]["targets"] == ["172.28.10.4:9100"]
    assert job(config, "prometheus")[0]["targets"] == ["127.0.0.1:9090"]


def test_prometheus_of_a_second_stack_watches_that_stack() -> None:
    config = prometheus(**SECOND)
    assert config["global"]["external_labels"] == {"stack": "other"}
    assert "172.28.10." not in str(config)


def test_a_replica_more_is_a_target_more() -> None:
    services = [{"name": "v1", "replicas": 4}, {"name": "v3", "replicas": 2}]
    names = [t["labels"]["replica"] for t in job(prometheus(api_services=services), "api")]
    assert names == ["v1-1", "v1-2", "v1-3", "v1-4", "v3-1", "v3-2"]


# ---- make env -----------------------------------------------------------------------------------


def env(**overrides: Any) -> dict[str, str]:
    defaults: dict[str, Any] = {"__nginx_made": {"user-admin": "made on the machine's disk"}}
    text = render.render("nginx", "env.j2", **(defaults | overrides))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_env_names_address_ca_and_credentials_quoted_for_a_shell() -> None:
    found = env()
    assert found["GATEWAY_URL"] == "https://localhost"
    assert found["GATEWAY_CA"] == "/etc/emotions/ca.crt"
    assert found["API_USER"] == "admin"
    assert found["API_PASSWORD"] == "'made on the machine'\"'\"'s disk'"


@pytest.mark.parametrize(
    "password",
    [
        "it's $HOME",
        '`id` "$(id)"',
        r"a\b\\",
        "#%&;|<>*?~!",
        "{b} [c]",
        "é ß 漢",
        " spaces ",
        "12345678901234",
    ],
)
def test_a_shell_reads_every_character_of_a_password(password: str) -> None:
    api = render.render("nginx", "env.j2", __nginx_made={"user-admin": password})
    grafana = render.render(
        "monitoring",
        "env.j2",
        __monitoring_grafana_runs=True,
        __monitoring_grafana_secret=password,
    )
    script = f'{api}\n{grafana}\nprintf "%s\\n" "$API_PASSWORD" "$GRAFANA_PASSWORD"'
    read = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert read.stdout == f"{password}\n{password}\n"


def test_env_carries_the_port_that_clients_type() -> None:
    assert env(stack_public_https_port=8443)["GATEWAY_URL"] == "https://localhost:8443"


@pytest.mark.parametrize(
    ("overrides", "url", "address"),
    [
        ({}, "https://localhost", None),
        ({"stack_bind_address": "192.0.2.7"}, "https://192.0.2.7", None),
        ({"stack_hostnames": ["api.example.org"]}, "https://api.example.org", "127.0.0.1"),
        (
            {"stack_hostnames": ["*.example.org"], "stack_bind_address": "192.0.2.7"},
            *("https://emotions.example.org", "192.0.2.7"),
        ),
    ],
)
def test_env_names_the_address_where_the_name_may_not_lead_there(
    overrides: dict[str, Any], url: str, address: str | None
) -> None:
    found = env(**overrides)
    assert (found["GATEWAY_URL"], found.get("GATEWAY_ADDRESS")) == (url, address)


def test_grafana_lines_are_empty_where_it_does_not_run() -> None:
    text = render.render("monitoring", "env.j2", __monitoring_grafana_runs=False)
    assert "PROMETHEUS_URL=http://127.0.0.1:9090\n" in text
    for name in ("GRAFANA_URL", "GRAFANA_USER", "GRAFANA_PASSWORD"):
        assert f"{name}=\n" in text


def test_grafanas_password_is_shown_without_the_line_end_of_an_editor() -> None:
    text = render.render(
        "monitoring",
        "env.j2",
        __monitoring_grafana_runs=True,
        __monitoring_grafana_secret="chosen by hand\n",
    )
    assert "GRAFANA_PASSWORD='chosen by hand'\n" in text


# ---- what the preflight asks of parts that are left out -----------------------------------------


def checked_ports(**overrides: Any) -> list[str]:
    """Return the variables of the ports that have to be free."""
    always = render.resolve("docker", "__docker_wanted")["ports"]
    tasks = yaml.safe_load((ROOT / "roles/monitoring/tasks/preflight_grafana.yml").read_text())
    (grafana,) = [task["vars"]["stack_ports"] for task in tasks if "stack_ports" in str(task)]
    wanted = render.resolve("monitoring", "__monitoring_grafana_wanted", **overrides)
    return [*always, *(grafana if wanted else ())]


def test_every_port_of_the_stack_is_checked() -> None:
    assert sorted(checked_ports()) == sorted(
        name
        for name, _, _ in render.stack_variables()
        if re.fullmatch(r"stack_(?!public_)\w+_port", name)
    )


@pytest.mark.parametrize("value", [False, "false", "False"])
def test_grafanas_port_may_be_taken_where_grafana_is_left_out(value: Any) -> None:
    assert "stack_grafana_port" not in checked_ports(monitoring_grafana=value)


@pytest.mark.parametrize("value", ["auto", True, "true"])
def test_grafanas_port_has_to_be_free_where_grafana_may_run(value: Any) -> None:
    assert "stack_grafana_port" in checked_ports(monitoring_grafana=value)


def test_what_only_grafana_needs_is_checked_only_where_it_may_run() -> None:
    folder = ROOT / "roles/monitoring/tasks"
    text = (folder / "preflight.yml").read_text()
    assert re.findall(r"monitoring_grafana_(?!wanted\b)\w+", text) == []
    (task,) = [t for t in yaml.safe_load(text) if "preflight_grafana.yml" in str(t)]
    assert task["when"] == "__monitoring_grafana_wanted"
    assert "stack_grafana_port" not in (ROOT / "roles/stack/tasks/preflight.yml").read_text()


# ---- Grafana ------------------------------------------------------------------------------------


def test_grafana_has_every_folder_that_it_logs_an_error_about() -> None:
    entries = render.resolve(
        "monitoring", "__monitoring_grafana_files", __monitoring_grafana_secret=""
    )
    folders = {Path(each["path"]).name for each in entries if each.get("state") == "directory"}
    assert set(fake_grafana.FOLDERS) | {"notifiers"} <= folders


# ---- names of a second stack --------------------------------------------------------------------


def test_container_names_and_network_follow_the_stacks_name() -> None:
    assert render.resolve("nginx", "__nginx_container", **SECOND) == "other-nginx-1"
    assert render.resolve("docker", "__stack_network", **SECOND) == "other"
    assert render.resolve("docker", "__stack_bridge", **SECOND) == "br-other"
    replicas = render.resolve("api", "api_replicas | map(attribute='container')", **SECOND)
    assert next(iter(replicas)) == "other-api-v1-1"


def test_gateway_of_a_second_stack_holds_nothing_of_the_first() -> None:
    text = "\n".join(render.nginx_files(**SECOND).values())
    assert "172.28.10." not in text
    assert "emotions" not in text
