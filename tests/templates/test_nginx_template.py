"""The gateway's configuration: what must be in it, and what must not."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import render
from api.errors import ERRORS
from api.schema import MAX_BATCH_BODY_KIB, MAX_BODY_KIB
from templates.nginx_tree import Directive

THREE_SERVICES = [
    {"name": "v1", "replicas": 2},
    {"name": "v2", "replicas": 1, "experiment_group": "debug"},
    {"name": "v3", "replicas": 1, "experiment_group": "beta"},
]


def servers_on(http: Directive, port: str) -> list[Directive]:
    return [s for s in http.own("server") if any(li.args[0] == port for li in s.own("listen"))]


def rows(block: Directive) -> dict[str, str]:
    return {row.name: " ".join(row.args) for row in block.block}


def map_to(http: Directive, variable: str) -> Directive:
    (found,) = [m for m in http.own("map") if m.args[1] == variable]
    return found


def code(files: dict[str, str]) -> str:
    """Return all files without their comments."""
    return re.sub(r"(?m)(^|\s)#.*$", "", "\n".join(files.values()))


# ---- every file ---------------------------------------------------------------------------------


def test_every_template_is_rendered() -> None:
    folder = render.ROOT / "roles/nginx/templates/nginx"
    expected = {path.name.removesuffix(".j2") for path in folder.glob("*.j2")}
    assert set(render.nginx_files()) == expected


def test_every_file_but_the_first_is_included_once_somewhere(files: dict[str, str]) -> None:
    included = set(re.findall(r"(?m)^\s*include (\S+);", "\n".join(files.values())))
    assert included == set(files) - {"nginx.conf"}


def test_every_file_starts_with_who_manages_it(files: dict[str, str]) -> None:
    for name, text in files.items():
        assert text.startswith("#\n# Ansible managed\n#\n"), name


def test_nothing_is_left_unrendered(files: dict[str, str]) -> None:
    assert not re.search(r"\{\{|\{%|\bNone\b|undefined", code(files))


def test_indentation_has_no_traces_of_jinja(files: dict[str, str]) -> None:
    for name, text in files.items():
        assert not re.search(r"[ \t]+$|\t|\n{3}", text, re.MULTILINE), name


# ---- how much -----------------------------------------------------------------------------------


def test_rate_is_counted_for_each_client_address(http: Directive) -> None:
    assert [zone.args for zone in http.own("limit_req_zone")] == [
        ("$binary_remote_addr", "zone=per_client:10m", "rate=10r/s"),
        ("$binary_remote_addr", "zone=per_client_batch:10m", "rate=1r/s"),
    ]


def test_too_many_requests_are_429(http: Directive) -> None:
    assert http.only("limit_req_status").args == ("429",)
    assert http.all("limit_req_status") == http.own("limit_req_status")


def test_one_budget_covers_every_location_of_the_gateway(gateway: Directive) -> None:
    common = ("zone=per_client", "burst=5", "nodelay")
    # The same zone; what is over the rate waits.
    page = ("zone=per_client", "burst=20", "delay=5")
    assert gateway.only("limit_req").args == common
    # A location with a limit of its own leaves the server's, unless it names that one, too.
    for location in gateway.own("location"):
        limits = [limit.args for limit in location.own("limit_req")]
        assert not limits or common in limits or limits == [page], location


def test_a_batch_has_a_budget_beside_the_common_one(gateway: Directive) -> None:
    limits = [d.args for d in gateway.location("=", "/predict/batch").own("limit_req")]
    assert limits == [
        ("zone=per_client", "burst=5", "nodelay"),
        ("zone=per_client_batch", "burst=1", "nodelay"),
    ]


def test_whatever_asks_for_a_password_is_under_the_limit(http: Directive) -> None:
    for server in http.own("server"):
        asks = [d for d in server.all("auth_basic") if d.args != ("off",)]
        assert not asks or server.own("limit_req"), server.args


def test_rate_and_burst_follow_their_variables(http_with: Callable[..., Directive]) -> None:
    http = http_with(nginx_rate_limit="20r/s", nginx_rate_burst=7, nginx_batch_rate_limit="30r/m")
    assert [zone.args[2] for zone in http.own("limit_req_zone")] == ["rate=20r/s", "rate=30r/m"]
    common = [d for d in http.all("limit_req") if d.args[0] == "zone=per_client"]
    assert {d.args[1:] for d in common} == {("burst=7", "nodelay"), ("burst=20", "delay=7")}


def test_a_client_is_told_its_budget(http_with: Callable[..., Directive]) -> None:
    http = http_with(nginx_rate_limit="20r/s", nginx_batch_rate_limit="30r/m")
    policy = rows(map_to(http, "$error_rate_policy"))
    assert policy == {"default": "", "429": '"requests";q=20;w=1, "batches";q=30;w=60'}
    for server in public_servers(http):
        headers = [d.args for d in server.location("=", "/_error").own("add_header")]
        assert ("RateLimit-Policy", "$error_rate_policy", "always") in headers


def test_one_address_cannot_hold_every_connection(
    gateway: Directive, http_with: Callable[..., Directive]
) -> None:
    http = http_with(nginx_client_connections=7)
    (zone,) = http.own("limit_conn_zone")
    assert zone.args == ("$binary_remote_addr", "zone=connections_per_client:10m")
    assert http.only("limit_conn_status").args == ("429",)
    assert gateway.only("limit_conn").args == ("connections_per_client", "32")
    assert [d.args for d in http.all("limit_conn")] == [("connections_per_client", "7")]


def test_a_wrong_password_takes_longer_than_any_hash(http: Directive) -> None:
    assert http.only("auth_delay").args == ("50ms",)


def test_header_fields_are_bounded(http_with: Callable[..., Directive]) -> None:
    http = http_with(nginx_header_buffers="2 4k")
    assert http.only("large_client_header_buffers").args == ("2", "4k")


def test_body_size_is_bounded(http: Directive) -> None:
    assert http.only("client_max_body_size").args == ("64k",)
    # Lifted only where a body is answered and not read.
    lifted = [
        directive
        for server in http.own("server")
        for location in server.own("location")
        if location.args in (("=", "/_error"), ("=", "/_maintenance"))
        for directive in location.own("client_max_body_size")
    ]
    (batch,) = [
        directive
        for location in http.all("location")
        if location.args == ("=", "/predict/batch")
        for directive in location.own("client_max_body_size")
    ]
    assert batch.args == ("512k",)
    assert len(http.all("client_max_body_size")) == 2 + len(lifted)


def test_bodies_are_kept_in_memory(http: Directive) -> None:
    for block in (http, *http.all("location")):
        for size in block.own("client_max_body_size"):
            if size.args != ("0",):
                assert block.only("client_body_buffer_size").args == size.args


@pytest.mark.parametrize("name", ["client_header_timeout", "client_body_timeout", "send_timeout"])
def test_slow_clients_are_let_go(http: Directive, name: str) -> None:
    assert http.only(name).args == ("10s",)


# ---- which version ------------------------------------------------------------------------------


def test_only_the_exact_word_debug_asks_for_v2(http: Directive) -> None:
    routing = map_to(http, "$service")
    assert routing.args[0] == "$http_x_experiment_group"
    assert rows(routing) == {"default": "v1", "~^debug$": "v2"}


def test_predictions_go_to_the_mapped_service(gateway: Directive) -> None:
    services = [d for d in gateway.all("proxy_pass") if PROMETHEUS not in d.args[0]]
    assert {target.args for target in services} == {("http://$service",)}
    for path in ("/predict", "/predict/batch"):
        assert gateway.location("=", path).own("proxy_pass")


DOCS_LOCATION = r"^/(docs(/[a-z-]+\.(js|css))?|openapi\.json)$"


@pytest.mark.parametrize(
    ("path", "proxied"),
    [
        ("/docs", True),
        ("/docs/swagger-ui.css", True),
        ("/docs/swagger-ui-bundle.js", True),
        ("/openapi.json", True),
        ("/docs/", False),
        ("/docs/../metrics", False),
        ("/docs/a.js/b", False),
        ("/metrics", False),
        ("/readyz", False),
        ("/redoc", False),
    ],
)
def test_documentation_is_one_page_and_its_files(
    gateway: Directive, path: str, proxied: bool
) -> None:
    location = gateway.location("~", DOCS_LOCATION)
    assert location.only("proxy_pass").args == ("http://$service",)
    assert bool(re.search(location.args[1], path)) is proxied


def test_every_password_is_asked_for_in_one_name(gateway: Directive) -> None:
    """A browser that knows it for the page knows it for the page's own requests."""
    realms = {d.args for d in gateway.all("auth_basic")} - {("off",)}
    assert realms == {("predictions",)}


