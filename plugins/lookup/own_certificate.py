"""Reads a certificate that the user brings, and reports everything that would fail with it."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
from pathlib import Path
from typing import Any

from ansible.plugins.loader import filter_loader
from ansible.plugins.lookup import LookupBase
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
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
NAMES = CERTIFICATE, KEY, CA = [f"certs_own_{file}_path" for file in ("certificate", "key", "ca")]
# Public keys that TLS has a use for, and what people call them.
KINDS = {
    rsa.RSAPublicKey: "RSA",
    ec.EllipticCurvePublicKey: "EC",
    ed25519.Ed25519PublicKey: "Ed25519",
    ed448.Ed448PublicKey: "Ed448",
}
CURVES = ("secp256r1", "secp384r1")


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
        why = f"{variable}: {file} holds no PEM (a block that begins with -----BEGIN)"
        if content[:1] == b"\x30":
            why += "; it is binary: convert it with `openssl x509 -inform DER`, `openssl pkey "
            why += "-inform DER` or `openssl pkcs12`"
        raise Problem(why)
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
    blocks = [match for match in BLOCK.finditer(text) if match[1].endswith("PRIVATE KEY")]
    if len(blocks) != 1:
        raise Problem(f"{KEY}: the file holds {len(blocks)} private keys, it has to hold one")
    (block,) = blocks
    encrypted = "ENCRYPTED" in block[1] or "Proc-Type: 4,ENCRYPTED" in block[2]
    if encrypted and not passphrase:
        raise Problem(
            f"{KEY}: the key is encrypted; give its passphrase by certs_own_key_passphrase, or "
            "decrypt it with `openssl pkey -in KEY -out NEW`"
        )
    try:
        return serialization.load_pem_private_key(
            f"{block[0]}\n".encode(), passphrase.encode() if encrypted else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "certs_own_key_passphrase does not decrypt the key" if encrypted else ""
        raise Problem(f"{KEY}: {why or f'the key is damaged ({error})'}") from None


def pem(found: list[x509.Certificate]) -> str:
    """Return certificates as PEM, each with a line end."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found)


def kind(public_key: Any) -> str:
    """Return what people call a key's type."""
    return next((n for t, n in KINDS.items() if isinstance(public_key, t)), "of another type")


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


def extension(certificate: x509.Certificate, of_class: type[Any]) -> Any:
    """Return the value of an extension, or None."""
    try:
        return certificate.extensions.get_extension_for_class(of_class).value
    except x509.ExtensionNotFound:
        return None


