"""What one request may ask for, how many may wait, and for how long: all that `--limit NAME=VALUE` can set."""

import dataclasses
import resource
from collections.abc import Sequence

from jaxrec.system.errors import UserError

MOST = 1024  # connections, if the process may have as many
ENDLESS = 1 << 31  # no limit at all: more bytes, ids or seconds than any request has
RESERVE = 96  # descriptors for all else: the libraries' own, checkpoints, events, and clients that are turned away


def _connections():
    """How many connections leave the process RESERVE descriptors, or half of those it may have."""
    allowed = descriptors()
    return max(1, min(MOST, max(allowed - RESERVE, allowed // 2)))


def descriptors() -> int:
    """How many files and sockets this process may hold open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


@dataclasses.dataclass(frozen=True)
class Limits:
    """Every field is a limit, at least 1."""

    history: int = 1000  #: ids of one history, and items of one request to /events
    histories: int = 64  #: in one request
    k: int = 200  #: items asked for
    ids: int = 10_000  #: of candidates, and of a block list
    body: int = 1 << 20  #: bytes
    batch: int = 16  #: histories that the model answers at once
    queue: int = 256  #: histories that wait for the model; events that wait for the disk
    deadline: float = 2.0  #: seconds from the head of a request to its answer, the body included
    connections: int = dataclasses.field(default_factory=_connections)  #: open at once
    transfer: float = 10.0  #: seconds that a client may take to send the head of a request, and to take an answer
    idle: float = 50.0  #: seconds that a connection is kept between requests


def parse(settings: Sequence[str]) -> Limits:
    """["NAME=VALUE", …] -> Limits.

    Raises:
        UserError: no such limit, no number, or one below 1 (the deadline: not above 0).

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
