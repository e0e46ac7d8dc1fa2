"""Distinguishes the kinds of numbers in a column of times: their units, and small numbers that are days."""

from collections.abc import Callable

import numpy as np
import polars as pl

from jaxrec.data.values import digits

RELATIVE = 1e8  # numbers below it (in seconds, March 1973) count from an unknown moment
UNITS = {  # exclusive upper bound of a number -> its unit, and microseconds per unit
    1e11: ("seconds", 1_000_000),
    1e14: ("milliseconds", 1_000),
    1e17: ("microseconds", 1),
    2.0**63: ("nanoseconds", 0.001),
}
SERIALS = 20_000, 80_000  # how workbooks number the days from 1954 to 2119
FEW = 0.05  # maximum share of small numbers that may be damaged times rather than days


class Units:
    """Keeps the first number of each kind, batch by batch. Zeros, which mean missing times, are ignored."""

    def __init__(self):
        self._first: dict[str, tuple[float, str]] = {}  # kind -> its first number, and the place of that
        self._small = {"days": True, "serials": True}  # whether all small numbers are of this kind
        self._rows = self._smalls = 0

    def add(self, values: np.ndarray, place: Callable[[int], str]) -> None:
        """Adds numbers [n]. `place`: index -> place of the row, for messages."""
        least, most, low = values.min(), values.max(), RELATIVE
        self._rows += len(values)
        for bound, (unit, _) in UNITS.items():
            if unit not in self._first and least < bound and most >= low:
                self._keep(unit, values, (values >= low) & (values < bound), place)
            low = bound
        if least >= RELATIVE or not any(self._small.values()):
            return
        is_small = (values > 0) & (values < RELATIVE)
        if "small" not in self._first:
            self._keep("small", values, is_small, place)
        small = values[is_small]
        self._smalls += len(small)
        self._small["serials"] &= bool(((small >= SERIALS[0]) & (small < SERIALS[1])).all())
        self._small["days"] = self._small["days"] and not digits.days(pl.Series(small)).null_count()

    def _keep(self, kind: str, values: np.ndarray, of_kind: np.ndarray, place: Callable[[int], str]) -> None:
        if of_kind.any():
            at = int(of_kind.argmax())
            self._first[kind] = float(values[at]), place(at)

    def clash(self, name: str) -> str:
        """Returns which two kinds of numbers a column of times mixes, and the cure; "" if all are of one kind."""
        said = {unit: f"in {unit}" for _, (unit, _) in UNITS.items() if unit in self._first}
        if said and self._smalls > FEW * self._rows:
            kinds = {"days": "a day", "serials": "a day as workbooks number them,"}
            small = [what for kind, what in kinds.items() if self._small[kind]]
            said = ({"small": small[0]} if small else {}) | said
        if len(said) < 2:
            return ""
        (one, what), *_, (other, unit) = said.items()
        return (
            f"{name} is {what} in one row ({self._shown(one)}) and {unit} in another ({self._shown(other)}): "
            f"write all in one {'form' if one == 'small' else 'unit'}"
        )

    def _shown(self, kind: str) -> str:
        value, place = self._first[kind]
        return f"{value:.0f}, {place}" if place else f"{value:.0f}"


def unit_of(value: float) -> tuple[str, float]:
    """Returns the unit of a number, judged by its size, and the microseconds per unit."""
    return next(unit for bound, unit in UNITS.items() if value < bound)
