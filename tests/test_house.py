"""The structure of the package: few top-level modules ("rooms"), one-way imports ("arrows"), and short files."""

import ast
import collections
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "jaxrec"
ROOMS = ("jaxrec", "configs", "benchmarks", "examples", "docs", "tests")
#: rooms from top to bottom: each imports only from rooms that follow it
FLOORS = [
    "__main__",
    "cli",
    "commands",
    "api",
    "serve",
    "inference",
    "evaluation",
    "training",
    "models",
    "batches",
    "data",
    "config",
    "kernels",
    "system",
]


def room(path):
    """The room that a file belongs to: the folder directly below the package, or the file itself if it has none."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules(path):
    """Yields the modules of the package that a file imports anywhere, as the parts of their names below the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if (node.module or "").split(".")[0] == "jaxrec":
                below = node.module.split(".")[1:]
                places = [PACKAGE / place for each in node.names for place in (each.name, f"{each.name}.py")]
                if not below and not any(place.exists() for place in places):
                    continue  # a name that jaxrec/__init__.py defines or re-exports
                for name in node.names:
                    yield [*below, name.name]
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "jaxrec":
                    yield name.name.split(".")[1:]


def files():
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def arrows():
    """{(room, room it imports)} of the package, without jaxrec/__init__.py, which re-exports names."""
    found = set()
    for path in files():
        for parts in modules(path):
            target = parts[0] if parts else "__init__"
            if target != room(path):
                found.add((room(path), target))
    return found


def test_every_room_is_known_and_arrows_run_down():
    assert {room(path) for path in files()} <= set(FLOORS)
    up = [(here, there) for here, there in sorted(arrows()) if FLOORS.index(here) > FLOORS.index(there)]
    assert not up


def test_the_floor_is_easy_to_see():
    assert len({room(path) for path in files()}) <= 15
    assert len(arrows()) <= 60


def test_no_folder_is_too_full_to_see():
    folders = {path.parent for path in files()}
    assert not [str(folder) for folder in folders if sum(1 for _ in folder.glob("[!_]*")) > 35]


def test_no_files_import_each_other_in_a_circle():
    names = {tuple(path.relative_to(PACKAGE).with_suffix("").parts): path for path in files()}
    imports = collections.defaultdict(set)
    for own, path in names.items():
        for parts in modules(path):
            whole = tuple(parts)
            target = whole if whole in names else whole[:-1]
            if target in names and target != own:
                imports[own].add(target)
    left = dict.fromkeys(names)
    while free := [each for each in left if not any(target in left for target in imports[each])]:
        for each in free:
            del left[each]
    assert not left, "in a circle, or above one"


def test_no_file_is_too_long_to_read():
    root = PACKAGE.parent
    every = [*root.glob("*.py"), *(path for room in ROOMS for path in (root / room).rglob("*.py"))]
    assert not [str(path) for path in every if len(path.read_text().splitlines()) > 350]


def untyped(source):
    """Parameters and results without a type in the public functions and methods of a module: ["name: parameter"]."""
    found = []

    def visit(body, prefix=""):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("_") and node.name != "__init__":
                    continue
                parts = node.args
                named = [*parts.posonlyargs, *parts.args, *parts.kwonlyargs]
                own = [each for each in (*named, parts.vararg, parts.kwarg) if each and each.arg not in ("self", "cls")]
                lacking = [each.arg for each in own if each.annotation is None]
                lacking += ["return"] * (node.returns is None and node.name != "__init__")
                found.extend(f"{prefix}{node.name}: {each}" for each in lacking)

    visit(ast.parse(source).body)
    return found


def test_public_functions_are_typed():
    public = [path for path in files() if not path.name.startswith("_") or path.name == "__init__.py"]
    assert not {str(path): lacking for path in public if (lacking := untyped(path.read_text()))}


def test_what_lacks_types_is_found():
    source = "class A:\n    def b(self, c, *d: int, e=1) -> int: ...\n    def _f(g): ...\ndef h(i: int): ...\n"
    assert untyped(source) == ["A.b: c", "A.b: e", "h: return"]
