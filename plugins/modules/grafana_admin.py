#!/usr/bin/python
"""Make user and password of Grafana's administrator those that `make env` shows."""

from __future__ import annotations

import base64
import json
import pathlib
import shlex
import subprocess
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: grafana_admin
short_description: Set user and password of Grafana's administrator
description:
  - Grafana takes both from its settings for an empty database only. Asks whether it accepts those
    that are wanted. If not, sets the password by C(grafana cli) in the container, and the name by
    Grafana's API. The password is on no command line and in no output.
  - Does nothing if neither I(url) nor I(env_path) gives an address, as where Grafana does not run.
options:
  container:
    description: Name of Grafana's container.
    type: str
    required: true
  password_path:
    description: The file with the password, on the machine.
    type: path
    required: true
  env_path:
    description: The file that C(make env) shows, with the address and the user of the last run.
    type: path
    required: true
  url:
    description: Where Grafana listens. By default what is in I(env_path).
    type: str
  user:
    description: The administrator's name. By default what is in I(env_path).
    type: str
"""

RETURN = r"""
refused:
  description: Whether Grafana did not accept user and password before.
  type: bool
  returned: success
"""

# The administrator that Grafana makes on an empty database: its id, and its email unless changed.
ADMIN_ID = 1
ADMIN_EMAIL = "admin@localhost"
# `grafana cli` is the server's own program, which takes its time on a slow machine.
CLI_SECONDS = 180
API_SECONDS = 30
ACCEPTED = "Grafana accepts the name and the password that `make env` shows."
REFUSED = (
    "Grafana did not accept the name and the password that `make env` shows; "
    "`make start-project` sets them."
)


class Refused(Exception):
    """Grafana, or its container, does not do what it is asked; the text is for a person."""


def read_password(path: pathlib.Path) -> str:
    """Return the password as Grafana's image reads it: without the line ends at the end."""
    try:
        password = path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} with Grafana's password cannot be read: {error}") from error
    if not password or "\n" in password:
        raise Refused(f"{path} has to hold Grafana's password in one line; delete it for a new one")
    return password


def read_env(path: pathlib.Path) -> dict[str, str]:
    """Return the variables of a file that a shell can eval; none if there is no such file."""
    if not path.is_file():
        return {}
    words = shlex.split(path.read_text(encoding="utf-8"))
    return dict(word.split("=", 1) for word in words if "=" in word)


class Grafana:
    """A running Grafana: its API on loopback, and the program in its container."""

    def __init__(self, url: str, container: str) -> None:
        """Args: url: without a path; container: the name for `docker exec`."""
        self._url = url.rstrip("/")
        self._container = container
        # The machine itself: never by a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _call(
        self, method: str, path: str, user: str, password: str, body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of a response."""
        both = base64.b64encode(f"{user}:{password}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {both}", "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=API_SECONDS) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                found = json.loads(text)
            except ValueError:
                found = {"message": text[:200]}
            return error.code, found if isinstance(found, dict) else {}
        except (OSError, ValueError) as error:
            raise Refused(f"Grafana does not answer at {self._url}: {error}") from error

    def signed_in(self, user: str, password: str) -> dict[str, Any] | None:
        """Return who this is to Grafana, None if it does not accept the two."""
        status, found = self._call("GET", "/api/user", user, password)
        if status == 200:
            return found
        if status == 401:
            return None
        raise Refused(f"Grafana answers {status} at /api/user: {found.get('message', '')}")

    def reset_password(self, password: str) -> None:
        """Set the first administrator's password, past the old one, which nobody may know."""
        command = (
            *("docker", "exec", "--interactive", self._container),
            *("grafana", "cli", "--homepath", "/usr/share/grafana"),
            *("admin", "reset-admin-password", "--password-from-stdin"),
        )
        try:
            done = subprocess.run(
                command,
                input=f"{password}\n",
                capture_output=True,
                text=True,
                timeout=CLI_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refused(f"grafana cli did not run in {self._container}: {error}") from error
        if done.returncode != 0:
            lines = f"{done.stdout}\n{done.stderr}".replace(password, "***").split("\n")
            why = " ".join(line.strip() for line in lines if line.strip())[-600:]
            raise Refused(f"grafana cli in {self._container} did not set the password: {why}")

    def rename(self, user: str, login: str, password: str) -> None:
        """Give the first administrator, who signs in as `login`, another name."""
        path = f"/api/users/{ADMIN_ID}"
        status, found = self._call("PUT", path, login, password, {"login": user})
        if status != 200:
            raise Refused(
                f"Grafana does not rename its administrator to {user} ({status}: "
                f"{found.get('message', 'no reason given')}). If another user has that name, "
                "choose another monitoring_grafana_user"
            )


def settle(
    grafana: Grafana, user: str, password: str, former: str | None, dry_run: bool = False
) -> bool:
    """Make Grafana accept user and password as an administrator's; return whether it did not.

    Args:
        grafana: the running one.
        user: the name that has to work.
        password: what has to go with it.
        former: the name that worked before, if it is known.
        dry_run: only look.
    """
    found = grafana.signed_in(user, password)
    if found is None:
        if dry_run:
            return True
        grafana.reset_password(password)
        found = grafana.signed_in(user, password)
        if found is None:
            for login in dict.fromkeys((former or user, ADMIN_EMAIL, "admin")):
                known = grafana.signed_in(login, password)
                if known and known.get("id") == ADMIN_ID:
                    grafana.rename(user, login, password)
                    break
            found = grafana.signed_in(user, password)
        changed = True
    else:
        changed = False
    if found is None:
        raise Refused(
            f"Grafana's first administrator has the password that `make env` shows, but is not "
            f"named {user}. Set monitoring_grafana_user to the name that Grafana knows. After five "
            "wrong passwords Grafana refuses a name for five minutes: then run it again"
        )
    if not found.get("isGrafanaAdmin"):
        raise Refused(
            f"{user} is a user of Grafana, but not an administrator. Make it one in Grafana "
            "(Administration, Users), or choose another monitoring_grafana_user"
        )
    return changed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "required": True},
            # A path is no secret; without this, Ansible warns of it.
            "password_path": {"type": "path", "required": True, "no_log": False},
            "env_path": {"type": "path", "required": True},
            "url": {"type": "str"},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        env = read_env(pathlib.Path(given["env_path"]))
        former = env.get("GRAFANA_USER")
        user = str(given["user"] or former or "")
        url = str(given["url"] or env.get("GRAFANA_URL", ""))
        if not user or not url:
            # It does not run in this stack.
            module.exit_json(changed=False, refused=False)
        password = read_password(pathlib.Path(given["password_path"]))
        grafana = Grafana(url, given["container"])
        refused = settle(grafana, user, password, former, module.check_mode)
    except Refused as error:
        if module.check_mode:
            # What is not there yet, or does not run, is what a run sees to.
            module.exit_json(changed=True, refused=True, msg=str(error))
        module.fail_json(msg=f"{error}. Its log: docker logs {given['container']}")
    module.exit_json(changed=refused, refused=refused, msg=REFUSED if refused else ACCEPTED)


if __name__ == "__main__":
    main()
