"""What README and docs print for people to run: commands and blocks of Python, in order."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = r"(python|pip|jaxrec|curl|bash) |JAXREC_\w+=\S+ "  # inline code that begins like this is a command


class Printed(NamedTuple):
    """One command, or one block of Python."""

    page: str
    line: int
    kind: str  #: "command" or "python"
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def on(page: Path) -> list[Printed]:
    """Returns all that a page prints to run. Raises ValueError for a fenced block in a language that no test runs."""
    found, text = [], page.read_text()
    fenced = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for block in fenced:
        line = text.count("\n", 0, block.start()) + 2
        if block[1] == "python":
            found.append(Printed(page.name, line, "python", block[2]))
        elif block[1] == "":
            joined = re.sub(r"[ \t]*\\?\n[ \t]+", " ", block[2])  # continued lines
            found += [Printed(page.name, line, "command", each) for each in joined.splitlines() if each.strip()]
        else:
            raise ValueError(f"{page.name}:{line}: blocks of {block[1]!r} are not tested: say in {__name__} how to")
    prose = text
    for block in fenced:
        prose = prose.replace(block[0], "\n" * block[0].count("\n"))
    for code in re.finditer(r"(?<!`)`([^`]+)`(?!`)", prose):
        command = " ".join(code[1].split())
        if re.match(PROGRAMS, command):
            found.append(Printed(page.name, prose.count("\n", 0, code.start()) + 1, "command", command))
    return sorted(found, key=lambda each: each.line)


def commands(printed: Printed) -> list[str]:
    """A line's commands, without comments: `a && b  # why` is two."""
    return [each.strip() for each in re.sub(r"\s+#.*", "", printed.text).split(" && ")]
