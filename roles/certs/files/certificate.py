"""Keep the gateway of a stack on a certificate that works.

Ansible calls this program at each run, and a timer of the machine calls it once a day. The gateway
serves either a certificate that the stack's own CA signs, or one that the user brings. On disk:

    secrets/ca.crt, secrets/ca.key   the stack's own CA, apart from whatever the user brings
    secrets/own/*.pem                what the user brings: certificate.pem, key.pem, ca.pem
    tls/<id>/server.{crt,key}        a pair, in a folder named after its content
    tls/current -> <id>              the pair in use; tls/server.{crt,key} lead through it
    ca.crt                           for clients: the CA of the certificate in use

A new pair is tested before it replaces the one in use: it is written beside it, and a throw-away
gateway of the same image has to complete a handshake with it. One rename then switches. If the
live gateway completes no handshake after that, the rename is rolled back.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# The machine's own engine, whatever the user's environment names.
ENGINE = "unix:///var/run/docker.sock"
# Seconds that a command of the engine or of OpenSSL may take.
COMMAND_SECONDS = 60
# Seconds for one handshake, and for the gateway to take a certificate.
HANDSHAKE_SECONDS = 5
TAKEN_SECONDS = 15
# Where the gateway listens in its own network.
GATEWAY_PORT = 443
PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
CA_EXTENSIONS = """\
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
SERVER_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
# Of the throw-away gateway. It takes the live one's TLS settings, if there are any.
INCLUDED_TLS = "include /etc/gateway/current/tls.conf;"
OWN_TLS = """\
ssl_certificate /etc/gateway-tls/server.crt;
  ssl_certificate_key /etc/gateway-tls/server.key;"""
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
  %s
  server {
    listen unix:/probe/socket ssl;
    return 204;
  }
}
"""


class Fault(Exception):
    """Something that a person has to put right; its text says what and how."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between stacks; `certificate.json` holds it."""

    stack: str
    # The CA for clients, the folder that the gateway mounts, and the one that root alone reads.
    ca_path: str
    tls_dir: str
    secrets_dir: str
    # Group of the gateway's process.
    group: int
    hostnames: list[str]
    addresses: list[str]
    valid_days: int
    ca_valid_days: int
    renew_days: int
    # Id of the pair that the user brought; empty where the stack's CA signs.
    own: str
    gateway_container: str
    gateway_address: str


def run(*command: str, stdin: str | None = None) -> str:
    """Return a command's output; raise Fault with its own message where it fails."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    except FileNotFoundError:
        raise Fault(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Fault(f"{' '.join(command[:3])} did not end within {COMMAND_SECONDS} s") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-3:]
        raise Fault(f"{' '.join(command[:3])}: {' '.join(last)}")
    return done.stdout


def succeeds(*command: str) -> bool:
    """Tell whether a command ends without an error."""
    try:
        run(*command)
    except Fault:
        return False
    return True


def pair_id(certificate: bytes, key: bytes) -> str:
    """Return the name of a pair's folder. `own_certificate` computes the same on the controller."""
    return hashlib.sha256(certificate + b"\0" + key).hexdigest()[:12]


def write(path: Path, content: bytes, mode: int, group: int = 0) -> None:
    """Write a file in one step; it never has more rights than `mode`."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
        os.fchown(descriptor, 0, group)
        os.fchmod(descriptor, mode)
    new.replace(path)


def link(path: Path, target: str) -> None:
    """Point a link at `target` in one step."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


def public_key(kind: str, path: Path) -> str:
    """Return the public key of a certificate ("x509") or of a private key ("pkey")."""
    # An encrypted key is no use here, and must not ask for its passphrase.
    words = ("-pubout", "-passin", "pass:") if kind == "pkey" else ("-noout", "-pubkey")
    return run("openssl", kind, "-in", str(path), *words, stdin="")


def matches(certificate: Path, key: Path) -> bool:
    """Tell whether both can be read and belong together."""
    try:
        return public_key("x509", certificate) == public_key("pkey", key)
    except Fault:
        return False


