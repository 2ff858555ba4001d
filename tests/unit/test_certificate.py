"""The command that keeps the gateway's certificate, beside a gateway that really shakes hands."""

import dataclasses
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import certificates
from machine import gateway, openssl
from machine.certificate import Certificate, link, pair_id
from machine.engine import Fault
from machine.settings import CertificateSettings
from plugins.lookup import own_certificate
from unit.fake_machine import Machine

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None,
    reason="the command on the machine calls openssl. Debian: apt-get install openssl",
)


class Server:
    """Serves the pair in a folder by TLS until it is closed."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.folder, self.listener = folder, listener
        self.reload()
        listener.settimeout(0.02)
        self.open = True
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def reload(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        self.context = context

    def serve(self) -> None:
        while self.open:
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            client.settimeout(5)
            try:
                with self.context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(1)
            except OSError:
                client.close()

    def close(self) -> None:
        self.open = False
        self.thread.join(10)
        self.listener.close()


class FakeGateway(gateway.Gateway):
    """In place of the engine: a thread that serves `current`, and reloads when it is told to."""

    def __init__(self, settings: CertificateSettings, port: int) -> None:
        super().__init__(settings)
        self.server: Server | None = None
        self.port = port
        self.states = "exited"
        self.reloads = self.restarts = 0
        # What goes wrong in the live gateway only.
        self.deaf = False

    def state(self) -> str:
        return self.states

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.server = Server(self.settings.tls_dir / "current", listener)
        self.states = "running"

    def stop(self) -> None:
        if self.server:
            self.server.close()
        self.server, self.states = None, "exited"

    def reload(self) -> None:
        self.reloads += 1
        if self.deaf:
            return
        assert self.server
        try:
            self.server.reload()
        except OSError as error:
            raise Fault(f"nginx: {error}") from None

    def restart(self) -> None:
        self.restarts += 1
        self.stop()
        self.start()

    def try_out(self, folder: Path, ca: Path) -> None:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "socket"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen()
            try:
                server = Server(folder, listener)
            except OSError as error:
                listener.close()
                raise Fault(f"nginx: {error}") from None
            try:
                self.handshake(ca, path)
            finally:
                server.close()


class Stack:
    """The folders of a stack, and the command for them."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        for name in ("tls", "secrets"):
            (folder / name).mkdir()
        self.settings = CertificateSettings(
            stack="app",
            ca_path=folder / "ca.crt",
            tls_dir=folder / "tls",
            secrets_dir=folder / "secrets",
            group=os.getgid(),
            hostnames=["localhost"],
            addresses=["127.0.0.1", "::1"],
            valid_days=365,
            ca_valid_days=3650,
            renew_days=30,
            own="",
            gateway_container="app-nginx-1",
            gateway_address="127.0.0.1",
        )
        self.gateway = FakeGateway(self.settings, port)

    def command(self, renew_days: int = 30) -> Certificate:
        made = Certificate(dataclasses.replace(self.settings, renew_days=renew_days))
        self.gateway.settings = self.settings
        made.gateway = self.gateway
        return made

    def keep(self, renew_days: int = 30, *, rotate: bool = False) -> list[str]:
        return self.command(renew_days).keep(rotate=rotate)

    def say(self, **changes: object) -> None:
        self.settings = dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]

    def bring(self, texts: tuple[str, str, str]) -> None:
        """Do what the role does with a certificate that the preflight let through."""
        paths = certificates.write(self.folder, "brought", texts)
        found = own_certificate.look([str(p) for p in paths], "", [])
        self.bring_unchecked(found["certificate"], found["key"], found["ca"])

    def bring_unchecked(self, certificate: str, key: str, ca: str) -> None:
        own = self.folder / "secrets/own"
        own.mkdir(exist_ok=True)
        for name, text in (("certificate", certificate), ("key", key), ("ca", ca)):
            (own / f"{name}.pem").write_text(text)
        pair = pair_id(certificate.encode(), key.encode())
        self.say(own=pair, hostnames=[certificates.NAME])

    def bring_none(self) -> None:
        self.say(own="", hostnames=["localhost"])

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def served(self) -> list[bytes]:
        return self.gateway.served()

    def on_disk(self) -> list[bytes]:
        return openssl.chain(self.read("tls/server.crt").decode())

    def in_order(self) -> None:
        """Nothing is to be done, nothing is wrong, and clients get what the files hold."""
        assert self.keep() == []
        assert self.command().check() == []
        assert self.command().problems() == []
        if self.gateway.server:
            assert self.served() == self.on_disk()


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(gateway, "PORT", port)
    monkeypatch.setattr(gateway, "TAKEN_SECONDS", 1)
    monkeypatch.setattr(gateway, "HANDSHAKE_SECONDS", 2)
    # Files need not be root's.
    monkeypatch.setattr(os, "chown", lambda *_: None)
    new = Stack(tmp_path, port)
    yield new
    new.gateway.stop()


