"""Printing for people, without markup, control characters or overlong lines."""

import importlib.util
import io
import unicodedata
from collections.abc import Callable
from typing import Any

from rich.console import Console

LINE = 2_000  # maximum characters of a line
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode categories: controls, directions, surrogates, line ends
WIDTH = 110  # characters per line in a notebook
PAGE = '<pre style="font-family: monospace; line-height: 1.2; overflow-x: auto">{code}</pre>'  # HTML template
JOINERS = "\u200c\u200d"  # in category Cf, but parts of words and emoji


quiet = False  #: whether nothing is printed, as in all processes of a job but the first


class _Console(Console):
    def on_broken_pipe(self):
        """Raises; rich would exit silently with status 1."""
        raise BrokenPipeError


def make(**options: Any) -> Console:
    """Returns a Console that prints text literally, without markup such as [bold] and :smile:."""
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    plain["quiet"] = quiet and "file" not in options
    return _Console(**plain | options)


def can_show_bars(console: Console) -> bool:
    """Returns whether a progress bar works: in a terminal, or in a notebook with ipywidgets."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


def as_text(show: Callable[[Console], None], width: int = WIDTH) -> str:
    """Returns the output of `show` as plain text."""
    text = io.StringIO()
    show(make(file=text, width=width, force_terminal=False, force_jupyter=False, no_color=True))
    return text.getvalue().rstrip("\n")


def as_html(show: Callable[[Console], None], width: int = WIDTH) -> str:
    """Returns the output of `show` as HTML, for a notebook."""
    console = make(file=io.StringIO(), width=width, record=True, force_jupyter=False)
    show(console)
    return console.export_html(inline_styles=True, code_format=PAGE)


def printable(text: str, most: int = LINE) -> str:
    r"""Escapes characters that a terminal would obey or hide, and shortens long lines.

    >>> printable("a\x1b[31mb\tc")
    'a\\x1b[31mb\tc'
    >>> printable("abcdef", most=3)
    'abc ... (3 more characters)'
    """
    return "\n".join(_cut(_shown(line), most) for line in text.split("\n"))


def _shown(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    return "".join(_escaped(char) if _is_hidden(char) else char for char in line)


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in HIDDEN and char != "\t" and char not in JOINERS


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else f"{line[:most]} ... ({len(line) - most:,} more characters)"
