"""Which names and addresses the gateway has, and by which one it is asked."""

from typing import Any

import pytest

from plugins.filter import names


def interface(kind: str, address: str = "", *secondaries: str) -> dict[str, Any]:
    """Describe an interface as Ansible's facts do."""
    found: dict[str, Any] = {"type": kind}
    if address:
        found["ipv4"] = {"address": address}
    if secondaries:
        found["ipv4_secondaries"] = [{"address": one} for one in secondaries]
    return found


def facts(main: str = "eth0", **interfaces: dict[str, Any]) -> dict[str, Any]:
    return {
        "default_ipv4": {"interface": main} if main else {},
        "interfaces": [name.replace("_", "-") for name in interfaces],
        **interfaces,
    }


ETH0 = interface("ether", "192.0.2.7")


def test_every_address_of_an_interface_counts() -> None:
    """Of the same network or of another one: facts hold both as secondaries."""
    eth0 = interface("ether", "192.0.2.7", "192.0.2.10", "198.51.100.3")
    assert names.machine_addresses(facts(eth0=eth0)) == ["192.0.2.10", "192.0.2.7", "198.51.100.3"]


def test_a_label_is_an_address_of_its_interface() -> None:
    found = facts(eth0=ETH0) | {"eth0:1": {"ipv4": {"address": "198.51.100.3"}}}
    found["interfaces"].append("eth0:1")
    assert names.machine_addresses(found) == ["192.0.2.7", "198.51.100.3"]


@pytest.mark.parametrize(
    "lasting",
    [
        {"eth1": interface("ether", "198.51.100.3")},
        {"bond0": interface("bonding", "198.51.100.3")},
        {"eth0.100": interface("ether", "198.51.100.3")},
        {"enp0s31f6": interface("ether", "198.51.100.3")},
    ],
    ids=lambda found: next(iter(found)),
)
def test_other_cards_count_too(lasting: dict[str, Any]) -> None:
    found = names.machine_addresses(facts(eth0=ETH0, **lasting))
    assert found == ["192.0.2.7", "198.51.100.3"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("docker0", "bridge"), ("br_0a1b2c3d4e5f", "bridge"), ("br_emotions", "bridge")),
        *(("virbr0", "bridge"), ("br7", "bridge"), ("vmnet8", "ether"), ("veth1a2b3c4", "ether")),
        *(("tun0", "tunnel"), ("wg0", "tunnel"), ("company", "tunnel"), ("tap0", "ether")),
        *(("ppp0", "ppp"), ("tailscale0", "tunnel"), ("ztabcdef", "ether"), ("lo", "loopback")),
        *(("cni0", "bridge"), ("flannel.1", "ether"), ("odd", "unknown")),
    ],
)
def test_what_comes_and_goes_changes_nothing(name: str, kind: str) -> None:
    interfaces = {"eth0": ETH0, name: interface(kind, "10.8.0.2", "10.8.0.3")}
    assert names.machine_addresses(facts("eth0", **interfaces)) == ["192.0.2.7"]


def test_a_vpn_that_takes_the_default_route_changes_nothing() -> None:
    found = facts("tun0", eth0=ETH0, tun0=interface("tunnel", "10.8.0.2"))
    assert names.machine_addresses(found) == ["192.0.2.7"]


@pytest.mark.parametrize("name", ["br0", "br_lan"])
def test_a_bridge_with_the_default_route_is_the_machines_own(name: str) -> None:
    interfaces = {name: interface("bridge", "192.0.2.7"), "eth0": interface("ether")}
    assert names.machine_addresses(facts(name.replace("_", "-"), **interfaces)) == ["192.0.2.7"]


def test_an_address_that_a_card_gave_itself_does_not_count() -> None:
    assert names.machine_addresses(facts("", eth0=interface("ether", "169.254.3.4"))) == []


def test_a_machine_without_facts_of_its_network_has_no_address() -> None:
    assert names.machine_addresses({}) == []


@pytest.mark.parametrize(
    ("bind", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("192.0.2.7", "192.0.2.7")],
)
def test_the_published_address_is_where_the_port_answers(bind: str, asked: str) -> None:
    assert names.published_address(bind) == asked


LOOPBACK = ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("given", "published", "name", "address"),
    [
        (["localhost", *LOOPBACK], "127.0.0.1", "localhost", ""),
        # `localhost` does not lead to it.
        (["localhost", *LOOPBACK, "192.0.2.7"], "192.0.2.7", "192.0.2.7", ""),
        (["localhost", *LOOPBACK, "127.0.0.5"], "127.0.0.5", "127.0.0.5", ""),
        (
            ["localhost", "api.example.org", "192.0.2.7"],
            *("192.0.2.7", "api.example.org", "192.0.2.7"),
        ),
        (["api.example.org", *LOOPBACK], "127.0.0.1", "api.example.org", "127.0.0.1"),
        (["*.example.org", *LOOPBACK], "127.0.0.1", "emotions.example.org", "127.0.0.1"),
        # There is nothing better.
        (["localhost", *LOOPBACK], "192.0.2.7", "localhost", "192.0.2.7"),
    ],
)
def test_the_gateway_is_asked_by_a_name_of_its_certificate(
    given: list[str], published: str, name: str, address: str
) -> None:
    assert names.gateway_name(given, published, "emotions") == name
    assert names.client_address(name, published) == address


LONG = ".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 60, "example"])


@pytest.mark.parametrize(
    "name",
    ["localhost", "api.example.org", "*.example.org", "xn--bcher-kva.example", "a_b.c", LONG],
)
def test_host_names_and_wildcards_can_be_served(name: str) -> None:
    assert names.unusable_names([name]) == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            " ",
            "*",
            "*.org",
            "a.*.org",
            "www*.example.org",
            "a b",
            "a;b",
            'a"b',
            "$host",
            "{a}",
        ),
        *("-a.org", "a-.org", "a..b", "a.", "https://a.org", "a.org:443", "192.0.2.7", "::1"),
        *("bücher.example", "a" * 64, LONG + ".example.org.and.more", "a\nb", "a\n"),
    ],
)
def test_other_text_is_no_host_name(name: str) -> None:
    assert names.unusable_names(["localhost", name]) == [name]


def test_addresses_are_addresses() -> None:
    given = ["192.0.2.7", "::1", "192.0.2.0/24", "localhost", "192.0.2.256", ""]
    assert names.unusable_addresses(given) == given[2:]


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ("api.example.org", "API.example.org"),
        ("api.example.org", "*.example.org"),
        ("*.example.org", "*.example.org"),
        ("::1", "0:0:0:0:0:0:0:1"),
    ],
)
def test_a_certificate_covers(wanted: str, held: str) -> None:
    assert names.not_covered([wanted], ["192.0.2.7", held]) == []


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ("a.b.example.org", "*.example.org"),
        ("example.org", "*.example.org"),
        ("*.example.org", "api.example.org"),
        ("192.0.2.7", "*.0.2.7"),
    ],
)
def test_a_certificate_does_not_cover(wanted: str, held: str) -> None:
    assert names.not_covered([wanted], [held]) == [wanted]
