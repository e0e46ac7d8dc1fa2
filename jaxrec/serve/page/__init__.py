"""The page: three files, which are read once and need nothing from elsewhere."""

from importlib.resources import files as _files

KINDS = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}


def files():
    """{path: (content, media type)} of the page."""
    folder = _files(__package__)
    return {f"/{name.removeprefix('index.html')}": ((folder / name).read_bytes(), kind) for name, kind in KINDS.items()}
