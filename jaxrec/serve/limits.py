"""What one request may ask for, and how many may wait: all that `--limit NAME=VALUE` can set."""

import dataclasses

from jaxrec.errors import UserError


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
    deadline: float = 2.0  #: seconds from the first byte of a request to its answer


def parse(settings):
    """["NAME=VALUE", …] -> Limits.

    Raises:
        UserError: no such limit, no number, or one below 1 (the deadline: not above 0).
    """
    kinds = {field.name: field.type for field in dataclasses.fields(Limits)}
    values = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in kinds:
            raise UserError(f"--limit {setting}: no limit {name!r}: there are {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError:
            raise UserError(f"--limit {setting}: {text!r} is no number: write {name}={getattr(Limits, name)}") from None
        if not (0 < values[name] < float("inf")):
            raise UserError(f"--limit {setting}: a limit is above 0 and finite: write {name}={getattr(Limits, name)}")
    limits = Limits(**values)
    if limits.histories > limits.queue:
        raise UserError(f"a request of {limits.histories} histories never fits a queue of {limits.queue}: raise queue")
    return limits
