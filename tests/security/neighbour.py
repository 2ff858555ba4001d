"""A machine beside this one, with thousands of addresses: a network namespace of the tests' own.

The gateway's budget is one for each client address, and clients on loopback all look like one. So
tests that ask a lot come from here, each connection from an address with a whole budget.
"""

import ctypes
import os
import random
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from itertools import cycle
from threading import Lock

CLONE_NEWNET = 0x40000000
# os.setns is there from Python 3.12 on.
_libc = ctypes.CDLL(None, use_errno=True)


class CannotMake(Exception):
    """This machine, or this user, cannot make network namespaces."""


def _ip(*arguments: str) -> str:
    try:
        done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotMake("no ip command on this machine") from error
    except subprocess.CalledProcessError as error:
        raise CannotMake(f"ip {' '.join(arguments)}: {error.stderr.strip()}") from error
    return done.stdout


class Neighbour:
    """Opens sockets in the namespace; the threads that use them stay outside."""

    def __init__(self, name: str, gateway: str, addresses: Iterator[str]) -> None:
        self.name = name
        self._addresses = addresses
        self._lock = Lock()
        # This machine, as the neighbour sees it.
        self.gateway = gateway

    def address(self) -> str:
        """Return an address whose budget is whole: none is used again before 4,000 others."""
        with self._lock:
            return next(self._addresses)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Enter the namespace with this thread: a socket stays where it was made."""
        with (
            open(f"/run/netns/{self.name}") as theirs,
            open("/proc/thread-self/ns/net") as ours,
        ):
            _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())

    def socket(self, source: str | None = None) -> socket.socket:
        """Open a TCP socket that sends from the given address, or from a new one."""
        with self.inside():
            made = socket.socket()
        try:
            made.bind((source or self.address(), 0))
        except OSError:
            made.close()
            raise
        return made


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


@contextmanager
def neighbour() -> Iterator[Neighbour]:
    """Make the namespace, and remove it whatever happens.

    Raises:
        CannotMake: with the reason.
    """
    # Thousands of sockets at once; a shell usually allows 1,024.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The range kept for tests of networks (RFC 2544), a part that no other test holds now.
    routes = _ip("route")
    free = [number for number in range(16) if f"198.19.{16 * number}.0/20" not in routes]
    if not free:
        raise CannotMake("every part of 198.19.0.0/16 is routed here")
    number = random.choice(free)
    tag = f"{number:x}{random.randrange(16**5):05x}"
    link = IPv4Network(f"198.18.{16 * number}.0/30")
    pool = IPv4Network(f"198.19.{16 * number}.0/20")
    host, guest = (str(address) for address in link.hosts())
    # Named as the engine names its own, so that a run leaves its address out of the certificate.
    name, ours, theirs = f"sec{tag}", f"vethh{tag}", f"vethg{tag}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        _ip("address", "add", f"{host}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("route", "add", str(pool), "via", guest)
        inside = ("-n", name)
        _ip(*inside, "address", "add", f"{guest}/30", "dev", theirs)
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "link", "set", theirs, "up")
        _ip(*inside, "route", "add", "default", "via", host)
        # The whole pool is the neighbour's own, without naming each address.
        _ip(*inside, "route", "add", "local", str(pool), "dev", "lo")
        yield Neighbour(name, host, cycle(map(str, pool.hosts())))
    finally:
        # The pair of interfaces and the routes go with it.
        for what in (("link", "delete", ours), ("netns", "delete", name)):
            subprocess.run(["ip", *what], check=False, capture_output=True)