def test_a_third_service_appears_in_map_and_upstreams(http_with: Callable[..., Directive]) -> None:
    http = http_with(api_services=THREE_SERVICES)
    assert rows(map_to(http, "$service")) == {
        "default": "v1",
        "~^debug$": "v2",
        "~^beta$": "v3",
    }
    assert [u.args for u in http.own("upstream")] == [("v1",), ("v2",), ("v3",)]
    addresses = [s.args[0] for u in http.own("upstream") for s in u.own("server")[::2]]
    assert "172.28.10.61:8000" in addresses


# ---- replicas -----------------------------------------------------------------------------------


def servers(upstream: Directive, backup: bool) -> list[tuple[str, ...]]:
    return [s.args for s in upstream.own("server") if ("backup" in s.args) == backup]


@pytest.mark.parametrize(("name", "first", "count"), [("v1", 21, 3), ("v2", 41, 1)])
def test_upstream_has_each_replica_and_each_again_as_backup(
    http: Directive, name: str, first: int, count: int
) -> None:
    (upstream,) = [u for u in http.own("upstream") if u.args == (name,)]
    addresses = [f"172.28.10.{first + n}:8000" for n in range(count)]
    assert [args[0] for args in servers(upstream, backup=False)] == addresses
    assert servers(upstream, backup=True) == [(a, "backup", "max_fails=0") for a in addresses]


