"""Checks that requests are meant for this service, by the Host and Origin headers.

A page from another site can make a browser send requests here, and with DNS rebinding could read the answers too. The
headers tell which host the browser means, and which site the page is from.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([^\s:/?#@,\[\]]{1,255}))(?::(\d{0,5}))?", re.IGNORECASE | re.ASCII)
LOCAL = "localhost"
LONGEST = 600  # maximum bytes of Host and Origin


class Hosts:
    """The host names that a service accepts."""

    def __init__(self, listening: str = "127.0.0.1", allowed: Sequence[str] = ()):
        """Determines the accepted names.

        Args:
            listening: the host that the service listens on, accepted along with localhost and loopback addresses. If it
                is not a loopback address, all addresses are accepted, since only names can be rebound.
            allowed: further names, such as those of proxies.
        """
        listening = _plain(listening)
        address = _address(listening)
        self._any_address = not (address.is_loopback if address else listening == LOCAL)
        self._named = {_plain(name) for name in allowed}
        self._names = {LOCAL, listening, *self._named}
        self._judge = lru_cache(256)(self._judged)  # clients repeat the same headers

    def trouble(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str, str] | None:
        """Returns an error if the hosts of a request are not accepted.

        Args:
            headers: [(name in lower case, value), ...], bytes.

        Returns:
            (status, header, message), or None.
        """
        named = tuple((key, value) for key, value in headers if key in (b"host", b"origin"))
        if sum(len(value) for _, value in named) > LONGEST:
            return 400, "Host", f"Host and Origin together have over {LONGEST} bytes"
        return self._judge(named)

    def _judged(self, named):
        hosts, origins = ([value for key, value in named if key == name] for name in (b"host", b"origin"))
        if len(hosts) != 1 or not (host := _split(hosts[0])):
            return 400, "Host", "a request must name one host"
        if not self._is_own(host[0]):
            return 403, "Host", f"{host[0]!r} is no name of this service: start it with --allow-host {host[0]}"
        for origin in origins:
            site = _split(origin.partition(b"://")[2])
            if not site or (site != host and site[0] not in self._named):
                return 403, "Origin", "pages of other sites may not send requests: allow their host with --allow-host"
        return None

    def _is_own(self, name):
        address = _address(name)
        return name in self._names or bool(address and (self._any_address or address.is_loopback))


def _split(authority):
    """Splits host:port into host and port (as text); None if it is invalid."""
    found = AUTHORITY.fullmatch(authority.decode("latin-1"))
    return found and (_plain(found[1] or found[2]), found[3] or "")


def _plain(name):
    """Returns the canonical form of a name or address."""
    name = name.strip("[]").lower().removesuffix(".")
    return str(_address(name) or name)


def _address(name):
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
