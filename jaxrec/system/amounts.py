"""Amounts of memory: as they are printed, and as people write them."""

import re

from jaxrec.system.errors import UserError

UNITS = {"": 1, "k": 10, "m": 20, "g": 30, "t": 40}  # prefix -> power of 2, of KiB, MiB, GiB, TiB
WRITTEN = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:([kmgt])(i?)b?|b)?\s*", re.IGNORECASE)


def in_words(amount: int) -> str:
    """Formats a number of bytes.

    >>> in_words(3 << 29), in_words(5 << 20)
    ('1.5 GiB', '5 MiB')
    """
    return f"{amount / (1 << 30):.1f} GiB" if amount >= 1 << 30 else f"{amount / (1 << 20):.0f} MiB"


def parse(text: str | int, flag: str) -> int:
    """Returns an amount of memory in bytes: from a number of bytes, or with a unit: 4GiB, 4GB (10^9) or 4G (4GiB).

    >>> parse("1.5GiB", "memory"), parse("2 MB", "memory"), parse("512M", "memory"), parse(4096, "memory")
    (1610612736, 2000000, 536870912, 4096)

    Raises:
        UserError: if it isn't an amount of memory, or is zero.
    """
    found = WRITTEN.fullmatch(str(text))
    if found is None or isinstance(text, bool):
        raise UserError(f"--{flag} {text}: no amount of memory: write it as 4GiB or 500MiB")
    number, prefix, binary = found.groups()
    power = UNITS[(prefix or "").lower()]
    decimal = prefix and not binary and found.group(0).strip().lower().endswith("b")
    amount = int(float(number) * (10 ** (3 * power // 10) if decimal else 1 << power if prefix else 1))
    if amount < 1:
        raise UserError(f"--{flag} {text}: no memory at all: write it as 4GiB or 500MiB")
    return amount
