"""Adds notes to error messages that name command-line flags: the equivalent Python keywords."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from jaxrec.system.errors import UserError

FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*)(?![\w.-])")
P = ParamSpec("P")
T = TypeVar("T")


def with_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Wraps a function so that its UserErrors that name command flags get a note with the equivalent keywords.

    >>> @with_keywords
    ... def refuse():
    ...     raise UserError("take the order of the file, --time none, or say --time-format")
    >>> try:
    ...     refuse()
    ... except UserError as error:
    ...     print(*error.__notes__)
    From Python: --time is time=…, --time-format is time_format=…
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            flags = dict.fromkeys(FLAG.findall(str(error)))
            if flags and not hasattr(error, "__notes__"):
                named = {flag: f"{KEYWORDS.get(flag, flag.replace('-', '_'))}=" for flag in flags}
                said = [f"--{flag} is {keyword}…" for flag, keyword in named.items() if keyword not in str(error)]
                if said:
                    error.add_note(f"From Python: {', '.join(said)}")
            raise

    return wrapped


KEYWORDS = {"dataset": "data"}  #: flag -> its keyword, if the names differ