def test_upstreams_name_no_host_that_nginx_would_resolve_once(http: Directive) -> None:
    for upstream in http.own("upstream"):
        for server in upstream.own("server"):
            assert re.fullmatch(r"[\d.]+:\d+", server.args[0]), server


def test_workers_share_what_they_know_of_replicas(http: Directive) -> None:
    zones = [u.only("zone").args for u in http.own("upstream")]
    assert zones == [("v1", "64k"), ("v2", "64k")]


def test_idle_connections_end_before_the_replica_ends_them(http: Directive) -> None:
    for upstream in http.own("upstream"):
        assert int(upstream.only("keepalive").args[0]) > 0
        (timeout,) = upstream.only("keepalive_timeout").args
        assert int(timeout.removesuffix("s")) < 75
    assert {d.args for d in http.all("proxy_http_version")} == {("1.1",)}


def test_a_post_without_an_answer_goes_to_the_next_replica(gateway: Directive) -> None:
    for path in ("/predict", "/predict/batch"):
        conditions = set(gateway.location("=", path).only("proxy_next_upstream").args)
        assert {"error", "timeout", "http_502", "http_503", "non_idempotent"} <= conditions
        # A 500 is an answer: the same sentence would fail at each replica in turn.
        assert "http_500" not in conditions


def test_tries_are_bounded_in_number_and_time(gateway: Directive) -> None:
    predict = gateway.location("=", "/predict")
    assert predict.only("proxy_next_upstream_tries").args == ("3",)
    assert predict.only("proxy_next_upstream_timeout").args == ("5s",)
    assert predict.only("proxy_connect_timeout").args == ("300ms",)
    assert predict.only("proxy_read_timeout").args == ("1s",)


