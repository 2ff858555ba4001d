"""Files on the machine: who may read what, the certificate, logs, the machine's own command."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from testinfra.host import Host

from host.stack import CURL, CURL_GATEWAY, STACK, predict, request_id, until_logged
from plugins.filter.names import not_covered

Inspected = dict[str, dict[str, Any]]
ETC = f"/etc/{STACK}"
LOG = f"/var/log/{STACK}/access.log"
CONTAINER_GROUP = 10001
LOG_KEYS = set(
    "time request_id client user method path protocol status bytes duration_s service replica "
    "upstream upstream_status upstream_duration_s tls agent".split()
)


# ---- secrets -------------------------------------------------------------------------------------


def test_secrets_are_for_root_only(host: Host) -> None:
    folder = host.file(f"{ETC}/secrets")
    assert (folder.user, folder.group, folder.mode) == ("root", "root", 0o700)
    files = host.check_output("find %s -type f -printf '%%m %%u %%p\\n'", folder.path).splitlines()
    assert files
    # Grafana reads its own, which is mounted into its container.
    shared = f"640 root {folder.path}/grafana-admin"
    assert not [line for line in files if not line.startswith("600 root ") and line != shared]


def test_certificate_authoritys_key_is_roots_and_in_no_mounted_folder(
    host: Host, inspected: Inspected
) -> None:
    found = host.check_output("find %s /var/lib/docker/volumes -name 'ca.key*'", ETC).split()
    assert found == [f"{ETC}/secrets/ca.key"]
    key = host.file(found[0])
    assert (key.user, key.group, key.mode) == ("root", "root", 0o600)
    for name, item in inspected.items():
        for mount in item["Mounts"]:
            assert not key.path.startswith(f"{mount['Source'].rstrip('/')}/"), name


@pytest.mark.parametrize("path", ["tls/server.key", "nginx/htpasswd"])
def test_gateways_secrets_are_for_root_and_the_gateway(host: Host, path: str) -> None:
    file = host.file(f"{ETC}/{path}")
    assert (file.user, file.gid, file.mode) == ("root", CONTAINER_GROUP, 0o640)


def test_htpasswd_holds_hashes_only(
    host: Host, secrets: dict[str, str], environment: dict[str, str]
) -> None:
    lines = host.file(f"{ETC}/nginx/htpasswd").content_string.splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(
            r"[^:]+:(\{SSHA\}[A-Za-z0-9+/=]{32,}|\$[56]\$\S+|\$2[aby]\$\S+)", line
        ), line.partition(":")[0]
    content = "\n".join(lines)
    assert environment["API_PASSWORD"] not in content
    assert not [name for name, value in secrets.items() if value in content]


def test_generated_password_is_long_and_random(
    secrets: dict[str, str], environment: dict[str, str]
) -> None:
    generated = [value for name, value in secrets.items() if name.startswith("user-")]
    if environment["API_PASSWORD"] not in generated:
        pytest.skip("the first user's password was chosen by a person")
    assert all(len(value) >= 27 and len(set(value)) >= 12 for value in generated)


def test_nothing_of_the_stack_is_writable_by_others(host: Host) -> None:
    paths = f"{ETC} /var/log/{STACK} /usr/local/bin/{STACK} /etc/logrotate.d/{STACK}"
    assert host.check_output(f"find {paths} ! -type l -perm /022") == ""


def test_secret_values_are_nowhere_else_in_etc(host: Host, secrets: dict[str, str]) -> None:
    for name, value in secrets.items():
        # On stdin: a command line is for everybody to see.
        file = f"{ETC}/secrets/{name}"
        done = host.run("cat %s | grep -rlF --exclude-dir=secrets -f - %s", file, ETC)
        assert value
        assert done.stdout.split() == [], name


# ---- the gateway's configuration -----------------------------------------------------------------


def test_current_leads_to_a_folder_named_by_its_content(host: Host) -> None:
    link = host.file(f"{ETC}/nginx/current")
    assert link.is_symlink
    target = host.check_output("readlink %s", link.path)
    assert re.fullmatch(r"[0-9a-f]{12}", target), "relative: it must hold inside the container too"
    assert host.file(f"{ETC}/nginx/{target}/nginx.conf").is_file


def test_gateways_workers_run_the_current_configuration(host: Host, inspected: Inspected) -> None:
    current = host.check_output("readlink %s", f"{ETC}/nginx/current")
    address = inspected["nginx-1"]["NetworkSettings"]["Networks"][STACK]["IPAddress"]
    answer = host.check_output(f"{CURL} --fail %s", f"http://{address}:8081/version")
    assert json.loads(answer) == {"version": current}


# ---- the certificate -----------------------------------------------------------------------------


@pytest.fixture
def certificate(host: Host) -> str:
    """The server certificate, in words."""
    return str(host.check_output("openssl x509 -noout -text -in %s", f"{ETC}/tls/server.crt"))


def test_certificate_names_what_clients_use(certificate: str, environment: dict[str, str]) -> None:
    names = re.search(r"Subject Alternative Name:[^\n]*\n\s*([^\n]+)", certificate)
    assert names
    held = [name.partition(":")[2] for name in names[1].split(", ")]
    asked = str(urlsplit(environment["GATEWAY_URL"]).hostname)
    # The stack's own certificate has loopback, too.
    more = ["127.0.0.1", "::1"] if asked == "localhost" else []
    assert not_covered([asked, *more], held) == []


def test_certificate_is_signed_by_the_stacks_authority(host: Host) -> None:
    done = host.run(
        "openssl verify -x509_strict -purpose sslserver -CAfile %s %s",
        f"{ETC}/ca.crt",
        f"{ETC}/tls/server.crt",
    )
    assert done.rc == 0, done.stdout + done.stderr


def test_certificate_is_an_elliptic_p256_one_for_servers(certificate: str) -> None:
    assert "NIST CURVE: P-256" in certificate
    assert "Signature Algorithm: ecdsa-with-SHA256" in certificate
    assert re.search(r"Extended Key Usage:[^\n]*\n\s*TLS Web Server Authentication\n", certificate)
    assert "CA:FALSE" in certificate


def test_certificate_lasts_a_year_at_most_and_a_month_at_least(certificate: str) -> None:
    begin, end = (
        datetime.strptime(found, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        for found in re.findall(r"Not (?:Before|After)\s*: (.+)", certificate)
    )
    assert end - begin <= timedelta(days=366)
    assert end - datetime.now(UTC) > timedelta(days=29), "a run should have renewed it"


def test_certificate_belongs_to_the_key(host: Host) -> None:
    of_key = host.check_output("openssl pkey -pubout -in %s", f"{ETC}/tls/server.key")
    of_certificate = host.check_output(
        "openssl x509 -noout -pubkey -in %s", f"{ETC}/tls/server.crt"
    )
    assert of_key == of_certificate


def test_the_live_pair_lies_alone_in_a_folder_named_by_its_content(host: Host) -> None:
    tls = f"{ETC}/tls"
    live = host.check_output("readlink %s", f"{tls}/current")
    assert re.fullmatch("[0-9a-f]{12}", live), "relative: it must hold inside the container too"
    assert sorted(host.check_output("ls %s", tls).split()) == sorted(
        [live, "current", "server.crt", "server.key"]
    )
    for name in ("server.crt", "server.key"):
        assert host.check_output("readlink %s", f"{tls}/{name}") == f"current/{name}"


def test_clients_of_the_gateway_get_what_the_files_hold(host: Host) -> None:
    done = host.run("%s certificate --verify", STACK)
    assert (done.rc, done.stderr) == (0, "")


def test_authority_may_sign_servers_and_no_further_authority(host: Host) -> None:
    text = host.check_output("openssl x509 -noout -text -in %s", f"{ETC}/ca.crt")
    assert "CA:TRUE, pathlen:0" in text
    assert "Certificate Sign" in text
    assert host.file(f"{ETC}/ca.crt").mode == 0o644


# ---- logs ----------------------------------------------------------------------------------------


def log_lines(host: Host, count: int = 500) -> list[dict[str, str]]:
    return [
        json.loads(line)
        for line in host.check_output("tail -n %s %s", str(count), LOG).splitlines()
    ]


def log_line(host: Host, request_id: str) -> dict[str, str]:
    """Return the line of one request; it is written after a second at most."""
    host.run("timeout 5 bash -c %s", f"until grep -q {request_id} {LOG}; do sleep 0.2; done")
    found = [line for line in log_lines(host) if line["request_id"] == request_id]
    assert len(found) == 1, f"{len(found)} lines of {request_id}"
    return found[0]


def test_access_log_is_json_with_the_agreed_fields(host: Host) -> None:
    answer = predict(host, "glad")
    line = log_line(host, request_id(answer))
    assert set(line) == LOG_KEYS
    assert (line["method"], line["path"], line["status"], line["service"]) == (
        "POST",
        "/predict",
        "200",
        "v1",
    )
    assert line["replica"].startswith("v1-")
    assert line["tls"].startswith("TLSv1.")
    assert all(set(other) == LOG_KEYS for other in log_lines(host))


def test_access_log_of_an_error_names_what_the_client_asked_for(host: Host) -> None:
    answer = host.check_output(
        "bash -c %s - %s",
        f'eval "$("$1" env)"; {CURL_GATEWAY} --data x "$GATEWAY_URL/predict"',
        STACK,
    )
    line = log_line(host, request_id(answer))
    assert line["status"] == "401"
    assert (line["method"], line["path"]) == ("POST", "/predict")


def test_no_log_holds_a_sentence_a_query_or_a_password(
    host: Host, inspected: Inspected, environment: dict[str, str]
) -> None:
    marker = f"quagga{uuid.uuid4().hex[:12]}"
    log_line(host, request_id(predict(host, marker)))
    logs = {"access": host.check_output("tail -n 500 %s", LOG)}
    for name, item in inspected.items():
        done = host.run("docker logs --tail 500 %s", item["Id"])
        logs[name] = done.stdout + done.stderr
    assert not [name for name, text in logs.items() if marker in text]
    assert not [name for name, text in logs.items() if environment["API_PASSWORD"] in text]


def test_replicas_log_carries_the_gateways_request_id(host: Host, inspected: Inspected) -> None:
    answer = predict(host, "glad")
    served_by = re.search(r"(?im)^x-served-by: (\S+)", answer)
    assert served_by
    log = host.run("docker logs --tail 200 %s", inspected[f"api-{served_by[1]}"]["Id"])
    assert request_id(answer) in log.stdout + log.stderr


def test_one_request_is_followed_through_gateway_and_replica(host: Host) -> None:
    request = request_id(predict(host, "glad"))

    def lines() -> list[str]:
        return str(host.run("%s logs --request %s", STACK, request).stdout).splitlines()

    until_logged(lambda: any(line.startswith("access | ") for line in lines()), "its line")
    sources = [line.partition(" | ")[0] for line in lines()]
    assert sources[0] == "access"
    assert [name.startswith(f"{STACK}-api-v1-") for name in sources[1:]] == [True]
    assert all(request in line for line in lines())


def test_a_request_that_is_in_no_log_is_said_to_be(host: Host) -> None:
    result = host.run("%s logs --request %s", STACK, "0" * 32)
    assert result.rc == 1
    assert "No line names the request" in result.stderr


def test_access_log_is_not_for_everybody(host: Host) -> None:
    folder = host.file(f"/var/log/{STACK}")
    assert folder.mode == 0o750
    assert folder.uid == CONTAINER_GROUP


def test_logrotate_takes_the_configuration(host: Host) -> None:
    done = host.run("logrotate --debug %s", f"/etc/logrotate.d/{STACK}")
    output = done.stdout + done.stderr
    assert done.rc == 0
    assert not re.search(r"(?im)^error|insecure permissions|skipping", output), output
    assert f"considering log {LOG}" in output
    assert "running postrotate script" in output or "does not need rotating" in output


# ---- the machine's own command -------------------------------------------------------------------


def test_status_is_json_and_all_well(host: Host, inspected: Inspected) -> None:
    done = host.run("%s status --json", STACK)
    assert done.rc == 0, done.stdout + done.stderr
    status = json.loads(done.stdout)
    assert status["stack"] == STACK
    assert {c["name"] for c in status["containers"]} == {f"{STACK}-{name}" for name in inspected}
    assert {c["health"] for c in status["containers"]} == {"healthy"}
    assert {c["state"] for c in status["containers"]} == {"running"}
    assert status["certificate_days_left"] > 29
    assert isinstance(status["left_out"], str)


def test_status_is_a_table_for_people(host: Host, inspected: Inspected) -> None:
    table = host.check_output("%s status", STACK)
    assert all(re.search(rf"(?m)^{STACK}-{name} ", table) for name in inspected)


def test_env_is_for_root_only(host: Host) -> None:
    done = host.run("su -s /bin/sh nobody -c %s", f"{STACK} env")
    assert done.rc != 0
    assert "API_PASSWORD" not in done.stdout
    assert "Traceback" not in done.stderr


def test_wrong_words_get_the_usage(host: Host) -> None:
    done = host.run("%s nonsense", STACK)
    assert done.rc == 2
    assert done.stderr.startswith(f"usage: {STACK} ")
