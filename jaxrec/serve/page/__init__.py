"""The web page, as self-contained static files."""

from importlib.resources import files as _files

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def files() -> dict[str, tuple[bytes, str]]:
    """Returns {path: (content, media type)} of the page's files; index.html is "/"."""
    found = {each.name: each for each in _files(__name__).iterdir() if each.name.endswith(tuple(KINDS))}
    return {
        f"/{name.removeprefix('index.html')}": (file.read_bytes(), KINDS[name[name.rindex(".") :]])
        for name, file in sorted(found.items())
    }
