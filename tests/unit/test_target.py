"""How the tests reach the machines of another inventory (tests/target.py)."""

from pathlib import Path

import target


def test_one_connection_for_all_and_the_users_own_settings(tmp_path: Path) -> None:
    lines = target.ssh_config(tmp_path, {}).read_text().splitlines()
    assert lines == [
        f"ControlPath {tmp_path}/%C", "Include ~/.ssh/config", "Include /etc/ssh/ssh_config",
    ]  # fmt: skip


def test_ansibles_settings_of_ssh_are_ours(tmp_path: Path) -> None:
    environment = {"ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_PRIVATE_KEY_FILE": "/a b/key"}
    lines = target.ssh_config(tmp_path, environment).read_text().splitlines()
    assert "StrictHostKeyChecking no" in lines
    assert 'IdentityFile "/a b/key"' in lines


def test_this_machine_is_the_default() -> None:
    assert target.is_this_machine({})
    assert target.is_this_machine({"INVENTORY": "inventory/localhost.yml"})
    assert not target.is_this_machine({"INVENTORY": "inventory/vm.yml"})
