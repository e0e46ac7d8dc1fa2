"""The keys of a configuration as fields of dataclasses: what their values can be."""

import dataclasses
import math
import struct
from collections.abc import Callable
from typing import Any

Rule = Callable[[float], str | None]  #: of a number, what it must be; None where it is so


def among(*choices: str) -> Any:
    """A key whose value is one of these; the first is the default."""
    return dataclasses.field(default=choices[0], metadata={"choices": choices})


def choice(*choices: str) -> Any:
    """A key whose value is one of these, which every configuration sets."""
    return dataclasses.field(metadata={"choices": choices})


def key(rule: Rule | None = None, default: Any = dataclasses.MISSING) -> Any:
    """A key whose value follows a rule, if there is one; without a default every configuration sets it."""
    return dataclasses.field(default=default, metadata={"rule": rule})


def positive(value: float) -> str | None:
    """Above 0 and finite, as a float32 too."""
    return _in_float32(value) if 0 < value < math.inf else "it must be above 0 and finite"


def not_negative(value: float) -> str | None:
    """0 or above, and finite, as a float32 too."""
    return _in_float32(value) if 0 <= value < math.inf else "it must not be negative, and finite"


def _in_float32(value):
    low = as_float32(value)
    return None if 0 < low < math.inf or value == 0 else f"as a float32 it is {low}"


def share(value: float) -> str | None:
    """From 0 to 1."""
    return None if 0 <= value <= 1 else "a share, from 0 to 1"


def below_one(value: float) -> str | None:
    """At least 0 and below 1, as a float32 too."""
    if not 0 <= value < 1:
        return "it must be at least 0 and below 1"
    return "as a float32 it is 1; it must be below 1: .9999999 is" if as_float32(value) == 1 else None


def within(value: float) -> str | None:
    """Above 0 and below 1."""
    return None if 0 < value < 1 else "it must be above 0 and below 1"


def seed(value: float) -> str | None:
    """A whole number that 32 bits hold."""
    return None if 0 <= value < 2**32 else "it must be below 2^32, and not negative"


def as_float32(value: float) -> float:
    """The value as a float32 holds it."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf


def default(kind: type, name: str) -> Any:
    """The default of a key of a dataclass."""
    return next(f.default for f in dataclasses.fields(kind) if f.name == name)
