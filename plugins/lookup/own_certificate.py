"""Reads a certificate that the user brings, and reports everything that would fail with it."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

DOCUMENTATION = """
name: own_certificate
short_description: Read a certificate, its key and its CA, and report what would fail with them
description:
  - Everything is looked at on the controller, before anything on the machine changes.
  - Byte order marks, Windows' line ends and missing line ends between two blocks are normalised.
options:
  _terms:
    description: Paths of certificate (with its intermediates), key and CA, each PEM.
    required: true
  passphrase:
    description: Of an encrypted key.
    type: str
    default: ""
  hostnames:
    description: Names that the certificate has to cover.
    type: list
    elements: str
    default: []
"""
RETURN = """
_raw:
  description:
    - One dictionary with V(certificate), V(key) and V(ca) (normalised PEM, the key unencrypted),
      V(id) (of the pair), V(problems) and V(warnings) (sentences).
  type: list
"""

BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.+?)-----END \1-----", re.DOTALL)
# Days before its end from which a certificate is warned of.
SOON_DAYS = 21
# Bits of an RSA key below which TLS libraries refuse it.
RSA_BITS = 2048
NAMES = ("certs_own_certificate_path", "certs_own_key_path", "certs_own_ca_path")


class Problem(Exception):
    """A sentence that says what is wrong with a file and what to do."""


def read(variable: str, path: str) -> str:
    """Return the text of a PEM file."""
    file = Path(path).expanduser()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Problem(
            f"{variable}: {file.absolute()} cannot be read on the controller ({error.strerror})"
        ) from None
    # Line ends and a byte order mark go when the blocks are written anew. UTF-16 is what editors
    # of Windows may save.
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = content.decode(encoding, errors="replace")
    if not BLOCK.search(text):
        binary = content[:1] == b"\x30"
        raise Problem(
            f"{variable}: {file} holds no PEM (a block that begins with -----BEGIN)"
            + (
                "; it is binary: convert it with `openssl x509 -inform DER`, `openssl pkey -inform "
                "DER` or `openssl pkcs12`"
                if binary
                else ""
            )
        )
    return text


def certificates(variable: str, text: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM text, in their order."""
    found = []
    for match in BLOCK.finditer(text):
        if match[1] in ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"):
            try:
                # Each block by itself: whatever stands between two blocks is of no account.
                block = f"-----BEGIN CERTIFICATE-----{match[2]}-----END CERTIFICATE-----\n"
                found.append(x509.load_pem_x509_certificate(block.encode()))
            except (ValueError, TypeError) as error:
                raise Problem(
                    f"{variable}: certificate {len(found) + 1} of the file is damaged ({error})"
                ) from None
    if not found:
        raise Problem(f"{variable}: the file holds no certificate")
    return found