def may_sign(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is one of a CA. Those of version 1 say nothing of it."""
    constraints = extension(certificate, x509.BasicConstraints)
    return certificate.version == x509.Version.v1 if constraints is None else bool(constraints.ca)


def key_problems(leaf: x509.Certificate, key: Any) -> list[str]:
    """Return what keeps the gateway and its clients from using this key with its certificate."""
    public, problems = key.public_key(), []
    if leaf.public_key() != public:
        problems.append(
            f"the key ({kind(public)}) does not belong to the first certificate in {CERTIFICATE} "
            f"({title(leaf)}, {kind(leaf.public_key())}); name the key that it was issued for"
        )
    if not isinstance(public, tuple(KINDS)):
        problems.append("TLS has no use for a key of this type; RSA, EC and Ed25519 are known")
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < RSA_BITS:
        problems.append(
            f"an RSA key of {public.key_size} bits is refused by clients; {RSA_BITS} is the least"
        )
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name not in CURVES:
        problems.append(
            f"the gateway does not offer the curve {public.curve.name}; use {' or '.join(CURVES)}"
        )
    return [f"{KEY}: {problem}" for problem in problems]


def usage_problems(leaf: x509.Certificate) -> list[str]:
    """Return for what the gateway's certificate may not be used, and has to be."""
    problems = []
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    servers = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if purposes is not None and servers.isdisjoint(purposes):
        problems.append("is not made for servers (extended key usage without serverAuth)")
    usage = extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        problems.append("may not sign (key usage without digitalSignature), which TLS needs")
    return [f"{CERTIFICATE}: {title(leaf)} {problem}" for problem in problems]


def chain_problems(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> list[str]:
    """Return what keeps a client that trusts `authorities` from following the chain."""
    for above, (below, issuer) in enumerate(itertools.pairwise(chain), start=2):
        if not signed_by(below, issuer):
            return [
                f"{CERTIFICATE}: certificate {above} of the file ({title(issuer)}) did not sign "
                f"the one before it ({title(below)}). The order is: your certificate, then the CA "
                "that signed it, then the one that signed that"
            ]
        if not may_sign(issuer):
            return [f"{CERTIFICATE}: {title(issuer)} in the chain is not the certificate of a CA"]
    last = chain[-1]
    if last in authorities:
        return []
    above_it = [authority for authority in authorities if signed_by(last, authority)]
    if not above_it:
        return [
            f"{CA}: no CA in the file signed {title(last)}, the last certificate in {CERTIFICATE}; "
            f"its issuer is '{last.issuer.rfc4514_string()}'. Add the missing certificates to the "
            "chain, or name that CA"
        ]
    if not any(map(may_sign, above_it)):
        return [f"{CA}: {title(above_it[0])} is not the certificate of a CA"]
    return []


def time_problem(certificate: x509.Certificate, now: dt.datetime) -> str:
    """Return why a certificate is not valid now; empty if it is."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= now:
        return f"{title(certificate)} expired on {end:%Y-%m-%d}; bring a new one"
    if begin > now:
        when = f"{begin:%Y-%m-%d %H:%M} UTC"
        return f"{title(certificate)} is not valid before {when}; look at the controller's clock"
    return ""


def time_warnings(certificates: list[x509.Certificate], now: dt.datetime) -> list[str]:
    """Return which certificates are valid and will soon expire."""
    return [
        f"{title(c)} expires on {c.not_valid_after_utc:%Y-%m-%d}, in {left} days"
        for c in certificates
        if not time_problem(c, now) and (left := (c.not_valid_after_utc - now).days) < SOON_DAYS
    ]


def name_problems(leaf: x509.Certificate, hostnames: list[str]) -> list[str]:
    """Return which of the stack's names the certificate does not cover."""
    alternatives = extension(leaf, x509.SubjectAlternativeName)
    names = alternatives.get_values_for_type(x509.DNSName) if alternatives else []
    missing = filter_loader.get("not_covered").j2_function(hostnames, names)
    if not missing:
        return []
    lacks = ", ".join(missing)
    sentence = f"{CERTIFICATE}: the certificate does not cover {lacks} of stack_hostnames."
    if not names:
        return [f"{sentence} It names no host: bring one with subject alternative names"]
    return [
        f"{sentence} It covers {', '.join(names)}: let stack_hostnames hold only names that it "
        f'covers, for example -e \'{{"stack_hostnames": ["{names[0]}"]}}\''
    ]


def look(
    paths: list[str], passphrase: str, hostnames: list[str], now: dt.datetime | None = None
) -> dict[str, Any]:
    """Return the normalised files with everything that is wrong with them; see RETURN.

    `paths` are of certificate, key and CA, all empty where the user brings none.
    """
    now = now or dt.datetime.now(dt.UTC)
    problems: list[str] = []
    result: dict[str, Any] = {"problems": problems, "warnings": []}
    result |= dict.fromkeys(("certificate", "key", "ca", "id"), "")
    if not any(paths):
        return result
    if not all(paths):
        empty = ", ".join(name for name, path in zip(NAMES, paths, strict=True) if not path)
        problems.append(
            f"{empty}: empty, but {', '.join(NAMES)} have to name three files on the controller, "
            "or all be empty"
        )
        return result
    found: list[Any] = []
    for variable, path in zip(NAMES, paths, strict=True):
        try:
            text = read(variable, path)
            of_key = variable == KEY
            found.append(private_key(text, passphrase) if of_key else certificates(variable, text))
        except Problem as problem:
            problems.append(str(problem))
    if problems:
        return result
    chain, key, authorities = found
    problems += key_problems(chain[0], key) + usage_problems(chain[0])
    problems += chain_problems(chain, authorities)
    every = list(dict.fromkeys(chain + authorities))
    # A bundle may hold a CA that has ended, beside the one that counts.
    spare = {authority.subject for authority in authorities} if len(authorities) > 1 else set()
    ended = (time_problem(one, now) for one in every if one.subject not in spare)
    problems += [f"{CERTIFICATE}: {sentence}" for sentence in ended if sentence]
    problems += name_problems(chain[0], hostnames)
    result["warnings"] = time_warnings(every, now)
    result["certificate"], result["ca"] = pem(chain), pem(authorities)
    result["key"] = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    both = result["certificate"].encode() + b"\0" + result["key"].encode()
    result["id"] = hashlib.sha256(both).hexdigest()[:12]
    return result


class LookupModule(LookupBase):
    """`lookup('own_certificate', certificate, key, ca, passphrase=…, hostnames=…)`."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one dictionary; see RETURN."""
        self.set_options(var_options=variables, direct=kwargs)
        passphrase, hostnames = self.get_option("passphrase"), self.get_option("hostnames")
        return [look([str(t or "") for t in terms], str(passphrase or ""), list(hostnames))]
