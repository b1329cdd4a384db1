"""Which addresses a client may have us dial, judged by the number that a socket connects to.

The special-purpose registries of IANA change more slowly than the lists of clouds; both are below
with what they are for.  An IPv6 address that stands for an IPv4 one is judged as that one too.
"""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Where machines in clouds ask who they are, and what is on the same wire.  No setting opens these.
# Read 2026-11-29: AWS (IMDS, ECS, EKS Pod Identity), Google, Azure (WireServer), Oracle, Alibaba,
# Tencent and OpenStack, each in its pages on instance metadata.
_NEVER = _networks(
    "169.254.0.0/16",  # link-local: AWS, Google, Azure, Oracle, OpenStack, Tencent, DigitalOcean
    "168.63.129.16/32",  # Azure's WireServer
    "192.0.0.192/32",  # Oracle, the older one
    "100.100.100.200/32",  # Alibaba
    "fd00:ec2::/32",  # AWS: IMDS is ::254, ECS and EKS are ::23
    "fd20:ce::254/128",  # Google
    "fd00:c1::a9fe:a9fe/128",  # Oracle
    "fe80::/10",  # link-local: OpenStack is fe80::a9fe:a9fe
    "fec0::/10",  # site-local, deprecated and still routed in places
    "224.0.0.0/4",
    "ff00::/8",
    "0.0.0.0/8",
    "::/128",
    "255.255.255.255/32",
)
# Not of the open internet, whatever `is_global` says of some: RFC 6890 and its registries.
_NOT_PUBLIC = _networks(
    "192.0.0.0/24",  # protocol assignments
    "192.88.99.0/24",  # relays of 6to4, deprecated
    "2001::/23",  # protocol assignments, Teredo among them
    "2001:db8::/32",
    "3fff::/20",  # documentation
    "2002::/16",  # 6to4: what it leads to is judged, and nothing needs it
)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LAST_32 = (1 << 32) - 1
# IPv4 in the last 32 bits, in one form or another.
_EMBEDDING = _networks("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(address: str) -> bool:
    """Whether the address is one of the open internet, seen through IPv6's disguises."""
    found = _parsed(address)
    if found is None or _is_in(found, _NEVER):
        return False
    inner = _embedded(found)
    if inner is not None and not is_public(str(inner)):
        return False
    if isinstance(found, ipaddress.IPv6Address) and found not in _GLOBAL_UNICAST:
        # A mapped address is dialled as the one in it, and NAT64 is how some networks reach IPv4.
        return inner is not None and (found.ipv4_mapped is not None or found in _NAT64)
    return found.is_global and not found.is_reserved and not _is_in(found, _NOT_PUBLIC)


def is_never_dialled(address: str) -> bool:
    """Whether no setting lets a client have us dial the address; what is not an address is none."""
    found = _parsed(address)
    if found is None:
        return True
    inner = _embedded(found)
    is_loopback = found == ipaddress.IPv6Address(1)
    if inner is not None and not is_loopback and _is_in(inner, _NEVER):
        return True
    return _is_in(found, _NEVER) or any(_is_in(each, _NEVER) for each in _by_prefix(found))


def _parsed(address: str) -> Address | None:
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    number = int(address)
    if address.teredo is not None:
        return address.teredo[1]
    if address.sixtofour is not None:
        return address.sixtofour
    is_isatap = number >> 32 & _LAST_32 in _ISATAP
    if is_isatap or address in _LOCAL_NAT64 or _is_in(address, _EMBEDDING):
        return ipaddress.IPv4Address(number & _LAST_32)
    return None


def _by_prefix(address: Address) -> list[ipaddress.IPv4Address]:
    """The addresses that a network's own NAT64 may lead to: prefixes have 48, 56 or 64 bits, too.

    RFC 6052 leaves bits 64 to 71 out.  What would begin with 0 is no such reading.
    """
    if address not in _LOCAL_NAT64:
        return []
    octets = address.packed
    readings = (octets[6:8] + octets[9:11], octets[7:8] + octets[9:12], octets[9:13])
    return [ipaddress.IPv4Address(each) for each in readings if each[0]]


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