def private_key(text: str, passphrase: str) -> Any:
    """Return the private key of a PEM text."""
    variable = NAMES[1]
    blocks = [match for match in BLOCK.finditer(text) if match[1].endswith("PRIVATE KEY")]
    if len(blocks) != 1:
        raise Problem(f"{variable}: the file holds {len(blocks)} private keys, it has to hold one")
    pem = (blocks[0][0] + "\n").encode()
    encrypted = "ENCRYPTED" in blocks[0][1] or "Proc-Type: 4,ENCRYPTED" in blocks[0][2]
    if encrypted and not passphrase:
        raise Problem(
            f"{variable}: the key is encrypted; give its passphrase by certs_own_key_passphrase, "
            "or decrypt it with "
            "`openssl pkey -in KEY -out NEW`"
        )
    try:
        return serialization.load_pem_private_key(
            pem, passphrase.encode() if encrypted else None, unsafe_skip_rsa_key_validation=False
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = (
            "certs_own_key_passphrase does not decrypt the key"
            if encrypted
            else f"the key is damaged ({error})"
        )
        raise Problem(f"{variable}: {why}") from None


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM with a line end."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def public(key: Any) -> bytes:
    """Return a public key in a form that compares."""
    return bytes(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def title(certificate: x509.Certificate) -> str:
    """Return what people call a certificate."""
    return f"'{certificate.subject.rfc4514_string() or 'without a subject'}'"


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer` signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    """Return the value of an extension, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def may_sign(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is one of a CA. Those of version 1 say nothing of it."""
    constraints = extension(certificate, x509.BasicConstraints)
    return certificate.version == x509.Version.v1 if constraints is None else bool(constraints.ca)


def covers(pattern: str, name: str) -> bool:
    """Tell whether a name of a certificate covers a host name; a wildcard stands for one label."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern == name:
        return True
    return (
        pattern.startswith("*.")
        and "." in name
        and pattern[2:] == name.partition(".")[2]
        and name[0] != "*"
    )


def leaf_problems(leaf: x509.Certificate, key: Any) -> list[str]:
    """Return what keeps clients from accepting the gateway's own certificate with this key."""
    variable, problems = NAMES[0], []
    if public(leaf.public_key()) != public(key.public_key()):
        kind = {rsa.RSAPrivateKey: "RSA", ec.EllipticCurvePrivateKey: "EC"}
        of_key = next((name for type_, name in kind.items() if isinstance(key, type_)), "Ed25519")
        of_leaf = {rsa.RSAPublicKey: "RSA", ec.EllipticCurvePublicKey: "EC"}
        of_certificate = next(
            (n for t, n in of_leaf.items() if isinstance(leaf.public_key(), t)), "Ed25519"
        )
        problems.append(
            f"{NAMES[1]}: the key ({of_key}) does not belong to the first certificate in "
            f"{variable} "
            f"({title(leaf)}, {of_certificate}); name the key that it was issued for"
        )
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS:
        problems.append(
            f"{NAMES[1]}: an RSA key of {key.key_size} bits is refused by clients; {RSA_BITS} is "
            "the least"
        )
    if not isinstance(
        key,
        rsa.RSAPrivateKey
        | ec.EllipticCurvePrivateKey
        | ed25519.Ed25519PrivateKey
        | ed448.Ed448PrivateKey,
    ):
        problems.append(
            f"{NAMES[1]}: TLS has no use for a key of this type; RSA, EC and Ed25519 are known"
        )
    elif isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in (
        "secp256r1",
        "secp384r1",
    ):
        problems.append(
            f"{NAMES[1]}: the gateway does not offer the curve {key.curve.name}; use secp256r1 or "
            "secp384r1"
        )
    usage = extension(leaf, x509.ExtendedKeyUsage)
    if usage is not None and not {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    } & set(usage):
        problems.append(
            f"{variable}: {title(leaf)} is not made for servers (extended key usage without "
            "serverAuth)"
        )
    usage = extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        problems.append(
            f"{variable}: {title(leaf)} may not sign (key usage without digitalSignature), which "
            "TLS needs"
        )
    return problems


def chain_problems(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> list[str]:
    """Return what keeps a client that trusts `authorities` from following the chain."""
    for above, (below, issuer) in enumerate(itertools.pairwise(chain), start=2):
        if not signed_by(below, issuer):
            return [
                f"{NAMES[0]}: certificate {above} of the file ({title(issuer)}) did not sign the "
                "one before it "
                f"({title(below)}). The order is: your certificate, then the CA that signed it, "
                "then the one that signed that"
            ]
        if not may_sign(issuer):
            return [f"{NAMES[0]}: {title(issuer)} in the chain is not the certificate of a CA"]
    last, trusted = (
        chain[-1],
        {a.fingerprint(a.signature_hash_algorithm or hashes.SHA256()) for a in authorities},
    )
    if last.fingerprint(last.signature_hash_algorithm or hashes.SHA256()) in trusted:
        return []
    above_it = [authority for authority in authorities if signed_by(last, authority)]
    if not above_it:
        return [
            f"{NAMES[2]}: no CA in the file signed {title(last)}, the last certificate in "
            f"{NAMES[0]}; its issuer is "
            f"'{last.issuer.rfc4514_string()}'. Add the missing certificates to the chain, or name "
            "that CA"
        ]
    if not any(may_sign(authority) for authority in above_it):
        return [f"{NAMES[2]}: {title(above_it[0])} is not the certificate of a CA"]
    return []


def time_problems(
    chain: Iterable[x509.Certificate], now: dt.datetime
) -> tuple[list[str], list[str]]:
    """Return what is expired or not valid yet, and what soon will be."""
    problems, warnings = [], []
    for certificate in chain:
        end = certificate.not_valid_after_utc
        if end <= now:
            problems.append(f"{title(certificate)} expired on {end:%Y-%m-%d}; bring a new one")
        elif certificate.not_valid_before_utc > now:
            problems.append(
                f"{title(certificate)} is not valid before "
                f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; "
                "look at the controller's clock"
            )
        elif (end - now).days < SOON_DAYS:
            warnings.append(
                f"{title(certificate)} expires on {end:%Y-%m-%d}, in {(end - now).days} days"
            )
    return problems, warnings


def name_problems(leaf: x509.Certificate, hostnames: Iterable[str]) -> list[str]:
    """Return which of the stack's names the certificate does not cover."""
    alternatives = extension(leaf, x509.SubjectAlternativeName)
    names = alternatives.get_values_for_type(x509.DNSName) if alternatives else []
    missing = [name for name in hostnames if not any(covers(pattern, name) for pattern in names)]
    if not missing:
        return []
    sentence = (
        f"{NAMES[0]}: the certificate does not cover {', '.join(missing)} of stack_hostnames."
    )
    if not names:
        return [f"{sentence} It names no host: bring one with subject alternative names"]
    return [
        f"{sentence} It covers {', '.join(names)}: let stack_hostnames hold only names that it "
        f'covers, for example -e \'{{"stack_hostnames": ["{names[0]}"]}}\''
    ]


def look(
    paths: list[str], passphrase: str, hostnames: list[str], now: dt.datetime
) -> dict[str, Any]:
    """Return the normalised files with everything that is wrong with them.

    Args:
        paths: of certificate, key and CA; all empty where the user brings none.
        passphrase: of an encrypted key.
        hostnames: names that clients use.
        now: the time to hold the certificates against.
    """
    result: dict[str, Any] = {
        "certificate": "",
        "key": "",
        "ca": "",
        "id": "",
        "problems": [],
        "warnings": [],
    }
    if not any(paths):
        return result
    problems: list[str] = result["problems"]
    if not all(paths):
        empty = ", ".join(name for name, path in zip(NAMES, paths, strict=True) if not path)
        problems.append(
            f"{empty}: empty, but {', '.join(NAMES)} have to name three files on the controller, "
            "or all be empty"
        )
        return result
    read_files: dict[str, Any] = {}
    for variable, path, parse in (
        (NAMES[0], paths[0], lambda text: certificates(NAMES[0], text)),
        (NAMES[1], paths[1], lambda text: private_key(text, passphrase)),
        (NAMES[2], paths[2], lambda text: certificates(NAMES[2], text)),
    ):
        try:
            read_files[variable] = parse(read(variable, path))
        except Problem as problem:
            problems.append(str(problem))
    if problems:
        return result
    chain, key, authorities = (read_files[name] for name in NAMES)
    problems += leaf_problems(chain[0], key)
    problems += chain_problems(chain, authorities)
    of_time, result["warnings"] = time_problems({c: None for c in chain + authorities}, now)
    # A bundle may hold a CA that has ended, beside the one that counts.
    ended = [
        sentence
        for sentence in of_time
        if len(authorities) == 1 or not any(title(a) in sentence for a in authorities)
    ]
    problems += [f"{NAMES[0]}: {sentence}" for sentence in ended]
    problems += name_problems(chain[0], hostnames)
    result["certificate"] = "".join(map(pem, chain))
    result["ca"] = "".join(map(pem, authorities))
    result["key"] = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    both = result["certificate"].encode() + b"\0" + result["key"].encode()
    result["id"] = hashlib.sha256(both).hexdigest()[:12]
    return result


def utc_now() -> dt.datetime:
    """Return the time of the controller."""
    return dt.datetime.now(dt.UTC)


class LookupModule(LookupBase):
    """`lookup('own_certificate', certificate, key, ca, passphrase=…, hostnames=…)`."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one dictionary; see RETURN."""
        self.set_options(var_options=variables, direct=kwargs)
        paths = [str(term or "") for term in terms]
        return [
            look(
                paths,
                str(self.get_option("passphrase") or ""),
                list(self.get_option("hostnames")),
                utc_now(),
            )
        ]
