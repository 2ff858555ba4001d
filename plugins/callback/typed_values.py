"""Converts the values of a run to the types of the argument specs, before its first task."""

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader
from ansible.utils.display import Display

DOCUMENTATION = """
name: typed_values
type: aggregate
short_description: convert given values to the types of the argument specs
description:
  - Values of C(-e name=value) are text. This converts them, and those of the inventory, once and
    for every role, or ends the run before its first task with a sentence for each wrong value.
  - Ansible loads it by itself, since it lies in the folder that ansible.cfg names.
"""


class CallbackModule(CallbackBase):
    """Runs at the start of each play, when Ansible knows all variables and has run no task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "typed_values"

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Replace what has another type; end the run where that cannot be done."""
        try:
            wrong = convert_all(play)
        except Exception as error:
            wrong = [f"The given values could not be checked: {error!r}"]
        for sentence in wrong:
            Display().error(sentence)
        if wrong:
            # Any other exception of a callback is a mere warning to Ansible.
            raise SystemExit(1)


def convert_all(play: Any) -> list[str]:
    """Convert the variables of the command line and of every host; return what is wrong."""
    typed_values = filter_loader.get("typed_values").j2_function
    manager = play.get_variable_manager()
    changed, wrong = typed_values(manager.extra_vars)
    # In place, since the manager has no way to set them; they win over everything else.
    manager.extra_vars.update(changed, __stack_typed=True)
    for host in manager._inventory.get_hosts():
        given = manager.get_vars(play=play, host=host, include_hostvars=False)
        given = {name: value for name, value in given.items() if name not in manager.extra_vars}
        changed, faults = typed_values(given)
        # As set_fact does: these win over the inventory.
        manager.set_nonpersistent_facts(host.name, changed)
        wrong += [f"Host {host.name}: {fault}" for fault in faults]
    return list(wrong)
