"""Every container of the stack, by its resolved options: what confines it, and its identity."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import render
from plugins.filter.containers import config_hash

Options = dict[str, Any]
Data = dict[str, Any]

IMAGES = {
    "__stack_images": {name: f"{name}:1" for name in ("nginx", "exporters", "prometheus")}
    | {f"api-{service}": f"api-{service}:1" for service in ("v1", "v2")}
}
CANDIDATE = (
    "__api_containers | selectattr('service', 'eq', 'v1') | first | combine(__api_candidate)"
)
# Role -> expressions of its containers, each of a list.
WANTED = {
    "api": ["__api_containers", f"[{CANDIDATE}]"],
    "nginx": ["[__nginx_gateway]"],
    "monitoring": [
        "__monitoring_exporters",
        "[__monitoring_prometheus, __monitoring_alertmanager, __monitoring_grafana]",
    ],
}
COMMON = "__stack_container_common"
ROOT = render.ROOT
# What no option is, one of each type.
OTHERS: list[Any] = ["other", False, 7, 0.125, ["other"], {"OTHER": "1"}]


def resolved(**overrides: Any) -> dict[str, Options]:
    """Return name -> options of every container."""
    found: dict[str, Options] = {}
    for role, expressions in WANTED.items():
        for expression in expressions:
            asked = f"{expression} | map('container_options', {COMMON}) | list"
            given = IMAGES | {"service": {"name": "v1"}} | overrides
            found |= {each["name"]: each for each in render.resolve(role, asked, **given)}
    return found


def other(value: Any) -> Any:
    return next(each for each in OTHERS if isinstance(value, type(each)))


def identities(containers: dict[str, Options]) -> dict[str, str]:
    return {name: options["labels"]["stack.config"] for name, options in containers.items()}


CONTAINERS = resolved()
IDENTITIES = identities(CONTAINERS)
each_container = pytest.mark.parametrize("options", CONTAINERS.values(), ids=CONTAINERS)


def task() -> dict[str, Any]:
    """Return the arguments of the task that runs every container."""
    first = yaml.safe_load((ROOT / "roles/stack/tasks/container.yml").read_text())[0]
    arguments: dict[str, Any] = first["community.docker.docker_container"]
    return arguments


# ---- what confines them -------------------------------------------------------------------------


def test_every_container_is_looked_at() -> None:
    assert sorted(name.removeprefix("emotions-") for name in CONTAINERS) == sorted(
        "api-v1-1 api-v1-2 api-v1-3 api-v2-1 api-v1-candidate nginx-1 nginx-exporter-1 grafana-1"
        " log-exporter-1 host-exporter-1 tls-exporter-1 prometheus-1 alertmanager-1".split()
    )


@each_container
def test_container_is_locked_down(options: Options) -> None:
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opts"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:10001", options["user"])
    assert options["network_mode"] in ("emotions", "none")
    for name in ("cap_add", "privileged", "ipc_mode", "pid_mode", "uts", "userns_mode", "devices"):
        assert name not in options


@each_container
def test_container_is_bounded(options: Options) -> None:
    assert options["memory"] == options["memory_swap"]
    assert options["cpus"] > 0
    assert options["pids_limit"] > 0
    logging = render.resolve("docker", "__stack_logging")
    assert (options["log_driver"], options["log_options"]) == (
        logging["driver"],
        logging["options"],
    )


@each_container
def test_container_comes_back_after_a_restart(options: Options) -> None:
    assert options["restart_policy"] == "unless-stopped"


@each_container
def test_container_has_its_labels(options: Options) -> None:
    assert options["labels"]["stack"] == "emotions"
    assert options["labels"]["stack.component"]


@each_container
def test_container_has_one_fixed_address(options: Options) -> None:
    networks = options.get("networks", [])
    assert len(networks) == (options["network_mode"] != "none")
    assert all(re.fullmatch(r"172\.28\.10\.\d+", each["ipv4_address"]) for each in networks)


def test_no_two_containers_have_one_address() -> None:
    addresses = [
        each["ipv4_address"] for o in CONTAINERS.values() for each in o.get("networks", [])
    ]
    assert len(addresses) == len(set(addresses))


@each_container
def test_container_mounts_no_engine_and_no_root(options: Options) -> None:
    assert [v for v in options.get("volumes", []) if re.match(r"/:|.*docker\.sock", v)] == []


def test_only_the_gateway_is_published_beyond_the_machine() -> None:
    ports = {name: options.get("published_ports", []) for name, options in CONTAINERS.items()}
    assert ports.pop("emotions-nginx-1") == ["0.0.0.0:80:80", "0.0.0.0:443:443"]
    published = [port for each in ports.values() for port in each]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)


# ---- nothing is lost between the data and the engine --------------------------------------------


@each_container
def test_the_task_hands_every_option_to_the_engine(options: Options) -> None:
    handed = {
        name
        for name, value in task().items()
        if re.search(rf"\bstack_container\.{name}\b", str(value))
    }
    assert options.keys() <= handed


# ---- identity -----------------------------------------------------------------------------------


def test_each_option_of_each_container_is_part_of_its_identity() -> None:
    for name, options in CONTAINERS.items():
        labels = options["labels"]
        before = labels["stack.config"]
        plain = options | {"labels": {k: v for k, v in labels.items() if k != "stack.config"}}
        hashed = [config_hash(plain)]
        hashed += [config_hash(plain | {key: other(v)}) for key, v in plain.items()]
        assert hashed[0] == before, name
        assert len(set(hashed)) == len(hashed), name


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"api_memory": "300M"}, "api-"),
        ({"api_cpus": 0.7}, "api-"),
        ({"api_pids_limit": 65}, "api-"),
        ({"api_stop_timeout": 16}, "api-"),
        ({"nginx_memory": "300M"}, "nginx-1"),
        ({"nginx_cpus": 1.5}, "nginx-1"),
        ({"stack_https_port": 8443}, "nginx-1"),
        ({"monitoring_log_exporter_cpus": 0.2}, "log-exporter"),
        ({"monitoring_prometheus_memory": "300M"}, "prometheus-1"),
        ({"monitoring_prometheus_retention": "3d"}, "prometheus-1"),
        ({"monitoring_grafana_memory": "300M"}, "grafana"),
        ({"monitoring_grafana_user": "root"}, "grafana"),
        ({"stack_uid": 10002}, ""),
        ({"stack_subnet": "172.28.99.0/24"}, r"(?!api-v1-candidate)"),
    ],
)
def test_a_variable_changes_the_containers_that_it_is_about(given: Data, changed: str) -> None:
    after = identities(resolved(**given))
    differ = {name for name in after if IDENTITIES[name] != after[name]}
    assert differ == {name for name in after if re.match(rf"emotions-{changed}", name)}


def test_an_image_changes_the_containers_that_are_made_of_it() -> None:
    images = IMAGES["__stack_images"] | {"api-v2": "api-v2:2"}
    after = identities(resolved(__stack_images=images))
    assert [name for name in after if IDENTITIES[name] != after[name]] == ["emotions-api-v2-1"]


def reordered(value: Any) -> Any:
    """Return the value with the keys of every dictionary the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(part) for part in value] if isinstance(value, list) else value


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of roles and inventory, and read that one."""
    for name in ("roles", "inventory", "plugins", "model", "playbooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("roles", "inventory"):
        (tmp_path / name).unlink()
        for path in (ROOT / name).rglob("*.yml"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    monkeypatch.setattr(render, "ROOT", tmp_path)
    return tmp_path


def test_a_comment_or_another_order_changes_no_identity(edited: Path) -> None:
    for path in [*edited.glob("roles/*/vars/*.yml"), *edited.glob("inventory/**/*.yml")]:
        again = yaml.safe_dump(reordered(yaml.safe_load(path.read_text())), sort_keys=False)
        path.write_text(f"# A new comment.\n{again}")
    for path in edited.glob("roles/*/tasks/*.yml"):
        tasks = yaml.safe_load(path.read_text())
        path.write_text(f"# A new comment.\n{yaml.safe_dump(tasks[::-1])}")
    assert identities(resolved()) == IDENTITIES
