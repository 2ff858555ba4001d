"""Explains what to do when ssh does not know a machine's host key: Ansible cannot ask about it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display

DOCUMENTATION = """
name: host_key
type: aggregate
short_description: explain an unknown or changed host key
description:
  - C(ssh) asks a person whether to trust a host key that it has not seen. Under Ansible it has no
    terminal to ask on and fails. This prints the commands that help.
  - Ansible loads it by itself, since it lies in the folder that ansible.cfg names.
"""

DESTINATION = (
    "{{ '-p ' ~ ansible_port ~ ' ' if ansible_port | default(22) | int != 22 }}"
    "{{ ansible_user ~ '@' if ansible_user is defined }}"
    "{{ ansible_host | default(inventory_hostname) }}"
)


def advice(message: str, destination: str) -> str | None:
    """What to do about a failed connection; None when the host key is not the reason.

    Args:
        message: what Ansible reports, with ssh's own words in it.
        destination: arguments that make `ssh` connect to the machine.
    """
    if "Host key verification failed" not in message:
        return None
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in message:
        return (
            "The machine's host key is not the one that your ssh knows. If it was installed anew, "
            "remove the old key (ssh's message above has the command) and connect once by hand: "
            f"ssh {destination} true"
        )
    return (
        "Your ssh does not know the machine's host key, and Ansible cannot ask you about it. "
        "Connect once by hand, compare the fingerprint and answer yes: "
        f"ssh {destination} true\n"
        "If you are going to throw the machine away, put ANSIBLE_HOST_KEY_CHECKING=False before "
        "the command: it trusts any key."
    )


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "host_key"

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play

    def v2_runner_on_unreachable(self, result: Any) -> None:
        manager = self._play.get_variable_manager()
        templar = Templar(self._play.get_loader(), manager.get_vars(self._play, result.host))
        text = advice(
            str(result.result.get("msg", "")), templar.template(trust_as_template(DESTINATION))
        )
        if text:
            Display().error(text)
