"""A Hugging Face hub on this machine, of one data set: what its clients ask for to list and read files."""

import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

REPO = "me/log"
COMMIT = "0" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers for the files of a folder, `server.folder`, and notes the paths of requests in `server.asked`."""

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.asked.append(path)
        below = lambda prefix: path.removeprefix(prefix).strip("/")
        if path.startswith(tree := f"/api/datasets/{REPO}/tree/"):
            self._tree(below(tree).partition("/")[2])
        elif path.startswith(files := f"/datasets/{REPO}/resolve/"):
            self._file(below(files).partition("/")[2])
        elif path == f"/api/datasets/{REPO}" or path.startswith(f"/api/datasets/{REPO}/revision/"):
            self._say({"id": REPO, "sha": COMMIT, "siblings": []})
        else:
            self._missing("RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self):  # of paths-info
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        paths = json.loads(body)["paths"] if is_json else urllib.parse.parse_qs(body)["paths"]
        there = [self.server.folder / path for path in ([paths] if isinstance(paths, str) else paths)]
        self._say([self._told(each) for each in there if each.exists()])

    def _tree(self, below):
        folder = self.server.folder / below
        if not folder.is_dir():
            return self._missing("EntryNotFound")
        every = "recursive=true" in self.path.lower()
        return self._say([self._told(each) for each in sorted(folder.rglob("*") if every else folder.iterdir())])

    def _file(self, below):
        file = self.server.folder / below
        if not file.is_file():
            return self._missing("EntryNotFound")
        data = file.read_bytes()
        first, last = 0, len(data) - 1
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), min(int(part[2] or last), last)
        headers = {"ETag": f'"{self._told(file)["oid"]}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self._send(206 if part else 200, data[first : last + 1], headers)

    def _told(self, path):
        name = path.relative_to(self.server.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": name}
        data = path.read_bytes()
        return {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": name}

    def _say(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, code):
        self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": "not there"})

    def _send(self, status, data, headers):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        """Prints nothing."""


@contextlib.contextmanager
def served(folder):
    """The server of a folder's files, until the context is left."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked = folder, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