@pytest.fixture
def running(stack: Stack) -> Stack:
    """The stack with a certificate of its own CA, and a gateway that serves it."""
    assert [line.partition(":")[0] for line in stack.keep()] == ["made", "signed"]
    stack.gateway.start()
    stack.in_order()
    return stack


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[str, str, str]]:
    return certificates.cases()


# ---- the stack's own CA -------------------------------------------------------------------------


def test_it_says_what_a_strict_client_wants(running: Stack) -> None:
    words = "openssl x509 -in tls/server.crt -noout -text -nameopt RFC2253".split()
    text = subprocess.run(
        words, cwd=running.folder, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    for line in (
        "Subject: CN=localhost",
        "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
        "CA:FALSE",
        "TLS Web Server Authentication",
        "X509v3 Authority Key Identifier",
    ):
        assert line in text
    strict = (
        "openssl verify -x509_strict -purpose sslserver -verify_hostname localhost"
        " -CAfile ca.crt tls/server.crt"
    )
    subprocess.run(strict.split(), cwd=running.folder, check=True, capture_output=True, timeout=60)


def test_secrets_are_for_root_and_the_pair_for_the_gateways_group(running: Stack) -> None:
    def mode(name: str) -> int:
        return (running.folder / name).stat().st_mode & 0o777

    assert (mode("secrets/ca.key"), mode("secrets/ca.crt")) == (0o600, 0o600)
    assert mode("ca.crt") == 0o644
    assert (mode("tls/server.key"), mode("tls/current")) == (0o640, 0o750)


def test_one_that_ends_soon_is_replaced_and_its_key_stays(running: Stack) -> None:
    key, before = running.read("tls/server.key"), running.read("tls/server.crt")
    assert running.command(400).check() == ["would sign: fewer than 400 days remain"]
    assert running.read("tls/server.crt") == before
    signed, taken = running.keep(400)
    assert signed.startswith("signed: fewer than 400 days remain; valid until ")
    assert taken == "reloaded: the gateway serves the certificate"
    assert running.read("tls/server.crt") != before
    assert running.read("tls/server.key") == key
    running.in_order()


def test_rotation_replaces_key_and_certificate(running: Stack) -> None:
    key, ca = running.read("tls/server.key"), running.read("ca.crt")
    assert running.keep(rotate=True)[0].startswith("signed: asked for")
    assert running.read("tls/server.key") != key
    assert running.read("ca.crt") == ca
    running.in_order()


def test_other_names_are_signed_and_an_address_that_goes_is_not(running: Stack) -> None:
    running.say(addresses=["127.0.0.1"])
    running.in_order()
    for change in (
        {"addresses": ["127.0.0.1", "192.0.2.7"]},
        {"hostnames": ["localhost", "emotions.example.org"]},
        {"hostnames": ["localhost"]},
        {"valid_days": 100},
    ):
        running.say(**change)
        assert running.keep()[0].startswith("signed: names or lifetime changed")
        running.in_order()


@pytest.mark.parametrize("name", ["server.key", "server.crt"])
@pytest.mark.parametrize("damage", ["nothing", None])
def test_a_damaged_or_missing_file_is_made_good(
    running: Stack, name: str, damage: str | None
) -> None:
    path = (running.folder / "tls" / name).resolve()
    path.unlink()
    if damage is not None:
        path.write_text(damage)
    assert running.command().problems() != []
    assert running.keep()[0].startswith("signed: key and certificate are not a pair")
    running.in_order()


def test_links_that_are_gone_come_back(running: Stack) -> None:
    before = running.served()
    for name in ("server.crt", "server.key"):
        (running.folder / "tls" / name).unlink()
    running.keep()
    running.in_order()
    assert running.served() == before
    (running.folder / "tls/current").unlink()
    running.keep()
    running.in_order()


def test_a_pair_of_the_older_layout_is_taken_over(running: Stack) -> None:
    tls = running.folder / "tls"
    pair = [(tls / name).read_bytes() for name in ("server.crt", "server.key")]
    for path in tls.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (tls / "server.crt").write_bytes(pair[0])
    (tls / "server.key").write_bytes(pair[1])
    (running.folder / "secrets/ca.crt").unlink()
    authority = running.read("ca.crt")
    (made,) = running.keep()
    assert made.startswith("made: ")
    running.in_order()
    assert [(tls / name).read_bytes() for name in ("server.crt", "server.key")] == pair
    assert running.read("ca.crt") == running.read("secrets/ca.crt") == authority


def test_a_lost_key_of_the_ca_is_refused_with_two_ways_out(running: Stack) -> None:
    before = running.read("ca.crt"), running.served()
    (running.folder / "secrets/ca.key").rename(running.folder / "kept")
    for attempt in (running.keep, running.command().check):
        with pytest.raises(Fault, match=r"is missing\. Restore .* from a backup; or remove .*"):
            attempt()
    assert (running.read("ca.crt"), running.served()) == before
    # The one way.
    (running.folder / "kept").rename(running.folder / "secrets/ca.key")
    running.in_order()
    # The other.
    (running.folder / "secrets/ca.key").unlink()
    (running.folder / "secrets/ca.crt").unlink()
    with pytest.raises(Fault, match=r"its key .* is missing"):
        running.keep()
    (running.folder / "ca.crt").unlink()
    assert running.keep()[1].startswith("signed: the CA does not vouch")
    running.in_order()
    assert running.read("ca.crt") != before[0]


def test_a_key_of_another_ca_is_refused(running: Stack) -> None:
    key = certificates.new_key()
    (running.folder / "secrets/ca.key").write_text(certificates.sign("x", key=key).key_pem())
    with pytest.raises(Fault, match="is not the key of the CA"):
        running.keep()


def test_a_ca_that_has_expired_is_refused(running: Stack) -> None:
    old = certificates.sign("app private CA", authority=True, days=(-20, -10))
    (running.folder / "secrets/ca.key").write_text(old.key_pem())
    (running.folder / "secrets/ca.crt").write_text(old.pem)
    with pytest.raises(Fault, match=r"has expired\. Remove it: .* for the same key"):
        running.keep()
    for name in ("secrets/ca.crt", "ca.crt"):
        (running.folder / name).unlink()
    running.keep()
    running.in_order()
    assert running.read("secrets/ca.key").decode() == old.key_pem()


# ---- what the user brings -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["good", "ed25519", "crlf"])
def test_there_and_back_twice(
    running: Stack, made: dict[str, tuple[str, str, str]], name: str
) -> None:
    authority = running.read("ca.crt")
    keys = set()
    for _ in range(2):
        running.bring(made[name])
        installed, taken = running.keep()
        assert installed.startswith("installed: it is your own; valid until ")
        assert taken.startswith("reloaded")
        running.in_order()
        assert running.read("ca.crt") == running.read("secrets/own/ca.pem") != authority
        own_key = running.read("tls/server.key")
        running.bring_none()
        assert running.keep()[0].startswith("signed: ")
        running.in_order()
        assert running.read("ca.crt") == authority
        # The user's key does not stay in use, nor on the disk.
        assert running.read("tls/server.key") != own_key
        assert own_key not in [p.read_bytes() for p in (running.folder / "tls").rglob("*.key")]
        keys.add(running.read("tls/server.key"))
    assert running.gateway.restarts == 0


def test_another_of_your_own_replaces_the_first(
    running: Stack, made: dict[str, tuple[str, str, str]]
) -> None:
    for name in ("good", "another"):
        running.bring(made[name])
        assert running.keep()[0].startswith("installed")
        running.in_order()


def test_a_chain_that_was_completed_is_taken_over(running: Stack) -> None:
    root = certificates.sign("Root", authority=True)
    issuing = certificates.sign("Issuing", root, authority=True)
    leaf = certificates.sign(certificates.NAME, issuing, names=(certificates.NAME,))
    running.bring_unchecked(leaf.pem, leaf.key_pem(), issuing.pem)
    running.keep()
    assert len(running.served()) == 1
    running.bring_unchecked(leaf.pem + issuing.pem, leaf.key_pem(), root.pem)
    assert running.keep()[0].startswith("installed")
    assert len(running.served()) == 2
    running.in_order()


@pytest.mark.parametrize("name", ["other-key", "other-type", "no-chain", "reversed", "encrypted"])
def test_what_fails_never_becomes_the_live_one(
    running: Stack, made: dict[str, tuple[str, str, str]], name: str
) -> None:
    before = running.served(), running.read("tls/server.key"), running.read("ca.crt")
    running.bring_unchecked(*made[name])
    with pytest.raises(Fault, match="does not work, the gateway goes on with the one before"):
        running.keep()
    assert (running.served(), running.read("tls/server.key"), running.read("ca.crt")) == before
    assert running.gateway.reloads == 0
    # A plain run afterwards ends it.
    running.bring_none()
    running.in_order()


def test_what_the_live_gateway_does_not_take_is_rolled_back(
    running: Stack, made: dict[str, tuple[str, str, str]]
) -> None:
    before = running.served(), running.read("tls/server.key"), running.read("ca.crt")
    running.gateway.deaf = True
    running.bring(made["good"])
    with pytest.raises(Fault, match="serves the one before again"):
        running.keep()
    assert (running.served(), running.read("tls/server.key"), running.read("ca.crt")) == before


def test_your_own_is_never_signed_over_nor_rotated(
    running: Stack, made: dict[str, tuple[str, str, str]]
) -> None:
    running.bring(made["soon"])
    running.keep()
    running.in_order()
    with pytest.raises(Fault, match="certs_own_certificate_path"):
        running.keep(rotate=True)


def test_the_wrong_key_of_the_same_certificate_is_found(
    running: Stack, made: dict[str, tuple[str, str, str]]
) -> None:
    running.bring(made["good"])
    running.keep()
    (running.folder / "tls/server.key").resolve().write_text(certificates.sign("x").key_pem())
    (wrong,) = running.command().problems()
    assert "are no pair" in wrong
    running.keep()
    running.in_order()


def test_files_of_yours_that_were_changed_on_the_machine_are_refused(
    running: Stack, made: dict[str, tuple[str, str, str]]
) -> None:
    running.bring(made["good"])
    running.keep()
    running.say(own="0" * 12)
    with pytest.raises(Fault, match="`make start-project` brings yours again"):
        running.keep()
    (running.folder / "secrets/own/key.pem").unlink()
    with pytest.raises(Fault, match=r"key\.pem is missing"):
        running.keep()


# ---- the gateway --------------------------------------------------------------------------------


def test_a_gateway_that_missed_its_reload_is_reloaded(running: Stack) -> None:
    running.gateway.deaf = True
    with pytest.raises(Fault):
        running.keep(rotate=True)
    running.gateway.deaf = False
    running.in_order()
    # By another hand.
    stack = running.command()
    folder = stack.sign(new_key=True)
    link(stack.current, folder.name)
    assert running.command().check() == ["would reload: the gateway serves another certificate"]
    (wrong,) = running.command().problems()
    assert "serves another certificate" in wrong
    assert running.keep() == ["reloaded: the gateway serves the certificate"]
    running.in_order()


def test_a_gateway_in_a_restart_loop_gets_a_good_pair_and_starts(running: Stack) -> None:
    running.gateway.stop()
    running.gateway.states = "restarting"
    (running.folder / "tls/server.key").resolve().write_text("nothing")
    signed, restarted = running.keep()
    assert signed.startswith("signed: key and certificate are not a pair")
    assert restarted == "restarted: the gateway serves the certificate"
    running.in_order()


def test_a_gateway_that_stands_still_is_left_alone(running: Stack) -> None:
    running.gateway.stop()
    assert running.keep(rotate=True)[1:] == []
    running.in_order()
    assert running.gateway.restarts == 0


# ---- the command line ---------------------------------------------------------------------------


def test_an_unknown_option_is_refused_and_nothing_is_signed(stack: Stack, machine: Machine) -> None:
    path = machine.folder / "etc/certificate.json"
    path.write_text(json.dumps(dataclasses.asdict(stack.settings), default=str))
    assert machine("certificate", "--rotat")[0] == 2
    assert list((stack.folder / "tls").iterdir()) == []
    assert machine("certificate", "--check-ca") == (0, "")
    code, output = machine("certificate", "--verify")
    assert (code, "There is no certificate" in output) == (1, True)
    assert machine("certificate", "--check")[1].startswith("would sign: there is none yet")
    assert "signed: " in machine("certificate")[1]
    assert machine("certificate", "--check", "--renew-days", "400")[1].startswith("would sign: few")
    (stack.folder / "tls/server.key").resolve().write_text("nothing")
    machine.patch.setattr(os, "geteuid", lambda: 0)
    state = json.loads(machine("status", "--json")[1])
    assert state["certificate_days_left"] == 364
    assert state["certificate_fault"].startswith("Key and certificate are no pair")
    (stack.folder / "secrets/ca.key").unlink()
    for option in ("--check-ca", "--check"):
        assert "is missing" in machine("certificate", option)[1]
