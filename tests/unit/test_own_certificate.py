"""What the preflight reports of a certificate that the user brings."""

import datetime as dt
import re
import subprocess
from pathlib import Path

import pytest

import certificates
from plugins.lookup import own_certificate

NOW = dt.datetime.now(dt.UTC)
GOOD = (
    "good rsa ed25519 another with-root direct bundle crlf bom run-together no-chain-needed soon"
).split()


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[str, str, str]]:
    return certificates.cases()


def look(
    folder: Path,
    texts: tuple[str, str, str],
    passphrase: str = "",
    hostnames: tuple[str, ...] = (certificates.NAME, "localhost"),
) -> dict[str, object]:
    paths = certificates.write(folder, "case", texts)
    return own_certificate.look([str(p) for p in paths], passphrase, list(hostnames), NOW)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_one_passes_and_openssl_reads_what_is_handed_on(
    tmp_path: Path, made: dict[str, tuple[str, str, str]], name: str
) -> None:
    found = look(tmp_path, made[name])
    assert found["problems"] == []
    for kind in ("certificate", "ca", "key"):
        text = str(found[kind])
        assert "\r" not in text
        assert "\ufeff" not in text
        assert text.endswith("-----\n")
        assert "----------" not in text
    (tmp_path / "leaf").write_text(str(found["certificate"]))
    (tmp_path / "ca").write_text(str(found["ca"]))
    verify = "openssl verify -partial_chain -purpose sslserver -CAfile ca -untrusted leaf leaf"
    subprocess.run(verify.split(), cwd=tmp_path, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("other-key", "the key (EC) does not belong to the first certificate"),
        ("other-type", "the key (Ed25519) does not belong to the first certificate"),
        ("encrypted", "give its passphrase by certs_own_key_passphrase"),
        ("no-chain", "no CA in the file signed 'CN=emotions.example.org'"),
        ("reversed", "did not sign the one before it"),
        ("shuffled", "did not sign the one before it"),
        ("other-ca", "its issuer is 'CN=Example Root'"),
        ("not-a-ca", "no CA in the file signed"),
        ("expired", "'CN=emotions.example.org' expired on"),
        ("not-yet", "is not valid before"),
        ("no-names", "It names no host"),
        ("other-names", "does not cover emotions.example.org, localhost of stack_hostnames"),
        ("name-only", "does not cover localhost of stack_hostnames"),
        ("small-rsa", "an RSA key of 1024 bits is refused"),
        ("odd-curve", "the gateway does not offer the curve secp521r1"),
        ("for-clients", "is not made for servers"),
        ("damaged", "certificate 1 of the file is damaged"),
        ("two-keys", "the file holds 2 private keys"),
        ("no-pem", "holds no PEM"),
    ],
)
def test_a_bad_one_is_refused_with_its_reason(
    tmp_path: Path, made: dict[str, tuple[str, str, str]], name: str, sentence: str
) -> None:
    problems = look(tmp_path, made[name])["problems"]
    assert isinstance(problems, list)
    assert any(sentence in problem for problem in problems), problems
    assert all(problem.startswith("certs_own_") for problem in problems)
    assert not any("PRIVATE" in problem for problem in problems)


def test_every_case_is_tried(made: dict[str, tuple[str, str, str]]) -> None:
    refused = test_a_bad_one_is_refused_with_its_reason.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert set(GOOD) | {name for name, _ in refused} | {"wildcard"} == set(made)


def test_names_have_to_be_covered_and_a_wildcard_covers_one_label(
    tmp_path: Path, made: dict[str, tuple[str, str, str]]
) -> None:
    names_only = look(tmp_path, made["name-only"], hostnames=(certificates.NAME,))
    assert names_only["problems"] == []
    for name in ("a.example.org", "A.example.org", "*.example.org", "localhost"):
        assert look(tmp_path, made["wildcard"], hostnames=(name,))["problems"] == []
    for name in ("example.org", "a.b.example.org", "*.a.example.org"):
        assert look(tmp_path, made["wildcard"], hostnames=(name,))["problems"] != []


def test_an_encrypted_key_takes_its_passphrase_and_no_other(
    tmp_path: Path, made: dict[str, tuple[str, str, str]]
) -> None:
    found = look(tmp_path, made["encrypted"], certificates.PASSPHRASE)
    assert found["problems"] == []
    assert "ENCRYPTED" not in str(found["key"])
    wrong = look(tmp_path, made["encrypted"], "another")["problems"]
    assert wrong == ["certs_own_key_path: certs_own_key_passphrase does not decrypt the key"]


def test_one_that_ends_soon_is_warned_of(
    tmp_path: Path, made: dict[str, tuple[str, str, str]]
) -> None:
    warnings = look(tmp_path, made["soon"])["warnings"]
    assert isinstance(warnings, list)
    (warning,) = warnings
    assert re.search(r"in [45] days", str(warning))
    assert look(tmp_path, made["good"])["warnings"] == []


def test_files_that_are_not_there_or_binary_are_named(
    tmp_path: Path, made: dict[str, tuple[str, str, str]]
) -> None:
    paths = [str(p) for p in certificates.write(tmp_path, "case", made["good"])]
    (ca,) = own_certificate.look([*paths[:2], ""], "", [], NOW)["problems"]
    assert ca.startswith("certs_own_ca_path: empty, but")
    missing = [paths[0], str(tmp_path / "none"), paths[2]]
    (key,) = own_certificate.look(missing, "", [], NOW)["problems"]
    assert key.startswith("certs_own_key_path: ")
    assert "No such file" in key
    der = "openssl x509 -in case.pem -outform DER -out case.pem"
    subprocess.run(der.split(), cwd=tmp_path, check=True, timeout=60)
    (binary,) = own_certificate.look(paths, "", [], NOW)["problems"]
    assert "openssl x509 -inform DER" in binary


def test_a_file_that_an_editor_of_windows_saved_is_read(
    tmp_path: Path, made: dict[str, tuple[str, str, str]]
) -> None:
    paths = certificates.write(tmp_path, "case", made["good"])
    for path in paths:
        path.write_text(path.read_text(), encoding="utf-16")
    found = own_certificate.look([str(p) for p in paths], "", [], NOW)
    assert found["problems"] == []
    assert found["certificate"] == made["good"][0]


def test_none_at_all_is_no_problem() -> None:
    found = own_certificate.look(["", "", ""], "", ["localhost"], NOW)
    assert (found["id"], found["problems"]) == ("", [])