def test_time_outs_follow_from_the_cost_of_the_model(
    http_with: Callable[..., Directive], tmp_path: Path
) -> None:
    cost = {"milliseconds_per_batch": 1300.0, "milliseconds_per_sentence": 21.0}
    (tmp_path / "model.json").write_text(json.dumps({"cost": cost}))
    # The slowest model of all services counts.
    services = [THREE_SERVICES[0], THREE_SERVICES[1] | {"model_dir": str(tmp_path)}]

    def times(**overrides: Any) -> tuple[tuple[str, ...], ...]:
        http = http_with(api_services=services, **overrides)
        return tuple(
            http.all(f"proxy_{name}")[0].args for name in ("read_timeout", "next_upstream_timeout")
        )

    assert times() == (("11s",), ("12s",))
    assert times(api_cpus=0.5) == (("21s",), ("22s",))
    assert times(nginx_read_timeout="40s", nginx_retry_timeout="50s") == (("40s",), ("50s",))
    (tmp_path / "model.json").write_text("{}")
    assert times() == (("1s",), ("5s",))


# ---- what a replica is told ---------------------------------------------------------------------


def test_headers_of_a_client_are_overwritten_not_appended(
    gateway: Directive, files: dict[str, str]
) -> None:
    headers = {d.args[0]: d.args[1] for d in gateway.all("proxy_set_header")}
    assert headers["X-Forwarded-For"] == "$remote_addr"
    assert headers["X-Forwarded-Proto"] == "$scheme"
    assert headers["X-Request-ID"] == "$request_id"
    assert headers["X-Real-IP"] == headers["Forwarded"] == ""
    assert "$proxy_add_x_forwarded_for" not in code(files)


def test_neither_replicas_nor_prometheus_see_the_password(http: Directive) -> None:
    for location in proxied_locations(http):
        if location in asks_prometheus(http):
            assert location.only("proxy_pass_request_headers").args == ("off",)
            assert "Authorization" not in [d.args[0] for d in location.own("proxy_set_header")]
        else:
            assert ("Authorization", "") in [d.args for d in location.own("proxy_set_header")]


# ---- the status page ----------------------------------------------------------------------------

PROMETHEUS = "http://172.28.10.6:9090/"


def asks_prometheus(http: Directive) -> list[Directive]:
    return [d for d in proxied_locations(http) if PROMETHEUS in d.only("proxy_pass").args[0]]


def test_prometheus_is_asked_ready_made_questions_only(http: Directive) -> None:
    found = asks_prometheus(http)
    assert [d.args for d in found] == [
        ("=", f"/status/{name}.json") for name in ("series", "now", "alerts")
    ]
    for location in found:
        # A variable would let the request's own words in.
        assert "$" not in location.only("proxy_pass").args[0]
        assert ("$args", "") in [d.args for d in location.own("set")]
        assert location.only("proxy_method").args == ("GET",)
        assert location.only("proxy_pass_request_body").args == ("off",)


def test_the_status_page_loads_nothing_from_elsewhere(http: Directive, gateway: Directive) -> None:
    for location in (gateway.location("=", "/"), *asks_prometheus(http)):
        headers = {d.args[0]: d.args[1] for d in location.own("add_header")}
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert location.only("auth_basic").args != ("off",)
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_without_prometheus_the_status_page_asks_nobody(
    http_with: Callable[..., Directive],
) -> None:
    http = http_with(nginx_monitoring_addresses={})
    assert len(proxied_locations(http)) == 3


# ---- who ----------------------------------------------------------------------------------------


def test_predictions_need_a_password(gateway: Directive) -> None:
    predict = gateway.location("=", "/predict")
    assert predict.only("auth_basic").args != ("off",)
    assert predict.only("auth_basic_user_file").args == ("/etc/gateway/htpasswd",)


