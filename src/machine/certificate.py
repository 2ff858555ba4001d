"""Keep the gateway of a stack on a certificate that works.

Ansible calls this at each run, and a timer of the machine once a day. The gateway serves either a
certificate that the stack's own CA signs, or one that the user brings. On disk:

    secrets/ca.crt, secrets/ca.key   the stack's own CA, apart from whatever the user brings
    secrets/own/*.pem                what the user brings: certificate.pem, key.pem, ca.pem
    tls/<id>/server.{crt,key}        a pair, in a folder named after its content
    tls/current -> <id>              the pair in use; tls/server.{crt,key} lead through it
    ca.crt                           for clients: the CA of the certificate in use

A new pair is tested before it replaces the one in use: it is written beside it, and a throw-away
gateway of the same image has to complete a handshake with it. One rename then switches. If the
live gateway completes no handshake after that, the rename is rolled back.
"""

import contextlib
import datetime as dt
import hashlib
import ipaddress
import os
import shutil
from pathlib import Path

from . import lock, openssl
from .engine import Fault
from .gateway import Gateway
from .settings import CertificateSettings


def pair_id(certificate: bytes, key: bytes) -> str:
    """Return the name of a pair's folder. `own_certificate` computes the same on the controller."""
    return hashlib.sha256(certificate + b"\0" + key).hexdigest()[:12]


def write(path: Path, content: bytes, mode: int = 0o600, group: int = 0) -> None:
    """Write a file in one step; it never has more rights than `mode`."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.chown(new, 0, group)
    new.chmod(mode)
    new.replace(path)


def link(path: Path, target: str) -> None:
    """Point a link at `target` in one step, unless it does so already."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


