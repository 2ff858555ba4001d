"""Makes certificates as users bring them, good ones and bad ones.

    python tests/certificates.py FOLDER

writes NAME.pem, NAME.key and NAME-ca.pem for each case of CASES into FOLDER.
"""

import dataclasses
import datetime as dt
import ipaddress
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PASSPHRASE = "an example"
NAME = "emotions.example.org"


@dataclasses.dataclass(frozen=True)
class Signed:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self, passphrase: str = "") -> str:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase.encode())
        form = serialization.PrivateFormat.PKCS8
        return str(self.key.private_bytes(serialization.Encoding.PEM, form, encryption).decode())


def new_key(kind: str = "ec") -> Any:
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    return ec.generate_private_key({"p521": ec.SECP521R1()}.get(kind, ec.SECP256R1()))


def sign(
    name: str,
    by: Signed | None = None,
    *,
    key: Any = None,
    authority: bool = False,
    names: tuple[str, ...] = (),
    days: tuple[int, int] = (-1, 300),
    usage: Any = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Signed:
    """Sign a certificate by a CA or by itself, valid between two days from now."""
    key = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signer = by.key if by else key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if names:
        alternatives: list[x509.GeneralName] = []
        for found in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(found)))
            except ValueError:
                alternatives.append(x509.DNSName(found))
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    if usage and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Signed(builder.sign(signer, digest), key)


def cases() -> dict[str, tuple[str, str, str]]:
    """Return name -> texts of certificate, key and CA."""
    root = sign("Example Root", authority=True)
    issuing = sign("Example Issuing", root, authority=True)
    other_root = sign("Other Root", authority=True)
    full = (NAME, "localhost", "127.0.0.1")
    leaf = sign(NAME, issuing, names=full)
    rsa_leaf = sign(NAME, issuing, names=full, key=new_key("rsa"))
    ed = sign(NAME, issuing, names=full, key=new_key("ed25519"))
    chain = leaf.pem + issuing.pem

    def of(signed: Signed) -> tuple[str, str, str]:
        return signed.pem + issuing.pem, signed.key_pem(), root.pem

    old_root = sign("Old Root", authority=True, days=(-900, -300))
    return {
        # Good ones.
        "good": (chain, leaf.key_pem(), root.pem),
        "rsa": of(rsa_leaf),
        "ed25519": of(ed),
        "another": of(sign(NAME, issuing, names=full)),
        "name-only": of(sign(NAME, issuing, names=(NAME,))),
        "wildcard": of(sign("*.example.org", issuing, names=("*.example.org", "localhost"))),
        "with-root": (chain + root.pem, leaf.key_pem(), root.pem),
        "direct": (chain, leaf.key_pem(), issuing.pem),
        "bundle": (chain, leaf.key_pem(), other_root.pem + old_root.pem + root.pem),
        "crlf": tuple(t.replace("\n", "\r\n") for t in (chain, leaf.key_pem(), root.pem)),  # type: ignore[dict-item]
        "bom": ("\ufeff" + chain, "\ufeff" + leaf.key_pem(), "\ufeff" + root.pem),
        "run-together": (
            leaf.pem.rstrip("\n") + issuing.pem,
            leaf.key_pem().rstrip("\n"),
            root.pem.rstrip("\n"),
        ),
        "no-chain-needed": (leaf.pem, leaf.key_pem(), issuing.pem),
        "soon": of(sign(NAME, issuing, names=full, days=(-300, 5))),
        # Bad ones.
        "other-key": (chain, sign("x").key_pem(), root.pem),
        "other-type": (rsa_leaf.pem + issuing.pem, ed.key_pem(), root.pem),
        "encrypted": (chain, leaf.key_pem(PASSPHRASE), root.pem),
        "no-chain": (leaf.pem, leaf.key_pem(), root.pem),
        "reversed": (issuing.pem + leaf.pem, leaf.key_pem(), root.pem),
        "shuffled": (leaf.pem + root.pem + issuing.pem, leaf.key_pem(), root.pem),
        "other-ca": (chain, leaf.key_pem(), other_root.pem),
        "not-a-ca": (chain, leaf.key_pem(), leaf.pem.replace(leaf.pem, sign("x").pem)),
        "expired": of(sign(NAME, issuing, names=full, days=(-300, -1))),
        "not-yet": of(sign(NAME, issuing, names=full, days=(2, 300))),
        "no-names": of(sign(NAME, issuing)),
        "other-names": of(sign("other.example.org", issuing, names=("other.example.org",))),
        "small-rsa": of(sign(NAME, issuing, names=full, key=new_key("rsa1024"))),
        "odd-curve": of(sign(NAME, issuing, names=full, key=new_key("p521"))),
        "for-clients": of(sign(NAME, issuing, names=full, usage=ExtendedKeyUsageOID.CLIENT_AUTH)),
        "damaged": (leaf.pem[:300] + chain[len(leaf.pem) - 26 :], leaf.key_pem(), root.pem),
        "two-keys": (chain, leaf.key_pem() + sign("x").key_pem(), root.pem),
        "no-pem": ("nothing of the kind\n", leaf.key_pem(), root.pem),
    }


def write(folder: Path, name: str, texts: tuple[str, str, str]) -> tuple[Path, Path, Path]:
    """Write one case; return the paths of certificate, key and CA."""
    paths = (folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}-ca.pem")
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
        path.chmod(0o600)
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for case, content in cases().items():
        write(target, case, content)