def test_nothing_is_proxied_without_a_password(http: Directive) -> None:
    for server in public_servers(http):
        for location in server.own("location"):
            assert not location.all("proxy_pass") or location.own("auth_basic"), location
        assert not server.own("proxy_pass")


# ---- errors -------------------------------------------------------------------------------------


def public_servers(http: Directive) -> list[Directive]:
    return servers_on(http, "80") + servers_on(http, "443")


def proxied_locations(http: Directive) -> list[Directive]:
    """Return the locations that lead clients to a replica."""
    places = [at for server in public_servers(http) for at in server.own("location")]
    return [location for location in places if location.own("proxy_pass")]


def test_there_are_three_public_servers(http: Directive) -> None:
    assert len(public_servers(http)) == 3


def test_errors_lead_to_one_internal_address(http: Directive) -> None:
    for server in public_servers(http):
        assert {page.args[-1] for page in server.own("error_page")} == {"/_error"}
        location = server.location("=", "/_error")
        assert location.own("internal")
        assert location.only("auth_basic").args == ("off",)
        assert location.only("default_type").args == ("application/json",)
    # One further in would replace the server's.
    assert len(http.all("error_page")) == sum(len(s.own("error_page")) for s in http.own("server"))


@pytest.mark.parametrize(
    "status",
    ("400 401 403 404 405 408 413 414 421 429 431 494 495 496 497 500 501 502 503 504 505").split(),
)
def test_error_is_json(http: Directive, status: str) -> None:
    for server in public_servers(http):
        assert any(status in page.args for page in server.own("error_page"))
    assert status in rows(map_to(http, "$error_name"))
    assert status in rows(map_to(http, "$error_detail"))


def test_error_body_is_json_with_the_request_id(gateway: Directive) -> None:
    _, body = gateway.location("=", "/_error").only("return").args
    parsed = json.loads(body.replace("\\n", ""))
    assert set(parsed) == {"error", "detail", "request_id"}
    assert parsed["request_id"] == "$request_id"


def test_error_texts_need_no_escape_in_json() -> None:
    texts = render.resolve("nginx", "__nginx_error_codes.values() | map('dict2items') | flatten")
    assert texts
    assert [t["value"] for t in texts if re.search(r'["\\$;{}]', t["value"])] == []


def test_gateway_and_service_give_an_error_the_same_code() -> None:
    ours = {
        code: text["error"] for code, text in render.resolve("nginx", "__nginx_error_codes").items()
    }
    # The service's 503 is that of /readyz, which the gateway does not forward.
    both = (ours.keys() & ERRORS.keys()) - {503}
    assert both >= {400, 404, 405, 413, 500}
    assert {code: ours[code] for code in both} == {code: ERRORS[code][0] for code in both}


def test_gateway_and_service_accept_the_same_bodies(http: Directive, gateway: Directive) -> None:
    assert http.only("client_max_body_size").args == (f"{MAX_BODY_KIB}k",)
    batch = gateway.location("=", "/predict/batch")
    assert batch.only("client_max_body_size").args == (f"{MAX_BATCH_BODY_KIB}k",)


@pytest.mark.parametrize("status", ["429", "503"])
def test_who_may_come_again_is_told_when(http: Directive, gateway: Directive, status: str) -> None:
    assert int(rows(map_to(http, "$error_retry_after"))[status]) >= 1
    headers = [d.args for d in gateway.location("=", "/_error").own("add_header")]
    assert ("Retry-After", "$error_retry_after", "always") in headers


def test_a_dead_pool_is_503(gateway: Directive) -> None:
    assert ("502", "503", "504", "=503", "/_error") in [p.args for p in gateway.own("error_page")]


def test_there_is_no_named_location(files: dict[str, str]) -> None:
    assert not re.search(r"(location|error_page|try_files)[^;{]*@", code(files))