class Certificate:
    """The pairs of one stack on disk, and its CA."""

    def __init__(self, settings: CertificateSettings) -> None:
        self.settings = settings
        self.secrets, self.tls = settings.secrets_dir, settings.tls_dir
        self.client_ca = settings.ca_path
        self.ca, self.ca_key = self.secrets / "ca.crt", self.secrets / "ca.key"
        self.ca_name, self.own = f"{settings.stack} private CA", self.secrets / "own"
        # What clients need for the certificate that is wanted.
        self.wanted_ca = self.own / "ca.pem" if settings.own else self.ca
        self.current = self.tls / "current"
        self.certificate, self.key = self.current / "server.crt", self.current / "server.key"
        self.gateway = Gateway(settings)

    # ---- the CA ---------------------------------------------------------------------------------

    def our_ca_is_trusted(self) -> bool:
        """Tell whether clients were given a CA that this stack made."""
        return self.ca.exists() or openssl.is_named(self.client_ca, self.ca_name)

    def check_ca(self) -> list[str]:
        """Raise Fault where the stack's own CA cannot sign, though clients trust it."""
        ca = self.ca if self.ca.exists() else self.client_ca
        if self.settings.own or not self.our_ca_is_trusted():
            return []
        ways = (
            f"Restore {self.ca_key} from a backup; or remove {ca}, then the next run makes a new "
            f"CA and every client needs the new {self.client_ca}."
        )
        if not self.ca_key.exists():
            raise Fault(
                f"Clients trust the CA in {ca}, and its key {self.ca_key} is missing. {ways}"
            )
        if not openssl.matches(ca, self.ca_key):
            raise Fault(f"{self.ca_key} is not the key of the CA in {ca}. {ways}")
        if openssl.read(ca).remaining < dt.timedelta():
            raise Fault(
                f"The CA in {ca} has expired. Remove it: the next run signs it again for the same "
                f"key. Then give clients the new {self.client_ca}."
            )
        return []

    def provide_ca(self) -> list[str]:
        """Have a CA that is the stack's own, apart from whatever the user brings."""
        self.check_ca()
        if self.ca.exists():
            return []
        if self.our_ca_is_trusted():
            # It was kept in the clients' place alone.
            content = self.client_ca.read_bytes()
        else:
            # A key without its certificate, which another CA has replaced, stays: those who trust
            # the old certificate go on.
            if not self.ca_key.exists():
                write(self.ca_key, openssl.new_key())
            key, days = self.ca_key.read_bytes(), self.settings.ca_valid_days
            content = openssl.issue(self.secrets, self.ca_name, key, days)
        write(self.ca, content)
        return [f"made: {self.ca} is the stack's own CA"]

    # ---- the pair in use ------------------------------------------------------------------------

    def adopt_older_layout(self) -> None:
        """Take over a pair that lies in `tls/` itself, as earlier versions had it."""
        pair = [self.tls / "server.crt", self.tls / "server.key"]
        if not self.current.is_symlink() and all(p.is_file() and not p.is_symlink() for p in pair):
            link(self.current, self.stage(*(path.read_bytes() for path in pair)).name)

    def stage(self, certificate: bytes, key: bytes) -> Path:
        """Write a pair in a folder of its own, beside the one in use."""
        folder = self.tls / pair_id(certificate, key)
        folder.mkdir(mode=0o700, exist_ok=True)
        write(folder / "server.crt", certificate, 0o640, self.settings.group)
        write(folder / "server.key", key, 0o640, self.settings.group)
        self.hand_to_gateway(folder)
        return folder

    def hand_to_gateway(self, folder: Path) -> None:
        """Let the gateway's group read a pair."""
        for path in (folder, folder / "server.crt", folder / "server.key"):
            os.chown(path, 0, self.settings.group)
            path.chmod(0o750 if path == folder else 0o640)

    def tidy(self) -> None:
        """Set links, owners and modes, and remove every pair but the one in use."""
        for name in ("server.crt", "server.key"):
            link(self.tls / name, f"current/{name}")
        live = self.current.resolve()
        for path in self.tls.iterdir():
            if path.is_dir() and not path.is_symlink() and path != live:
                shutil.rmtree(path)
        self.hand_to_gateway(live)

    def live_id(self) -> str:
        """Return the id of the pair in use; empty where there is none or its files were changed."""
        try:
            found = pair_id(self.certificate.read_bytes(), self.key.read_bytes())
            return found if os.readlink(self.current) == found else ""
        except OSError:
            return ""

    def on_disk(self) -> list[bytes]:
        """Return the certificates that the gateway has to serve."""
        return openssl.chain(self.certificate.read_text(encoding="ascii"))

    def fault(self) -> str:
        """Return why the stack's CA has to sign a new certificate; empty if it does not."""
        if not self.current.exists():
            return "there is none yet"
        if not self.live_id() or not openssl.matches(self.certificate, self.key):
            return "key and certificate are not a pair"
        if not openssl.vouches(self.ca, self.certificate):
            return "the CA does not vouch for the certificate"
        facts, days = openssl.read(self.certificate), self.settings.renew_days
        if facts.remaining < dt.timedelta(days=days):
            return f"fewer than {days} days remain"
        # An address that comes and goes (of a VPN) stays in the certificate until the next one.
        missing = {str(ipaddress.ip_address(a)) for a in self.settings.addresses} - facts.addresses
        lasts = (facts.end - facts.begin).days == self.settings.valid_days
        right = facts.hosts == self.settings.hostnames and not missing and lasts
        return "" if right else "names or lifetime changed"

    def sign(self, *, new_key: bool) -> Path:
        """Sign a certificate for the settings' names, and stage it; the CA's last key stays."""
        keep = (
            not new_key
            and openssl.vouches(self.ca, self.certificate, "-no_check_time")
            and openssl.matches(self.certificate, self.key)
        )
        key = self.key.read_bytes() if keep else openssl.new_key()
        name, days = self.settings.hostnames[0], self.settings.valid_days
        alternatives = [f"DNS:{host}" for host in self.settings.hostnames]
        alternatives += [f"IP:{address}" for address in self.settings.addresses]
        issued = openssl.issue(self.secrets, name, key, days, alternatives)
        return self.stage(issued, key)

    def brought(self) -> Path:
        """Stage the pair that the user brought."""
        again = "`make start-project` brings"
        try:
            certificate = (self.own / "certificate.pem").read_bytes()
            key = (self.own / "key.pem").read_bytes()
        except FileNotFoundError as error:
            raise Fault(f"{error.filename} is missing: {again} it again") from None
        if pair_id(certificate, key) != self.settings.own:
            raise Fault(f"The files in {self.own} were changed: {again} yours again")
        return self.stage(certificate, key)

    # ---- the gateway ----------------------------------------------------------------------------

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
        was_served = self.gateway.state() == "running" and self.gateway.serves()
        link(self.current, folder.name)
        try:
            return self.take(was_served)
        except Fault as fault:
            if not was_served or before in ("", folder.name) or not (self.tls / before).is_dir():
                raise
            link(self.current, before)
            # Workers that never took the new one need no reload.
            with contextlib.suppress(Fault):
                self.gateway.reload()
            raise Fault(
                "The gateway did not take the new certificate and serves the one before again. "
                f"{fault}"
            ) from None

    def take(self, was_served: bool) -> str:
        """Have the running gateway serve what is in place; return what was done."""
        state, wanted = self.gateway.state(), self.on_disk()
        if state == "restarting" or (state == "running" and not was_served):
            # It cannot serve less than it does. Whether it comes up is for the next steps of a run
            # to see.
            self.gateway.restart()
            verb = "serves" if self.gateway.serves(wanted) else "does not serve"
            return f"restarted: the gateway {verb} the certificate"
        if state != "running" or self.gateway.served() == wanted:
            return ""
        self.gateway.reload()
        if not self.gateway.serves(wanted):
            name = self.settings.gateway_container
            raise Fault(
                f"The gateway {name} goes on serving another certificate: see docker logs {name}"
            )
        self.gateway.handshake(self.wanted_ca)
        return "reloaded: the gateway serves the certificate"

    def is_behind(self) -> bool:
        """Tell whether a running gateway serves anything else than the files hold."""
        runs = self.gateway.state() in ("running", "restarting")
        return runs and self.gateway.served() != self.on_disk()

    # ---- what is asked for ----------------------------------------------------------------------

    def reason(self, *, rotate: bool) -> str:
        """Return why another pair is needed; empty where the one in use is good."""
        if self.settings.own:
            return "" if self.live_id() == self.settings.own else "it is your own"
        return "asked for" if rotate else self.fault()

    def keep(self, *, rotate: bool = False) -> list[str]:
        """Do what is needed; return what was done."""
        if rotate and self.settings.own:
            raise Fault(
                "The certificate is your own: replace the files that certs_own_certificate_path "
                "and certs_own_key_path name, and run make start-project"
            )
        # The timer's run and the one of a person wait for each other.
        with lock.opened(self.secrets / "certificate.lock"):
            self.adopt_older_layout()
            done = [] if self.settings.own else self.provide_ca()
            if why := self.reason(rotate=rotate):
                folder = self.brought() if self.settings.own else self.sign(new_key=rotate)
                taken = self.switch(folder)
                verb = "installed" if self.settings.own else "signed"
                end = openssl.read(self.certificate).end
                done += [f"{verb}: {why}; valid until {end:%b %d %H:%M:%S %Y} GMT", taken]
            self.tidy()
            wanted = self.wanted_ca.read_bytes()
            if not self.client_ca.exists() or self.client_ca.read_bytes() != wanted:
                write(self.client_ca, wanted, 0o644)
                done += [] if why else [f"copied: {self.client_ca} is the CA of the certificate"]
            if not why and self.is_behind():
                done.append(self.take(self.gateway.serves()))
        return [line for line in done if line]

    def rotate(self) -> list[str]:
        """Sign a certificate for a new key; return what was done."""
        return self.keep(rotate=True)

    def check(self) -> list[str]:
        """Return what `keep` would do."""
        self.check_ca()
        if why := self.reason(rotate=False):
            return [f"would {'install' if self.settings.own else 'sign'}: {why}"]
        return ["would reload: the gateway serves another certificate"] if self.is_behind() else []

    def verify(self) -> list[str]:
        """Raise Fault where something is wrong with what clients get now."""
        if wrong := self.problems():
            raise Fault("\n".join(wrong))
        return []

    def problems(self) -> list[str]:
        """Return what is wrong with what clients get now."""
        again = "`make start-project`"
        if not self.certificate.exists() or not self.key.exists():
            return [f"There is no certificate: {again} makes one"]
        if not openssl.matches(self.certificate, self.key):
            why = "Key and certificate are no pair: the gateway cannot start again."
            return [f"{why} {again} repairs it"]
        wrong = []
        left = openssl.read(self.certificate).remaining.days
        if left < 1:
            verb = "has expired" if left < 0 else "expires within a day"
            wrong.append(
                f"The certificate {verb}. {again} renews it; one of your own you have to replace"
            )
        if self.gateway.state() == "running":
            try:
                self.gateway.handshake(self.client_ca)
                if self.is_behind():
                    wrong.append(
                        "The gateway serves another certificate than the files hold. "
                        f"{again} brings it"
                    )
            except Fault as fault:
                wrong.append(f"Clients of the gateway fail, {fault}")
        return wrong
