"""Certificates and keys in PEM files, by the openssl command."""

import datetime as dt
import ipaddress
import re
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .engine import Fault, run, succeeds

# Seconds that the command may take.
SECONDS = 60
PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
CONFIG = """\
[req]
prompt = no
distinguished_name = subject
[subject]
commonName = {name}
[of_ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[of_server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {alternatives}
[ours]
database = {books}/index
new_certs_dir = {books}
rand_serial = yes
policy = names
[names]
commonName = supplied
"""


@dataclass(frozen=True)
class Facts:
    """What a certificate says: from when until when it is valid, for which names and addresses."""

    begin: dt.datetime
    end: dt.datetime
    hosts: list[str]
    addresses: set[str]

    @property
    def remaining(self) -> dt.timedelta:
        """Return how long it is valid from now on; negative where it has expired."""
        return self.end - dt.datetime.now(dt.timezone.utc)


def openssl(*words: str | Path) -> str:
    """Return what the command prints; raise Fault with its own message where it fails."""
    return run("openssl", *map(str, words), stdin="", timeout=SECONDS)


def read(certificate: Path) -> Facts:
    """Read a certificate; raise Fault where it cannot be read."""
    words = ("-noout", "-startdate", "-enddate", "-ext", "subjectAltName")
    begin, end, *rest = openssl("x509", "-in", certificate, *words).splitlines()
    names = [name.strip().partition(":")[::2] for line in rest for name in line.split(",")]
    return Facts(
        begin=moment(begin),
        end=moment(end),
        hosts=[value for kind, value in names if kind == "DNS"],
        addresses={str(ipaddress.ip_address(v)) for kind, v in names if kind == "IP Address"},
    )


def moment(line: str) -> dt.datetime:
    """Return the time of a line such as `notAfter=Nov 29 13:20:00 2027 GMT`."""
    found = dt.datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y %Z")
    return found.replace(tzinfo=dt.timezone.utc)


def matches(certificate: Path, key: Path) -> bool:
    """Tell whether both can be read and belong together."""
    try:
        of_certificate = openssl("x509", "-in", certificate, "-noout", "-pubkey")
        # An encrypted key is no use here, and must not ask for its passphrase.
        return of_certificate == openssl("pkey", "-in", key, "-pubout", "-passin", "pass:")
    except Fault:
        return False


def vouches(ca: Path, certificate: Path, *options: str) -> bool:
    """Tell whether a CA signed a certificate, and both are valid now."""
    words = ("openssl", "verify", *options, "-CAfile", str(ca), str(certificate))
    return succeeds(*words, timeout=SECONDS)


def is_named(certificate: Path, name: str) -> bool:
    """Tell whether a certificate can be read and has this name in its subject."""
    try:
        return name in openssl("x509", "-noout", "-subject", "-in", certificate)
    except Fault:
        return False


def chain(text: str) -> list[bytes]:
    """Return the certificates of a PEM text in their order, as DER."""
    return [ssl.PEM_cert_to_DER_cert(found) for found in PEM.findall(text)]


def new_key() -> bytes:
    """Return a new private key in PEM."""
    words = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    return f"{openssl(*words)}\n".encode()


def issue(
    secrets: Path, name: str, key: bytes, days: int, alternatives: Sequence[str] = ()
) -> bytes:
    """Return a certificate in PEM for a name and a private key, valid for so many days.

    The CA of the folder `secrets` signs it for its alternative names ("DNS:…", "IP:…"); without
    any, it is one of a CA and signed by its own key. Valid from an hour ago, for clients whose
    clock is behind. Before OpenSSL 3.4 only `openssl ca` can do that, and it keeps books.
    """
    with tempfile.TemporaryDirectory(dir=secrets) as folder:
        books = Path(folder)
        config, own, request, issued = (books / n for n in ("config", "key", "request", "issued"))
        (books / "index").touch()
        own.write_bytes(key)
        # A common name has at most 64 characters; clients look at the names in the extensions.
        text = CONFIG.format(
            name=name[:64], alternatives=", ".join(alternatives) or "DNS:none", books=books
        )
        config.write_text(text, encoding="utf-8")
        openssl("req", "-new", "-key", own, "-config", config, "-out", request)
        by_ca = ("-cert", secrets / "ca.crt", "-keyfile", secrets / "ca.key")
        start = dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=1)
        openssl(
            *("ca", "-name", "ours", "-config", config, "-batch", "-notext", "-md", "sha256"),
            *("-in", request, "-out", issued),
            *(by_ca if alternatives else ("-selfsign", "-keyfile", own)),
            *("-extensions", "of_server" if alternatives else "of_ca"),
            *("-startdate", start.strftime("%Y%m%d%H%M%SZ"), "-days", str(days)),
        )
        return issued.read_bytes()
