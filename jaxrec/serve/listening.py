"""The address that a service listens on, with one process or several."""

import contextlib
import socket
import sys
from collections.abc import Iterator

from jaxrec.system.errors import UserError

LAST_PORT = 65535
#: whether the system divides the connections of a port among the sockets that listen there
DIVIDES = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket bound to this address, not yet listening.

    Raises:
        UserError: if the address is in use or invalid.
    """
    if not 0 <= port <= LAST_PORT:
        raise UserError(f"--port {port}: a port is a number from 0 to {LAST_PORT}")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, UnicodeError) as error:
        raise UserError(f"can't listen on {host}:{port}: {error}; name another --host or --port") from error
    return listening


def address(listening: socket.socket) -> str:
    """Returns http://host:port of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Port:
    """An address where several processes listen. It is kept for them while this object is open.

    On Linux each process has a socket of its own (SO_REUSEPORT), and the system divides the connections among them; if
    a process ends, the others get all connections. On other systems the processes share one socket.
    """

    def __init__(self, host: str, port: int):
        """Takes the address.

        Raises:
            UserError: if it is invalid, or in use, even by sockets that would share it.
        """
        # bound without SO_REUSEPORT, so that other sockets with that option are refused; it never listens
        self._kept = bind(host, port)
        self._sign = None
        if DIVIDES:
            with self._or_closed():
                self._sign = _sign(self._kept, f"{host}:{port}")
                self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def socket(self) -> socket.socket:
        """Returns a socket for one process, not yet listening."""
        if not DIVIDES:
            return self._kept.dup()
        own = socket.socket(self._kept.family, self._kept.type)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            own.setsockopt(socket.SOL_SOCKET, option, 1)
        own.bind(self._kept.getsockname())
        return own

    def close(self) -> None:
        """Leaves the address."""
        self._kept.close()
        if self._sign:
            self._sign.close()

    @contextlib.contextmanager
    def _or_closed(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def _sign(kept, name):
    """Returns a socket with a name that only one service can have, to notice one that starts and doesn't listen yet."""
    sign = socket.socket(socket.AF_UNIX)
    try:
        sign.bind(f"\0jaxrec serve {address(kept)}")
    except OSError as error:
        sign.close()
        raise UserError(
            f"can't listen on {name}: another service is starting there; name another --host or --port"
        ) from error
    return sign
