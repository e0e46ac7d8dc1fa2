"""Dataclass fields for configuration keys, with their valid values."""

import dataclasses
import math
import struct
from collections.abc import Callable
from typing import Any

Rule = Callable[[float], str | None]  #: (value) -> what it must be; None if it is valid


def among(*choices: str) -> Any:
    """A key with one of these values; the first is the default."""
    return dataclasses.field(default=choices[0], metadata={"choices": choices})


def choice(*choices: str) -> Any:
    """A required key with one of these values."""
    return dataclasses.field(metadata={"choices": choices})


def key(rule: Rule | None = None, default: Any = dataclasses.MISSING) -> Any:
    """A key whose value satisfies a rule, if given; required without a default."""
    return dataclasses.field(default=default, metadata={"rule": rule})


def positive(value: float) -> str | None:
    """Above 0; finite, also as a float32."""
    return _in_float32(value) if 0 < value < math.inf else "it must be above 0 and finite"


def not_negative(value: float) -> str | None:
    """At least 0; finite, also as a float32."""
    return _in_float32(value) if 0 <= value < math.inf else "it must be at least 0 and finite"


def _in_float32(value):
    low = as_float32(value)
    return None if 0 < low < math.inf or value == 0 else f"as a float32 it is {low}"


def share(value: float) -> str | None:
    """From 0 to 1."""
    return None if 0 <= value <= 1 else "it must be a share, from 0 to 1"


def below_one(value: float) -> str | None:
    """At least 0 and below 1; also as a float32."""
    if not 0 <= value < 1:
        return "it must be at least 0 and below 1"
    return "as a float32 it is 1; it must be below 1: .9999999 is" if as_float32(value) == 1 else None


def within(value: float) -> str | None:
    """Above 0 and below 1."""
    return None if 0 < value < 1 else "it must be above 0 and below 1"


def seed(value: float) -> str | None:
    """From 0 to 2^32 - 1."""
    return None if 0 <= value < 2**32 else "it must be at least 0 and below 2^32"


def as_float32(value: float) -> float:
    """Returns the value rounded to float32."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf


def default(kind: type, name: str) -> Any:
    """Returns the default of a dataclass's key."""
    return next(f.default for f in dataclasses.fields(kind) if f.name == name)
