"""What is printed for people: never as markup, never a control character, never a line without an end."""

import importlib.util
import io
import unicodedata
from collections.abc import Callable
from typing import Any

from rich.console import Console

LINE = 2_000  # characters of a line that are shown
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of Unicode: controls, directions, surrogates, ends of lines
WIDTH = 110  # characters of a line in a notebook
PAGE = '<pre style="font-family: monospace; line-height: 1.2; overflow-x: auto">{code}</pre>'  # of HTML
JOINERS = "\u200c\u200d"  # of category Cf, but parts of words and emoji


class _Console(Console):
    def on_broken_pipe(self):
        """Rich would end the process with status 1, and no word."""
        raise BrokenPipeError


def make(**options: Any) -> Console:
    """A Console that takes text as it stands: what lies in brackets is no style, and :smile: no emoji."""
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    return _Console(**plain | options)


def can_show_bars(console: Console) -> bool:
    """Whether a bar of progress moves there: in a terminal, and in a notebook that has ipywidgets."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


def as_text(show: Callable[[Console], None], width: int = WIDTH) -> str:
    """What `show` prints, as plain text."""
    text = io.StringIO()
    show(make(file=text, width=width, force_terminal=False, force_jupyter=False, no_color=True))
    return text.getvalue().rstrip("\n")


def as_html(show: Callable[[Console], None], width: int = WIDTH) -> str:
    """What `show` prints, as HTML for a notebook."""
    console = make(file=io.StringIO(), width=width, record=True, force_jupyter=False)
    show(console)
    return console.export_html(inline_styles=True, code_format=PAGE)


def printable(text: str, most: int = LINE) -> str:
    r"""A text with every character shown that a terminal would obey or hide, and long lines cut.

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