def test_the_request_id_is_in_every_answer(gateway: Directive) -> None:
    # A block with add_header of its own inherits none: each has to say it again.
    blocks = [gateway, *(d for d in gateway.walk() if d.own("add_header"))]
    for block in blocks:
        headers = [d.args for d in block.own("add_header")]
        assert ("X-Request-ID", "$request_id", "always") in headers, block


def test_no_answer_is_sniffed(gateway: Directive) -> None:
    blocks = [gateway, *(d for d in gateway.walk() if d.own("add_header"))]
    for block in blocks:
        headers = [d.args for d in block.own("add_header")]
        assert ("X-Content-Type-Options", "nosniff", "always") in headers, block


# ---- hosts and redirects ------------------------------------------------------------------------


def test_plain_http_only_redirects(http: Directive) -> None:
    (server,) = servers_on(http, "80")
    assert not server.all("proxy_pass")
    statuses = [d.args[0] for d in server.all("return") if d.args[1].startswith("https://")]
    assert sorted(statuses) == ["301", "308"]


def test_a_foreign_host_is_never_reflected(http: Directive) -> None:
    (server,) = servers_on(http, "80")
    for directive in server.all("return"):
        assert not re.search(r"\$(host|http_host|server_name)\b", directive.args[1]), directive
    names = map_to(http, "$redirect_host")
    assert rows(names) == {
        "default": "localhost",
        "localhost": "localhost",
        "127.0.0.1": "127.0.0.1",
        "[::1]": "[::1]",
    }


def test_post_keeps_its_method_in_the_redirect(http: Directive) -> None:
    (server,) = servers_on(http, "80")
    (branch,) = server.all("if")
    assert branch.args == ("($request_method", "!~", "^(GET|HEAD)$)")
    assert branch.only("return").args[0] == "308"


def test_redirects_lead_to_the_port_that_clients_type(http_with: Callable[..., Directive]) -> None:
    (server,) = servers_on(http_with(stack_public_https_port=8443), "80")
    targets = {d.args[1] for d in server.all("return") if d.args[0] in ("301", "308")}
    assert targets == {"https://$redirect_host:8443$request_uri"}


def test_redirects_leave_out_the_usual_port(http: Directive) -> None:
    (server,) = servers_on(http, "80")
    targets = {d.args[1] for d in server.all("return") if d.args[0] in ("301", "308")}
    assert targets == {"https://$redirect_host$request_uri"}


def test_the_default_server_refuses(http: Directive) -> None:
    (default,) = [s for s in servers_on(http, "443") if "default_server" in s.only("listen").args]
    assert default.location("/").only("return").args == ("421",)
    assert not default.all("proxy_pass")


def test_the_gateway_answers_the_certificates_names(http_with: Callable[..., Directive]) -> None:
    http = http_with(stack_hostnames=["api.example.org"], stack_addresses=["192.0.2.7", "::1"])
    (server,) = [s for s in servers_on(http, "443") if s.all("proxy_pass")]
    assert server.only("server_name").args == ("api.example.org", "192.0.2.7", "[::1]")
    assert rows(map_to(http, "$redirect_host"))["default"] == "api.example.org"


def test_redirects_never_lead_to_a_wildcard(http_with: Callable[..., Directive]) -> None:
    http = http_with(stack_hostnames=["*.example.org"], stack_addresses=["192.0.2.7"])
    found = rows(map_to(http, "$redirect_host"))
    assert found.pop("default") == "emotions.example.org"
    assert found.pop("192.0.2.7") == "192.0.2.7"
    ((pattern, target),) = found.items()
    assert target == "$host"
    assert pattern.startswith("~*")
    ours, foreign = ["a.example.org", "a-b.EXAMPLE.org"], ["example.org", "a.b.example.org"]
    foreign += ["a.example.org.evil", "evil/.example.org", "aXexampleXorg", '">.example.org']
    assert [h for h in ours + foreign if re.search(pattern[2:], h, re.IGNORECASE)] == ours


