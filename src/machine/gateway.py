"""The gateway's container as its clients meet it, and a throw-away one that tries a certificate."""

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from . import engine
from .containers import CERTIFICATE_TEST
from .engine import Fault, Record, run
from .openssl import chain
from .settings import CertificateSettings

# Seconds that a command of the engine may take.
COMMAND_SECONDS = 60
# Seconds for one handshake, and for the gateway to take a certificate.
HANDSHAKE_SECONDS = 5
TAKEN_SECONDS = 15
# Where the gateway listens in its own network, and its configuration in the container.
PORT = 443
CONFIG = "/etc/gateway/current/nginx.conf"
# Of the throw-away gateway. It takes the live one's TLS settings, if there are any.
TEST_CONFIG = """\
pid /tmp/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  include /etc/gateway/current/tls*.conf;
  server {
    listen unix:/probe/socket ssl;
    ssl_certificate /etc/gateway-tls/server.crt;
    ssl_certificate_key /etc/gateway-tls/server.key;
    return 204;
  }
}
"""


class Gateway:
    """The live gateway, which may not be there or not run."""

    def __init__(self, settings: CertificateSettings) -> None:
        self.settings = settings

    @property
    def server_name(self) -> str:
        """Return a name that a client would ask for; a wildcard stands for any."""
        return self.settings.hostnames[0].replace("*", "any", 1)

    def record(self, container: str = "") -> Record:
        """Return what the engine knows of a container; empty without container or engine."""
        try:
            path = f"/containers/{container or self.settings.gateway_container}/json"
            return dict(engine.request("GET", path))
        except OSError:
            return {}

    def state(self) -> str:
        """Return running, restarting, paused, exited, …; empty where there is none."""
        return str(self.record().get("State", {}).get("Status", ""))

    def handshake(self, ca: Path, probe: Path | None = None) -> None:
        """Do what a client does that trusts `ca`; raise Fault with the reason where that fails.

        With the live gateway, or with the one that listens at the socket `probe`.
        """
        context = ssl.create_default_context(cafile=str(ca))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # Newer Pythons ask for extensions that many private CAs leave out.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        family = socket.AF_UNIX if probe else socket.AF_INET
        try:
            with socket.socket(family) as plain:
                plain.settimeout(HANDSHAKE_SECONDS)
                plain.connect(str(probe) if probe else (self.settings.gateway_address, PORT))
                with context.wrap_socket(plain, server_hostname=self.server_name):
                    return
        except ssl.SSLCertVerificationError as error:
            raise Fault(f"a client refuses it: {error.verify_message}") from None
        except (OSError, ValueError) as error:
            raise Fault(f"no handshake: {error}") from None

    def served(self) -> list[bytes]:
        """Return the certificates that the live gateway sends; empty without a handshake."""
        address = f"{self.settings.gateway_address}:{PORT}"
        command = ["openssl", "s_client", "-connect", address, "-servername", self.server_name]
        try:
            done = subprocess.run(
                [*command, "-showcerts"],
                input="",
                capture_output=True,
                text=True,
                check=False,
                timeout=HANDSHAKE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return []
        return chain(done.stdout)

    def serves(self, wanted: list[bytes] | None = None) -> bool:
        """Wait until it sends these certificates, or any; return whether it does."""
        deadline = time.monotonic() + (TAKEN_SECONDS if wanted else HANDSHAKE_SECONDS)
        while not (found := self.served()) or found != (wanted or found):
            if time.monotonic() > deadline:
                return False
            # Until it listens; old workers end one after the other.
            time.sleep(0.2)
        return True

    def reload(self) -> None:
        """Have the workers take the files in place, without losing a connection."""
        # It reads them first, and fails where it cannot use them.
        nginx = ("docker", "exec", self.settings.gateway_container, "nginx", "-c", CONFIG)
        run(*nginx, "-s", "reload", timeout=COMMAND_SECONDS)

    def restart(self) -> None:
        """End it and start it anew."""
        run("docker", "restart", self.settings.gateway_container, timeout=COMMAND_SECONDS)

    def try_out(self, folder: Path, ca: Path) -> None:
        """Have a throw-away gateway serve the pair in `folder`, and shake hands with it.

        Without an image there is no gateway that could be hurt: the first start tests for itself.
        """
        record = self.record()
        if not record:
            return
        name, user = f"{self.settings.stack}{CERTIFICATE_TEST}", self.settings.group
        probe = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/run"))
        volumes = [f"{folder}:/etc/gateway-tls:ro", f"{probe}:/probe"]
        for mount in record["Mounts"]:
            if mount["Destination"] == "/etc/gateway":
                volumes.append(f"{mount['Source']}:/etc/gateway:ro")
        remove = ("docker", "rm", "--force", name)
        try:
            os.chown(probe, user, user)
            (probe / "nginx.conf").write_text(TEST_CONFIG, encoding="ascii")
            (probe / "nginx.conf").chmod(0o644)
            # Of a run that was cut off.
            engine.succeeds(*remove, timeout=COMMAND_SECONDS)
            run(
                *("docker", "run", "--detach", "--name", name, "--network=none"),
                *(f"--label=stack={self.settings.stack}", f"--user={user}:{user}"),
                *("--label=stack.component=certificate-test", "--read-only", "--tmpfs=/tmp"),
                *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--no-healthcheck"),
                *(f"--volume={volume}" for volume in volumes),
                *(record["Image"], "nginx", "-c", "/probe/nginx.conf", "-g", "daemon off;"),
                timeout=COMMAND_SECONDS,
            )
            self.knock(name, ca, probe / "socket")
        finally:
            engine.succeeds(*remove, timeout=COMMAND_SECONDS)
            shutil.rmtree(probe, ignore_errors=True)

    def knock(self, container: str, ca: Path, probe: Path) -> None:
        """Shake hands with a throw-away gateway that starts; its last error is in the fault."""
        deadline = time.monotonic() + TAKEN_SECONDS
        while not probe.exists() and time.monotonic() < deadline:
            if not self.record(container).get("State", {}).get("Running"):
                break
            # Until its socket is there.
            time.sleep(0.1)
        try:
            self.handshake(ca, probe)
        except Fault as fault:
            command = ["docker", "logs", "--tail=1", container]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
            )
            last = done.stderr.strip()
            raise Fault(f"{fault} ({last})" if last else str(fault)) from None