def names(certificate: Path) -> tuple[list[str], set[str]]:
    """Return the certificate's host names, the common name first, and its addresses."""
    text = run("openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", str(certificate))
    words = [word.strip() for line in text.splitlines() for word in line.split(",")]
    hosts = [word[4:] for word in words if word.startswith("DNS:")]
    addresses = {str(ipaddress.ip_address(w[11:])) for w in words if w.startswith("IP Address:")}
    return hosts, addresses


def lifetime(certificate: Path) -> tuple[dt.datetime, dt.datetime]:
    """Return from when until when a certificate is valid."""
    text = run("openssl", "x509", "-noout", "-startdate", "-enddate", "-in", str(certificate))
    begin, end = (
        dt.datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y %Z").replace(
            tzinfo=dt.timezone.utc
        )
        for line in text.splitlines()
    )
    return begin, end


def chain(text: str) -> list[bytes]:
    """Return the certificates of a PEM text in their order, as DER."""
    return [ssl.PEM_cert_to_DER_cert(found) for found in PEM.findall(text)]


class Gateway:
    """The gateway's container, and throw-away ones of its image."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.container = settings.gateway_container
        self.test_container = f"{settings.stack}-certificate-test"

    def inspect(self, form: str) -> str:
        """Return a field of the container's record; empty if there is no container or engine."""
        try:
            return run(
                "docker", "inspect", "--type", "container", "--format", form, self.container
            ).strip()
        except Fault:
            return ""

    def state(self) -> str:
        """Return running, restarting, paused, exited, …; empty where there is none."""
        return self.inspect("{{.State.Status}}")

    def server_name(self) -> str:
        """Return a name that a client would ask for; a wildcard stands for any."""
        return self.settings.hostnames[0].replace("*", "any", 1)

    def handshake(self, ca: Path, address: str | tuple[str, int]) -> None:
        """Do what a client does that trusts `ca`; raise Fault with the reason where that fails."""
        context = ssl.create_default_context(cafile=str(ca))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # Newer Pythons ask for extensions that many private CAs leave out.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        try:
            with socket.socket(family) as plain:
                plain.settimeout(HANDSHAKE_SECONDS)
                plain.connect(address)
                with context.wrap_socket(plain, server_hostname=self.server_name()):
                    return
        except ssl.SSLCertVerificationError as error:
            raise Fault(f"a client refuses it: {error.verify_message}") from None
        except (OSError, ValueError) as error:
            raise Fault(f"no handshake: {error}") from None

    def answers(self, ca: Path) -> None:
        """Raise Fault unless the live gateway completes a handshake."""
        self.handshake(ca, (self.settings.gateway_address, GATEWAY_PORT))

    def served(self) -> list[bytes]:
        """Return the certificates that the live gateway sends; empty without a handshake."""
        address = f"{self.settings.gateway_address}:{GATEWAY_PORT}"
        command = ["openssl", "s_client", "-connect", address, "-showcerts"]
        command += ["-servername", self.server_name()]
        try:
            done = subprocess.run(
                command,
                input="",
                capture_output=True,
                text=True,
                check=False,
                timeout=HANDSHAKE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return []
        return chain(done.stdout)

    def serves_anything(self) -> bool:
        """Tell whether a running gateway completes handshakes; it may have just started."""
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        while self.state() == "running":
            if self.served():
                return True
            if time.monotonic() > deadline:
                break
            # Until it listens.
            time.sleep(0.2)
        return False

    def try_out(self, folder: Path, ca: Path) -> None:
        """Have a throw-away gateway serve the pair in `folder`, and shake hands with it.

        Without an image there is no gateway that could be hurt: the first start tests for itself.
        """
        image = self.inspect("{{.Image}}")
        if not image:
            return
        config = self.inspect(
            '{{range .Mounts}}{{if eq .Destination "/etc/gateway"}}{{.Source}}{{end}}{{end}}'
        )
        tls = INCLUDED_TLS if config and (Path(config) / "current/tls.conf").is_file() else OWN_TLS
        probe = Path(tempfile.mkdtemp(prefix=f"{self.test_container}-", dir="/run"))
        try:
            os.chown(probe, self.settings.group, self.settings.group)
            (probe / "nginx.conf").write_text(TEST_CONFIG % tls, encoding="ascii")
            (probe / "nginx.conf").chmod(0o644)
            self.remove_test_container()
            mounts = [f"{folder}:/etc/gateway-tls:ro", f"{probe}:/probe"]
            mounts += [f"{config}:/etc/gateway:ro"] if config else []
            run(
                *("docker", "run", "--detach", "--name", self.test_container, "--network", "none"),
                f"--label=stack={self.settings.stack}",
                "--label=stack.component=certificate-test",
                *("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
                "--security-opt=no-new-privileges",
                *("--user", f"{self.settings.group}:{self.settings.group}", "--no-healthcheck"),
                *(word for mount in mounts for word in ("--volume", mount)),
                *(image, "nginx", "-c", "/probe/nginx.conf", "-g", "daemon off;"),
            )
            deadline = time.monotonic() + TAKEN_SECONDS
            while True:
                try:
                    return self.handshake(ca, str(probe / "socket"))
                except Fault as fault:
                    up = (probe / "socket").exists()
                    if up or time.monotonic() > deadline or not self.test_runs():
                        raise Fault(f"{fault}{self.test_says()}") from None
                # Until its socket is there.
                time.sleep(0.1)
        finally:
            self.remove_test_container()
            shutil.rmtree(probe, ignore_errors=True)

    def test_runs(self) -> bool:
        """Tell whether the throw-away gateway is up."""
        return (
            run("docker", "inspect", "--format", "{{.State.Running}}", self.test_container).strip()
            == "true"
        )

    def test_says(self) -> str:
        """Return the throw-away gateway's last error, with a space in front."""
        done = subprocess.run(
            ["docker", "logs", "--tail", "1", self.test_container],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        return f" ({done.stderr.strip()})" if done.stderr.strip() else ""

    def remove_test_container(self) -> None:
        """Remove it, also one of a run that was cut off."""
        subprocess.run(
            ["docker", "rm", "--force", self.test_container],
            capture_output=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )

    def reload(self) -> None:
        """Have the workers take the files in place, without losing a connection."""
        nginx = ("docker", "exec", self.container, "nginx")
        run(*nginx, "-t", "-q", "-c", "/etc/gateway/current/nginx.conf")
        run(*nginx, "-c", "/etc/gateway/current/nginx.conf", "-s", "reload")

    def serves(self, wanted: list[bytes]) -> bool:
        """Wait until the gateway sends these certificates; return whether it does."""
        deadline = time.monotonic() + TAKEN_SECONDS
        while self.served() != wanted:
            if time.monotonic() > deadline:
                return False
            # Old workers end one after the other.
            time.sleep(0.2)
        return True


class Certificate:
    """The pairs of one stack on disk, and its CA."""

    def __init__(self, settings: Settings, renew_days: int) -> None:
        self.settings, self.renew_days = settings, renew_days
        self.secrets, self.tls = Path(settings.secrets_dir), Path(settings.tls_dir)
        self.ca, self.ca_key = self.secrets / "ca.crt", self.secrets / "ca.key"
        self.own = self.secrets / "own"
        self.client_ca = Path(settings.ca_path)
        self.current = self.tls / "current"
        self.gateway = Gateway(settings)

    # ---- the CA ---------------------------------------------------------------------------------

    def our_ca_is_trusted(self) -> bool:
        """Tell whether clients were given a CA that this stack made."""
        if self.ca.exists():
            return True
        try:
            subject = run("openssl", "x509", "-noout", "-subject", "-in", str(self.client_ca))
        except Fault:
            return False
        return f"{self.settings.stack} private CA" in subject

    def ca_fault(self) -> str:
        """Return why the stack's own CA cannot sign; empty if it can or is still to be made."""
        ca = self.ca if self.ca.exists() else self.client_ca
        if not self.our_ca_is_trusted():
            return ""
        ways = (
            f"Restore {self.ca_key} from a backup; or remove {ca}, then the next run makes a new "
            "CA and every client needs "
            f"the new {self.client_ca}"
        )
        if not self.ca_key.exists():
            return f"Clients trust the CA in {ca}, and its key {self.ca_key} is missing. {ways}."
        if not matches(ca, self.ca_key):
            return f"{self.ca_key} is not the key of the CA in {ca}. {ways}."
        if lifetime(ca)[1] < dt.datetime.now(dt.timezone.utc):
            return (
                f"The CA in {ca} has expired. Remove it: the next run signs it again for the same "
                f"key. Then give clients the new {self.client_ca}."
            )
        return ""

    def provide_ca(self) -> None:
        """Have a CA that is the stack's own, apart from whatever the user brings."""
        if fault := self.ca_fault():
            raise Fault(fault)
        if self.ca.exists():
            return
        if self.our_ca_is_trusted():
            # It was kept in the clients' place alone.
            write(self.ca, self.client_ca.read_bytes(), 0o600)
            return
        # A key without its certificate, which another CA has replaced: the same key again, so that
        # those
        # who trust the old certificate go on.
        if not self.ca_key.exists():
            write(self.ca_key, self.new_key(), 0o600)
        name = f"{self.settings.stack} private CA"
        issued = self.issue(
            name, self.ca_key, CA_EXTENSIONS, self.settings.ca_valid_days, itself=True
        )
        write(self.ca, issued, 0o600)

    def new_key(self) -> bytes:
        """Return a new private key in PEM."""
        return run(
            "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"
        ).encode()

    def issue(
        self, name: str, key: Path, extensions: str, days: int, *, itself: bool = False
    ) -> bytes:
        """Return a certificate for `key` in PEM, signed by the CA or by itself.

        Valid from an hour ago, for clients whose clock is behind. Before OpenSSL 3.4 only
        `openssl ca` can do that, and it keeps books.
        """
        with tempfile.TemporaryDirectory(dir=self.secrets) as folder:
            books = Path(folder)
            (books / "index").touch()
            # A common name has at most 64 characters; clients look at the names in the extensions.
            (books / "config").write_text(
                "[req]\nprompt = no\nstring_mask = utf8only\ndistinguished_name = subject\n"
                f"[subject]\ncommonName = {name[:64]}\n[extensions]\n{extensions}\n"
                f"[ca]\ndefault_ca = ours\n[ours]\ndatabase = {books}/index\nnew_certs_dir = "
                f"{books}\n"
                "rand_serial = yes\npolicy = names\n[names]\ncommonName = supplied\n",
                encoding="utf-8",
            )
            config, request, issued = (
                str(books / name) for name in ("config", "request", "issued")
            )
            run("openssl", "req", "-new", "-key", str(key), "-config", config, "-out", request)
            start = dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=1)
            signer = (
                ("-selfsign", "-keyfile", str(key))
                if itself
                else ("-cert", str(self.ca), "-keyfile", str(self.ca_key))
            )
            run(
                *(
                    "openssl",
                    "ca",
                    "-batch",
                    "-notext",
                    "-in",
                    request,
                    "-out",
                    issued,
                    *signer,
                    "-md",
                    "sha256",
                ),
                *("-config", config, "-extensions", "extensions"),
                *("-startdate", start.strftime("%Y%m%d%H%M%SZ"), "-days", str(days)),
            )
            return (books / "issued").read_bytes()

    # ---- the pair in use ------------------------------------------------------------------------

    def adopt_older_layout(self) -> None:
        """Take over a pair that lies in `tls/` itself, as earlier versions had it."""
        certificate, key = self.tls / "server.crt", self.tls / "server.key"
        if (
            self.current.is_symlink()
            or certificate.is_symlink()
            or not (certificate.is_file() and key.is_file())
        ):
            return
        link(self.current, self.stage(certificate.read_bytes(), key.read_bytes()).name)

    def stage(self, certificate: bytes, key: bytes) -> Path:
        """Write a pair in a folder of its own, beside the one in use."""
        folder = self.tls / pair_id(certificate, key)
        folder.mkdir(mode=0o750, exist_ok=True)
        os.chown(folder, 0, self.settings.group)
        folder.chmod(0o750)
        write(folder / "server.crt", certificate, 0o640, self.settings.group)
        write(folder / "server.key", key, 0o640, self.settings.group)
        return folder

    def tidy(self) -> None:
        """Set links, owners and modes, and remove every pair but the one in use."""
        for name in ("server.crt", "server.key"):
            path, target = self.tls / name, f"current/{name}"
            if not path.is_symlink() or os.readlink(path) != target:
                link(path, target)
        live = self.current.resolve()
        for path in self.tls.iterdir():
            if path.is_dir() and not path.is_symlink() and path != live:
                shutil.rmtree(path)
        for path, mode in (
            (live, 0o750),
            (live / "server.crt", 0o640),
            (live / "server.key", 0o640),
        ):
            os.chown(path, 0, self.settings.group)
            path.chmod(mode)

    def live_id(self) -> str:
        """Return the id of the pair in use; empty where there is none or its files were changed."""
        try:
            found = pair_id(
                (self.current / "server.crt").read_bytes(),
                (self.current / "server.key").read_bytes(),
            )
            return found if os.readlink(self.current) == found else ""
        except OSError:
            return ""

    def fault(self) -> str:
        """Return why the stack's CA has to sign a new certificate; empty if it does not."""
        certificate, key = self.current / "server.crt", self.current / "server.key"
        if not self.live_id() or not matches(certificate, key):
            return "key and certificate are not a pair"
        if not succeeds("openssl", "verify", "-CAfile", str(self.ca), str(certificate)):
            return "the CA does not vouch for the certificate"
        begin, end = lifetime(certificate)
        if end - dt.datetime.now(dt.timezone.utc) < dt.timedelta(days=self.renew_days):
            return f"fewer than {self.renew_days} days remain"
        hosts, addresses = names(certificate)
        # An address that comes and goes (of a VPN) stays in the certificate until the next one.
        missing = {str(ipaddress.ip_address(a)) for a in self.settings.addresses} - addresses
        if (
            hosts != self.settings.hostnames
            or missing
            or (end - begin).days != self.settings.valid_days
        ):
            return "names or lifetime changed"
        return ""

    def sign(self, *, new_key: bool) -> Path:
        """Sign a certificate for the settings' names, and stage it; the CA's last key stays."""
        certificate, key = self.current / "server.crt", self.current / "server.key"
        vouch = ("openssl", "verify", "-no_check_time", "-CAfile", str(self.ca))
        ours = succeeds(*vouch, str(certificate))
        keep = ours and not new_key and matches(certificate, key)
        with tempfile.NamedTemporaryFile(dir=self.secrets) as file:
            content = key.read_bytes() if keep else self.new_key()
            file.write(content)
            file.flush()
            alternatives = [f"DNS:{name}" for name in self.settings.hostnames] + [
                f"IP:{a}" for a in self.settings.addresses
            ]
            extensions = f"{SERVER_EXTENSIONS}subjectAltName = {', '.join(alternatives)}\n"
            issued = self.issue(
                self.settings.hostnames[0], Path(file.name), extensions, self.settings.valid_days
            )
        return self.stage(issued, content)

    def brought(self) -> Path:
        """Stage the pair that the user brought."""
        try:
            certificate, key = (
                (self.own / "certificate.pem").read_bytes(),
                (self.own / "key.pem").read_bytes(),
            )
        except OSError as error:
            raise Fault(
                f"{error.filename} is missing: `make start-project` brings it again"
            ) from None
        if pair_id(certificate, key) != self.settings.own:
            raise Fault(
                f"The files in {self.own} were changed: `make start-project` brings yours again"
            )
        return self.stage(certificate, key)

    @property
    def wanted_ca(self) -> Path:
        """The CA that clients need for the certificate that is wanted."""
        return self.own / "ca.pem" if self.settings.own else self.ca

    def switch(self, folder: Path) -> str:
        """Bring a staged pair live, or roll back; return what the gateway did."""
        try:
            self.gateway.try_out(folder, self.wanted_ca)
        except Fault as fault:
            if folder != self.current.resolve():
                shutil.rmtree(folder)
            raise Fault(
                "The new certificate does not work, the gateway goes on with the one before. "
                f"{fault}"
            ) from None
        before = os.readlink(self.current) if self.current.is_symlink() else ""
        ca_before = self.client_ca.read_bytes() if self.client_ca.exists() else None
        was_served = self.gateway.serves_anything()
        link(self.current, folder.name)
        write(self.client_ca, self.wanted_ca.read_bytes(), 0o644)
        try:
            return self.take(was_served)
        except Fault as fault:
            if was_served and before and (self.tls / before).is_dir() and before != folder.name:
                link(self.current, before)
                if ca_before is not None:
                    write(self.client_ca, ca_before, 0o644)
                # Workers that never took the new one need no reload.
                with contextlib.suppress(Fault):
                    self.gateway.reload()
                raise Fault(
                    "The gateway did not take the new certificate and serves the one before "
                    f"again. {fault}"
                ) from None
            raise

    def take(self, was_served: bool) -> str:
        """Have the running gateway serve what is in place; return what was done."""
        state = self.gateway.state()
        wanted = chain((self.current / "server.crt").read_text(encoding="ascii"))
        if state == "restarting" or (state == "running" and not was_served):
            # It cannot serve less than it does. Whether it comes up is for the next steps of a run
            # to see.
            run("docker", "restart", self.gateway.container)
            taken = self.gateway.serves(wanted)
            return (
                f"restarted: the gateway {'serves' if taken else 'does not serve'} the certificate"
            )
        if state != "running" or self.gateway.served() == wanted:
            return ""
        self.gateway.reload()
        if not self.gateway.serves(wanted):
            raise Fault(
                f"The gateway {self.gateway.container} goes on serving another certificate: see "
                f"docker logs {self.gateway.container}"
            )
        self.gateway.answers(self.client_ca)
        return "reloaded: the gateway serves the certificate"

    # ---- what is asked for ----------------------------------------------------------------------

    def reason(self, *, rotate: bool) -> str:
        """Return why another pair is needed; empty where the one in use is good."""
        if self.settings.own:
            return "" if self.live_id() == self.settings.own else "it is your own"
        return "asked for" if rotate else self.fault()

    def is_behind(self) -> bool:
        """Tell whether a running gateway serves anything else than the files hold."""
        if self.gateway.state() not in ("running", "restarting"):
            return False
        return self.gateway.served() != chain(
            (self.current / "server.crt").read_text(encoding="ascii")
        )

    def keep(self, *, rotate: bool = False) -> list[str]:
        """Do what is needed; return what was done."""
        if rotate and self.settings.own:
            raise Fault(
                "The certificate is your own: replace the files that certs_own_certificate_path "
                "and certs_own_key_path name, "
                "and run make start-project"
            )
        self.adopt_older_layout()
        done = []
        had_ca = self.ca.exists()
        if not self.settings.own:
            self.provide_ca()
            done += [] if had_ca else [f"made: {self.ca} is the stack's own CA"]
        if why := self.reason(rotate=rotate):
            folder = self.brought() if self.settings.own else self.sign(new_key=rotate)
            taken = self.switch(folder)
            verb = "installed" if self.settings.own else "signed"
            end = lifetime(self.current / "server.crt")[1].strftime("%b %d %H:%M:%S %Y GMT")
            done += [f"{verb}: {why}; valid until {end}"] + ([taken] if taken else [])
        self.tidy()
        # Only the clients' copy may differ, after another hand.
        if (
            not self.client_ca.exists()
            or self.client_ca.read_bytes() != self.wanted_ca.read_bytes()
        ):
            write(self.client_ca, self.wanted_ca.read_bytes(), 0o644)
            done.append(f"copied: {self.client_ca} is the CA of the certificate")
        if not why and self.is_behind() and (taken := self.take(self.gateway.serves_anything())):
            done.append(taken)
        return done

    def check(self) -> list[str]:
        """Return what `keep` would do."""
        if not self.settings.own and (fault := self.ca_fault()):
            raise Fault(fault)
        if why := self.reason(rotate=False):
            return [f"would {'install' if self.settings.own else 'sign'}: {why}"]
        return ["would reload: the gateway serves another certificate"] if self.is_behind() else []

    def verify(self) -> list[str]:
        """Return what is wrong with what clients get now."""
        certificate, key = self.current / "server.crt", self.current / "server.key"
        if not certificate.exists() or not key.exists():
            return ["There is no certificate: `make start-project` makes one"]
        if not matches(certificate, key):
            return [
                "Key and certificate are no pair: the gateway cannot start again. `make "
                "start-project` repairs it"
            ]
        wrong = []
        left = (lifetime(certificate)[1] - dt.datetime.now(dt.timezone.utc)).days
        if left < 1:
            wrong.append(
                f"The certificate {'has expired' if left < 0 else 'expires within a day'}. `make "
                "start-project` renews it; "
                "one of your own you have to replace"
            )
        if self.gateway.state() == "running":
            try:
                self.gateway.answers(self.client_ca)
                if self.is_behind():
                    wrong.append(
                        "The gateway serves another certificate than the files hold. `make "
                        "start-project` brings it"
                    )
            except Fault as fault:
                wrong.append(f"Clients of the gateway fail, {fault}")
        return wrong


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for the timer's run, or for the one of a person, to end."""
    with path.open("w", encoding="ascii") as file:
        deadline = time.monotonic() + COMMAND_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Fault(f"Another run of this command holds {path}") from None
                # Between two looks.
                time.sleep(0.2)
        yield


def main(words: list[str] | None = None) -> int:
    """Do what the words ask for; the exit code is 1 where something has to be put right."""
    parser = argparse.ArgumentParser(
        prog="certificate",
        description="Keep the gateway on a certificate that works; without an option, do so.",
        allow_abbrev=False,
    )
    # The installed command names its own; - reads standard input.
    parser.add_argument("--settings", required=True, help=argparse.SUPPRESS)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--check", action="store_true", help="only report what it would do")
    asked.add_argument("--rotate", action="store_true", help="sign a certificate for a new key now")
    asked.add_argument(
        "--verify", action="store_true", help="report what is wrong with what clients get"
    )
    asked.add_argument(
        "--check-ca", action="store_true", help="report why the stack's own CA cannot sign"
    )
    options = parser.parse_args(words)
    text = (
        sys.stdin.read()
        if options.settings == "-"
        else Path(options.settings).read_text(encoding="utf-8")
    )
    settings = Settings(**json.loads(text))
    certificate = Certificate(settings, int(os.environ.get("RENEW_DAYS", settings.renew_days)))
    os.umask(0o077)
    for name in [name for name in os.environ if name.startswith("DOCKER_")]:
        del os.environ[name]
    os.environ["DOCKER_HOST"] = ENGINE
    try:
        if options.check_ca:
            wrong = [fault] if not settings.own and (fault := certificate.ca_fault()) else []
        elif options.verify:
            wrong = certificate.verify()
        else:
            wrong = []
            if options.check:
                lines = certificate.check()
            else:
                with alone(certificate.secrets / "certificate.lock"):
                    lines = certificate.keep(rotate=options.rotate)
            for line in lines:
                print(line)
    except Fault as fault:
        wrong = [str(fault)]
    except PermissionError as error:
        wrong = [f"{error.filename} is for root: use sudo"]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
