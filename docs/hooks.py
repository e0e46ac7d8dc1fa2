"""What the site has beyond the pages of docs/: the API reference, and the files elsewhere that pages link to."""

import ast
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxrec"
EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)  # of a docstring: up to an empty line
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")  # links of a page of docs/ to a file of the repository
#: wing -> what its page is called; in the order of the package's layers, from the front door down
WINGS = {
    "inference": "Recommending",
    "evaluation": "Evaluation",
    "training": "Training",
    "models": "Models",
    "batches": "Batches",
    "data": "Data",
    "config": "Configuration",
    "serve": "HTTP service",
    "kernels": "Kernels",
    "system": "System",
}


def modules(wing):
    """The dotted names of a wing's modules that say what they are."""
    paths = [path for path in sorted((PACKAGE / wing).rglob("*.py")) if not path.stem.startswith("__main")]
    for path in paths:
        if ast.get_docstring(ast.parse(path.read_text())):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def front_door():
    """The page of what `import jaxrec` gives, each under the name it has there."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    values = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}
    places = ast.literal_eval(values["_PLACES"])
    named = sorted((name, f"jaxrec.{place}.{name}") for place, names in places.items() for name in names)
    own = [each for each in named if each[1].startswith("jaxrec.api.")]  # the others have their wing's page
    links = [f"- `jaxrec.{name}` is [{path}][]" for name, path in named if (name, path) not in own]
    entries = [f"::: {path}\n    options:\n      heading: jaxrec.{name}" for name, path in own]
    return "\n\n".join(["# The front door", "\n".join(links), *entries])


class Examples(griffe.Extension):
    """Shows the examples of docstrings as code wherever they stand."""

    def on_object(self, *, obj, **_):
        if obj.docstring and not obj.is_alias:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)


def reference(title, names):
    """A page of the API reference."""
    return f"# {title}\n\n" + "\n\n".join(f"::: {name}\n    options:\n      show_submodules: false" for name in names)


def on_config(config):
    """Put the reference into the navigation, before the last two pages."""
    pages = [{"The front door": "reference/index.md"}, *({WINGS[wing]: f"reference/{wing}.md"} for wing in WINGS)]
    config.nav.insert(-2, {"API reference": pages})
    return config


def on_files(files, config):
    """Make the pages of the reference, and take in what pages link to outside docs/."""
    texts = {"reference/index.md": front_door()}
    texts |= {f"reference/{wing}.md": reference(title, modules(wing)) for wing, title in WINGS.items()}
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    linked = {name for page in Path(config.docs_dir).glob("*.md") for name in OUTSIDE.findall(page.read_text())}
    for name in sorted(linked):
        if not files.get_file_from_path(name):
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown, page, **_):
    """Let links out of docs/ lead to the copies."""
    return OUTSIDE.sub(r"](\1", markdown) if "/" not in page.file.src_uri else markdown
