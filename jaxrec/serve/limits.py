"""Limits on the size, number and duration of requests, set by `--limit NAME=VALUE`."""

import dataclasses
import resource
from collections.abc import Sequence

from jaxrec.system.errors import UserError

MOST = 1024  # maximum default number of connections
ENDLESS = 1 << 31  # upper bound of all limits
RESERVE = 96  # file descriptors for other purposes: libraries, checkpoints, events, rejected clients


def _connections():
    """Returns the default number of connections, which leaves RESERVE descriptors, or half of all."""
    allowed = descriptors()
    return max(1, min(MOST, max(allowed - RESERVE, allowed // 2)))


def descriptors() -> int:
    """Returns the maximum number of open files and sockets of the process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the service, all positive."""

    history: int = 1000  #: ids per history, and items per request to /events
    histories: int = 64  #: histories per request
    k: int = 200  #: items per answer
    ids: int = 10_000  #: candidates, or blocked ids, per request
    body: int = 1 << 20  #: bytes per body
    batch: int = 16  #: histories per model call
    queue: int = 256  #: histories waiting for the model; events waiting for the disk
    states: int = 10_000  #: histories whose states are kept, of models with a recurrent state
    deadline: float = 2.0  #: seconds from a request's head to its answer, including its body
    connections: int = dataclasses.field(default_factory=_connections)  #: open connections
    transfer: float = 10.0  #: seconds for a client to send a request's head, and to receive an answer
    idle: float = 50.0  #: seconds that a connection may be idle between requests


def parse(settings: Sequence[str]) -> Limits:
    """Parses ["NAME=VALUE", ...].

    Raises:
        UserError: if a limit doesn't exist, or its value is not a number or out of range.

    >>> parse(["k=50", "deadline=0.5"]).k
    50
    """
    values, usual = {}, dataclasses.asdict(Limits())
    kinds = {name: type(value) for name, value in usual.items()}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in kinds:
            raise UserError(f"--limit {setting}: no limit {name!r}: there are {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError:
            raise UserError(f"--limit {setting}: {text!r} is no number: write {name}={usual[name]}") from None
        if not 0 < values[name] < ENDLESS:
            raise UserError(f"--limit {setting}: a limit is above 0 and below 2^31: write {name}={usual[name]}")
    limits = Limits(**values)
    if limits.connections > max(descriptors() - RESERVE, _connections()):
        raise UserError(
            f"--limit connections={limits.connections} needs {limits.connections + RESERVE} descriptors, and this "
            f"process may have {descriptors()}: raise that by ulimit -n, or lower the limit"
        )
    if limits.histories > limits.queue:
        raise UserError(f"a request of {limits.histories} histories never fits a queue of {limits.queue}: raise queue")
    return limits
