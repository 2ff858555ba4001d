"""Names and addresses of the gateway: pure functions on facts and variables.

Which addresses of the machine belong in the certificate, which name leads to the published address,
and which names of an inventory cannot be served.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Interfaces that come and go with a VPN, a virtual machine or a container network. Many of them
# have the type of an Ethernet card; then only the name tells.
TRANSIENT = re.compile(
    r"(br-|cali|cilium|cni|docker|dummy|flannel|ifb|kube|lxc|lxd|nordlynx|podman|tailscale|tap|"
    r"tun|veth|virbr|vboxnet|vmnet|vnet|wg|zt)"
)
# As Ansible's facts name them. WireGuard's and OpenVPN's are of the type tunnel.
LASTING_TYPES = ("ether", "infiniband", "bonding")

LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOSTNAME = re.compile(rf"(\*\.{LABEL}\.)?{LABEL}(\.{LABEL})*")
# What DNS allows.
LONGEST_HOSTNAME = 253


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def machine_addresses(facts: Mapping[str, Any]) -> list[str]:
    """Return the machine's own lasting IPv4 addresses, sorted.

    These are all addresses, secondary ones included, of its network cards and bonds, and of the
    bridge that has the default route, if one has. Addresses of Docker's bridges, of VPNs and the
    like are left out: each time one came or went, the certificate would be signed again.

    Args:
        facts: `ansible_facts` with the subset `network`.
    """
    main = facts.get("default_ipv4", {}).get("interface")
    found: set[str] = set()
    for interface in facts.get("interfaces", []):
        # Facts write underscores; eth0:1 is a label of the interface eth0.
        entry = facts.get(interface.replace("-", "_"), {})
        device = interface.partition(":")[0]
        kind = facts.get(device.replace("-", "_"), {}).get("type", "unknown")
        lasting = kind in LASTING_TYPES and not TRANSIENT.match(device)
        if not lasting and not (kind == "bridge" and device == main):
            continue
        every = [entry.get("ipv4", {}), *entry.get("ipv4_secondaries", [])]
        found |= {one["address"] for one in every if "address" in one}
    own = [address for address in found if not ipaddress.ip_address(address).is_link_local]
    return sorted(own)


def published_address(bind_address: str) -> str:
    """Return the address at which the machine itself reaches a port published on `bind_address`."""
    every = bind_address == "0.0.0.0"  # noqa: S104 # nothing is bound here
    return "127.0.0.1" if every else bind_address


def gateway_name(names: Iterable[str], published: str, stack: str) -> str:
    """Return the name of the certificate by which the gateway is asked, and redirects lead to it.

    The first host name, but for a `localhost` that does not lead to the published address; without
    one that address, where it is among the names. A wildcard is filled with the stack's name.

    Args:
        names: host names and addresses of the certificate, in the order of the inventory.
        published: the address of the gateway's ports, as `published_address` returns it.
        stack: the stack's name, a valid label of DNS.
    """
    names = [stack + name[1:] if name.startswith("*.") else name for name in names]
    misleading = "" if published == "127.0.0.1" else "localhost"
    leading = [name for name in names if not _is_address(name) and name != misleading]
    return [*leading, *(name for name in names if name == published), *names][0]


def client_address(name: str, published: str) -> str:
    """Return the address that a client needs beside the name, or "" where the name leads there.

    Whether DNS knows a host name is not asked: the answer may differ from client to client.
    """
    known = {published, "localhost" if published == "127.0.0.1" else published}
    return "" if name in known else published


def in_url(name: str) -> str:
    """Return the name as it stands in a URL and in Nginx' server_name: IPv6 in brackets."""
    return f"[{name}]" if ":" in name else name


def unusable_names(names: Iterable[str]) -> list[str]:
    """Return what is neither a host name nor a wildcard such as `*.example.org`."""
    return [
        name
        for name in map(str, names)
        if not HOSTNAME.fullmatch(name) or len(name) > LONGEST_HOSTNAME or _is_address(name)
    ]


def unusable_addresses(addresses: Iterable[str]) -> list[str]:
    """Return what is no IP address."""
    return [address for address in map(str, addresses) if not _is_address(address)]


def not_covered(names: Iterable[str], certificate: Iterable[str]) -> list[str]:
    """Return the names and addresses that a certificate's alternative names do not cover.

    A wildcard stands for one label, as clients read it (RFC 6125, 6.4.3), and covers itself.

    Args:
        names: what clients are to use.
        certificate: DNS names and addresses of the certificate, without `DNS:` or `IP Address:`.
    """
    held = {_plain(name) for name in certificate}
    return [
        name
        for name in names
        if _plain(name) not in held
        and (_is_address(name) or "*." + _plain(name).partition(".")[2] not in held)
    ]


def _plain(name: str) -> str:
    """Return one spelling of a name or an address (of IPv6 there are many)."""
    return str(ipaddress.ip_address(name)) if _is_address(name) else name.lower()


class FilterModule:
    """Makes them filters of Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "machine_addresses": machine_addresses,
            "published_address": published_address,
            "gateway_name": gateway_name,
            "client_address": client_address,
            "in_url": in_url,
            "unusable_names": unusable_names,
            "unusable_addresses": unusable_addresses,
            "not_covered": not_covered,
        }