def test_a_name_that_leads_elsewhere_is_no_target(http_with: Callable[..., Directive]) -> None:
    http = http_with(stack_bind_address="192.0.2.7")
    assert rows(map_to(http, "$redirect_host"))["default"] == "192.0.2.7"
    http = http_with(nginx_server_names=["::1"])
    assert rows(map_to(http, "$redirect_host"))["default"] == "[::1]"


def test_a_name_twice_is_one_name(http_with: Callable[..., Directive]) -> None:
    http = http_with(stack_hostnames=["localhost", "LOCALHOST"], stack_addresses=["::1", "::1"])
    (server,) = [s for s in servers_on(http, "443") if s.all("proxy_pass")]
    assert server.only("server_name").args == ("localhost", "[::1]")


def test_nothing_is_proxied_over_a_connection_for_a_foreign_name(http: Directive) -> None:
    assert rows(map_to(http, "$foreign_sni")) == {
        "hostnames": "",
        "default": "1",
        "": "0",
        "localhost": "0",
        "127.0.0.1": "0",
        "::1": "0",
    }
    proxied = proxied_locations(http)
    assert len(proxied) == 6
    for location in proxied:
        (branch,) = [b for b in location.own("if") if b.args == ("($foreign_sni)",)]
        assert branch.only("return").args == ("421",)


# ---- maintenance --------------------------------------------------------------------------------


def test_whatever_goes_to_a_replica_looks_for_maintenance(http: Directive) -> None:
    proxied = [d for d in proxied_locations(http) if d not in asks_prometheus(http)]
    assert len(proxied) == 3
    for location in proxied:
        (branch,) = [b for b in location.own("if") if b.args[0] == "(-f"]
        # The file that the stack's command makes, as the gateway sees it.
        assert branch.args == ("(-f", "/etc/gateway/maintenance)")
        assert branch.only("rewrite").args == ("^", "/_maintenance", "last")


def test_maintenance_is_503_in_json_and_says_when_to_come_again(gateway: Directive) -> None:
    location = gateway.location("=", "/_maintenance")
    assert location.own("internal")
    status, body = location.only("return").args
    assert status == "503"
    assert json.loads(body.replace("\\n", ""))["error"] == "maintenance"
    assert ("Retry-After", "60", "always") in [d.args for d in location.own("add_header")]


# ---- TLS ----------------------------------------------------------------------------------------


def test_http_2_is_spoken_over_tls_only(http: Directive) -> None:
    assert not http.own("http2")
    for server in http.own("server"):
        with_tls = all("ssl" in listen.args for listen in server.own("listen"))
        assert [d.args for d in server.own("http2")] == ([("on",)] if with_tls else []), server


def test_tls_is_1_2_and_1_3_and_nothing_else(http: Directive) -> None:
    (protocols,) = http.all("ssl_protocols")
    assert protocols.args == ("TLSv1.2", "TLSv1.3")


def test_ciphers_have_forward_secrecy_and_aead(http: Directive) -> None:
    for cipher in http.only("ssl_ciphers").args[0].split(":"):
        assert re.fullmatch(r"ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM|CHACHA20)-\w+", cipher)


def test_hsts_is_off_and_never_said_over_plain_http(
    http: Directive, http_with: Callable[..., Directive]
) -> None:
    assert rows(map_to(http, "$hsts")) == {"default": ""}
    switched_on = http_with(nginx_hsts_seconds=63072000)
    said = map_to(switched_on, "$hsts")
    assert said.args[0] == "$https"
    assert rows(said) == {"default": "", "on": "max-age=63072000"}
    # A block with headers of its own inherits none.
    for server in servers_on(switched_on, "443"):
        for block in [server, *server.own("location")]:
            headers = [d.args for d in block.own("add_header")]
            assert not headers or ("Strict-Transport-Security", "$hsts", "always") in headers


def test_there_are_no_session_tickets(http: Directive) -> None:
    assert [d.args for d in http.all("ssl_session_tickets")] == [("off",)]


def test_every_listener_on_443_is_tls(http: Directive) -> None:
    for server in servers_on(http, "443"):
        assert all("ssl" in listen.args for listen in server.own("listen"))


def test_the_version_of_the_server_is_hidden(http: Directive) -> None:
    assert [d.args for d in http.all("server_tokens")] == [("off",)]


# ---- log ----------------------------------------------------------------------------------------


def log_format(http: Directive) -> tuple[str, ...]:
    return http.only("log_format").args


def test_log_is_one_json_object_a_request(http: Directive) -> None:
    name, escape, *parts = log_format(http)
    assert (name, escape) == ("json", "escape=json")
    entry = json.loads("".join(parts))
    assert {"time", "request_id", "client", "status", "service", "replica"} <= set(entry)


def test_log_is_written_in_blocks_and_soon(http: Directive) -> None:
    assert http.only("access_log").args == (
        "/var/log/gateway/access.log",
        "json",
        "buffer=64k",
        "flush=1s",
    )


@pytest.mark.parametrize(
    "variable",
    (
        "request_body args query_string request request_uri http_authorization http_cookie"
        " remote_passwd"
    ).split(),
)
def test_log_holds_no_sentence_query_or_password(http: Directive, variable: str) -> None:
    assert not re.search(rf"\${variable}\b", "".join(log_format(http)))


def test_logged_path_ends_before_the_query(http: Directive) -> None:
    path = map_to(http, "$logged_path")
    ((pattern, value),) = rows(path).items()
    assert value == "$path"
    found = re.match(pattern.removeprefix("~").replace("(?<", "(?P<"), "/predict?sentence=secret")
    assert found
    assert found["path"] == "/predict"


# ---- private listener ---------------------------------------------------------------------------


def private(http: Directive) -> Directive:
    (server,) = servers_on(http, "8081")
    return server


def test_the_private_listener_has_no_limit(http: Directive) -> None:
    # Its clients are the health check and the exporter: a 429 would look like an outage.
    assert not private(http).all("limit_req")
    assert not http.own("limit_req")


def test_status_is_for_the_exporter_only(http: Directive) -> None:
    status = private(http).location("=", "/nginx_status")
    assert status.own("stub_status")
    rules = [str(d) for d in status.block if d.name in ("allow", "deny")]
    assert rules == ["allow 127.0.0.1", "allow 172.28.10.5", "deny all"]


def test_a_replica_by_its_name_is_for_this_machine_only(http: Directive) -> None:
    places = [at for at in private(http).own("location") if at.own("proxy_pass")]
    assert {at.args: at.only("proxy_pass").args for at in places} == {
        ("=", "/replicas/v1-1/predict"): ("http://172.28.10.21:8000/predict",),
        ("=", "/replicas/v1-2/predict"): ("http://172.28.10.22:8000/predict",),
        ("=", "/replicas/v1-3/predict"): ("http://172.28.10.23:8000/predict",),
        ("=", "/replicas/v2-1/predict"): ("http://172.28.10.41:8000/predict",),
    }
    for place in places:
        rules = [str(d) for d in place.block if d.name in ("allow", "deny")]
        # The machine's own address in the stack's network.
        assert rules == ["allow 172.28.10.1", "deny all"]


def test_status_stands_nowhere_else(http: Directive) -> None:
    assert http.all("stub_status") == private(http).all("stub_status")


def test_version_tells_the_hash_of_the_configuration(http: Directive) -> None:
    assert rows(map_to(http, "$config_version")) == {"default": render.NGINX_VERSION}
    _, body = private(http).location("=", "/version").only("return").args
    assert json.loads(body.replace("\\n", "")) == {"version": "$config_version"}


# ---- rest ---------------------------------------------------------------------------------------


def test_only_tmp_is_written_to(files: dict[str, str], http: Directive) -> None:
    assert "pid /tmp/nginx.pid;" in files["nginx.conf"]
    temp = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    for name in temp:
        assert http.only(f"{name}_temp_path").args[0].startswith("/tmp/")
