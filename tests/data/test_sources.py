"""What jaxrec.data.sources resolves, and what it says when it can't."""

import dataclasses
import gzip
import hashlib
import http.server
import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jaxrec.data import filters, prepared, sources, synthetic
from jaxrec.data.files import download
from jaxrec.data.interactions import fingerprint, from_sequences
from jaxrec.data.sources import load, locate
from jaxrec.system.errors import UserError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """$JAXREC_DATA, a folder with the data set `shop`; another folder is the current one."""
    (tmp_path / "data" / "shop").mkdir(parents=True)
    (tmp_path / "data" / "shop" / "sequences.txt").write_text("1 5 6\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("JAXREC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def test_paths_of_any_sort_are_found_or_said(root, monkeypatch):
    (root / "d[1]").mkdir()
    (root / "d[1]" / "a.csv").write_text("user,item\n1,5\n1,6\n")
    for name in (root / "d[1]", root / "d[1]" / "*.csv", root / "d[1]" / "a.csv"):
        assert len(load(str(name)).items) == 2 and not sources.missing(locate(str(name)))
    (root / "loop").symlink_to(root / "loop")
    for name in ("~nobody-of-this-name/x.csv", "x" * 300, str(root / "loop"), "a\0b", "\udce9.csv"):
        with pytest.raises(UserError, match="was not found"):
            locate(name)
        assert sources.missing(name)
    os.mkfifo(root / "pipe")
    for name in ("pipe", str(root / "pipe"), "/dev/null"):
        with pytest.raises(UserError, match="a pipe, a socket, a device or a folder, not a file"):
            load(name)
    monkeypatch.setenv("JAXREC_CACHE", "~nobody-of-this-name/c")
    assert sources.cache().name == "c"


PAIRS = b"1 5\n1 6\n2 5\n"


@pytest.fixture
def served(root, monkeypatch):
    """Serves the public data set `tiny` from this machine; `served()` stops the server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(PAIRS)))
            self.end_headers()
            self.wfile.write(PAIRS)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.005), daemon=True).start()
    tiny = sources.Public(
        names=("tiny", "tiny.txt"),
        origin="tiny.txt of this machine",
        url=f"http://127.0.0.1:{server.server_port}/tiny.txt",
        checksum=f"md5:{hashlib.md5(PAIRS).hexdigest()}",
        size=2_000_000,
        users=2,
        items=2,
        interactions=3,
    )
    monkeypatch.setitem(sources.PUBLIC, "tiny", tiny)
    monkeypatch.setattr(download, "WAIT", 0.0)
    monkeypatch.setenv("no_proxy", "*")

    def end():
        server.shutdown()
        server.server_close()

    yield end
    end()


def test_a_path_is_taken_first_then_the_data_folder(root):
    assert locate("shop") == str(root / "shop")
    assert fingerprint(load("shop")) == fingerprint(from_sequences([[5, 6]]))
    Path("shop").write_text("1 7\n1 8\n")
    assert locate("shop") == str(Path("shop").resolve())
    assert load("shop").catalogue.ids.tolist() == [7, 8]
    assert load(locate("shop")).catalogue.ids.tolist() == [7, 8]
    assert locate("../data/shop/sequences.txt") == str(root / "shop" / "sequences.txt")
    Path("ml-1m-sasrec").write_text("1 7\n1 8\n")
    assert load("ml-1m-sasrec").catalogue.ids.tolist() == [7, 8]


def test_what_is_not_found_lists_what_was_tried(root, monkeypatch):
    with pytest.raises(UserError) as caught:
        locate("shpo")
    for part in ("'shpo'", str(Path.cwd() / "shpo"), str(root / "shpo"), "holds shop", "interactions", "ml-1m-sasrec"):
        assert part in str(caught.value)
    monkeypatch.setenv("JAXREC_DATA", str(root / "nowhere"))
    with pytest.raises(UserError, match="no such folder"):
        locate("shop")
    monkeypatch.delenv("JAXREC_DATA")
    with pytest.raises(UserError, match=r"\$JAXREC_DATA is not set"):
        load("shop")
    with pytest.raises(UserError, match="dataset is empty"):
        locate("")


def test_what_is_like_the_name_is_proposed(root):
    Path("log.csv").touch()
    for name, near in {"shpo": root / "shop", "lgo.csv": "log.csv", "../data/shops": root / "shop"}.items():
        with pytest.raises(UserError, match=f"Did you mean .*{Path(near).name}") as caught:
            locate(name)
        assert "So name a folder" in str(caught.value)
    with pytest.raises(UserError) as caught:
        locate(str(root / "shpo"))  # the same path under $JAXREC_DATA: listed once
    assert str(caught.value).count(f"  {root / 'shpo'}") == 1 and str(caught.value).count(str(root / "shop")) == 1
    with pytest.raises(UserError) as caught:
        locate("nothing-like-it")
    assert "Did you mean" not in str(caught.value)


def test_a_glob_stands_for_its_files(root):
    for part, rows in {"a": "user,item\n1,5\n", "b": "user,item\n1,6\n"}.items():
        (root / "shop" / f"part-{part}.csv").write_text(rows)
    where = locate("shop/part-*.csv")
    assert where == str(root / "shop" / "part-*.csv") and not sources.missing(where)
    assert load("shop/part-*.csv").catalogue.ids.tolist() == [5, 6]
    assert sources.missing(str(root / "shop" / "shard-*.csv"))
    with pytest.raises(UserError, match="was not found"):
        locate("shop/shard-*.csv")


def test_a_file_takes_no_options(root):
    with pytest.raises(UserError, match="remove users"):
        load("shop", users=3)


def test_a_public_data_set_says_which_file_to_put_where(root):
    with pytest.raises(UserError, match=r"Put data/ml-1m\.txt of github\.com/kang205/SASRec.* into .*data") as caught:
        locate("ml-1m-sasrec")
    for name in ("ml-1m-sasrec", "ml-1m", "ml-1m.txt"):
        assert f"{root / name}\n" in str(caught.value)


def test_a_public_data_set_is_fetched_once(root, served):
    cached = sources.cache() / "tiny.txt"
    with pytest.raises(UserError, match=r"tiny.txt of this machine, as tiny.txt \(2.0 MB\)") as caught:
        locate("tiny")
    assert f"{cached}\n" in str(caught.value)
    assert not cached.exists()  # locating fetches nothing
    assert load("tiny").items.tolist() == [1, 2, 1]
    served()
    assert load("tiny").items.tolist() == [1, 2, 1]
    assert locate("tiny") == str(cached)
    assert load(locate("tiny")).items.tolist() == [1, 2, 1]  # the name that a workdir stores
    assert not sources.missing(locate("tiny"))
    cached.unlink()
    assert sources.missing(str(cached))


def test_what_lies_in_the_data_folder_is_not_fetched(root, served):
    (root / "tiny.txt").write_bytes(PAIRS)
    assert locate("tiny") == str(root / "tiny.txt")
    assert load("tiny").items.tolist() == [1, 2, 1]
    assert not sources.cache().exists()


def test_without_a_network_both_places_are_named(root, served, monkeypatch):
    served()
    with pytest.raises(UserError, match=r"no connection") as caught:
        load("tiny")
    for part in ("'tiny'", sources.PUBLIC["tiny"].url, f"put it as {sources.cache() / 'tiny.txt'}", f"({root})"):
        assert part in str(caught.value)
    monkeypatch.delenv("JAXREC_DATA")
    with pytest.raises(UserError, match=r"set \$JAXREC_DATA to"):
        load("tiny")
    (sources.cache() / "tiny.txt").write_bytes(PAIRS)
    assert load("tiny").items.tolist() == [1, 2, 1]


@pytest.mark.parametrize("count", ["users", "items", "interactions"])
def test_another_version_in_the_cache_is_to_be_deleted(root, served, monkeypatch, count):
    (sources.cache()).mkdir()
    (sources.cache() / "tiny.txt").write_text("1 5\n1 6\n1 7\n1 8\n")
    meant = sources.PUBLIC["tiny"]
    for name in ("tiny", str(sources.cache() / "tiny.txt")):
        with pytest.raises(UserError, match=rf"1 users, 4 items, 4 interactions .*Delete {sources.cache()}/tiny.txt"):
            load(name)
    unknown = {"users": None, "items": None, "interactions": None}
    monkeypatch.setitem(sources.PUBLIC, "tiny", dataclasses.replace(meant, **unknown | {count: getattr(meant, count)}))
    with pytest.raises(UserError, match=f"instead of {getattr(meant, count)} {count}\\. Delete"):
        load("tiny")
    monkeypatch.setitem(sources.PUBLIC, "tiny", dataclasses.replace(meant, **unknown))
    assert len(load("tiny").items) == 4


def test_the_options_of_a_public_data_set_are_applied_by_name_and_by_its_file_in_the_cache(root, served, monkeypatch):
    asked = []
    tiny = dataclasses.replace(sources.PUBLIC["tiny"], options={"k_core": 5})
    monkeypatch.setitem(sources.PUBLIC, "tiny", tiny)
    monkeypatch.setattr(filters, "apply", lambda data, options, store: asked.append(options) or (data, []))
    load("tiny")
    load(locate("tiny"))
    assert asked == [filters.Options(k_core=5)] * 2
    (root / "tiny.txt").write_bytes(PAIRS)
    load(str(root / "tiny.txt"))
    assert asked[2:] == [filters.Options()]


def test_a_set_to_be_fetched_by_hand_says_so(root, served, monkeypatch):
    monkeypatch.setitem(sources.PUBLIC, "tiny", dataclasses.replace(sources.PUBLIC["tiny"], url=None))
    with pytest.raises(UserError, match=r"Put tiny\.txt of this machine"):
        load("tiny")


def test_the_cache_is_the_platforms_or_set(monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", "~/elsewhere")
    assert sources.cache() == Path.home() / "elsewhere"
    monkeypatch.delenv("JAXREC_CACHE")
    assert sources.cache().name == "jaxrec"


def test_public_data_sets_have_files_of_their_own():
    assert len({each.names[-1].lower() for each in sources.PUBLIC.values()}) == len(sources.PUBLIC)
    for name, public in sources.PUBLIC.items():
        assert public.names[0] == name
        assert public.url is None or Path(public.url).suffixes == Path(public.names[-1]).suffixes
        assert name in sources.KINDS


@pytest.mark.parametrize("name", ["ml-1m-sasrec", "ml-1m"])
def test_another_version_of_a_public_data_set_is_refused(root, name):
    (root / "shop").rename(root / name)
    with pytest.raises(UserError, match=r"another version of ml-1m-sasrec: 1 users, 2 items, 2 inter.* 999,611"):
        load("ml-1m-sasrec")
    assert len(load(str(root / name)).items) == 2


def test_the_version_meant_is_taken_from_a_folder_or_the_file_itself(root, monkeypatch):
    small = dataclasses.replace(sources.PUBLIC["ml-1m-sasrec"], users=1, items=2, interactions=2)
    monkeypatch.setitem(sources.PUBLIC, "ml-1m-sasrec", small)
    (root / "ml-1m.txt").write_text("1 5\n1 6\n")
    assert locate("ml-1m-sasrec") == str(root / "ml-1m.txt")
    assert load("ml-1m-sasrec").items.tolist() == [1, 2]
    (root / "shop").rename(root / "ml-1m")
    assert locate("ml-1m-sasrec") == str(root / "ml-1m")
    assert load("ml-1m-sasrec").items.tolist() == [1, 2]


def test_of_a_public_data_set_a_part_may_be_read(root, monkeypatch):
    small = dataclasses.replace(sources.PUBLIC["ml-1m-sasrec"], names=("log.csv",), users=1, items=3, interactions=3)
    monkeypatch.setitem(sources.PUBLIC, "ml-1m-sasrec", small)
    (root / "log.csv").write_text("user,item\n1,5\n1,6\n1,7\n")
    assert load("ml-1m-sasrec").catalogue.ids.tolist() == [5, 6, 7]
    assert load("ml-1m-sasrec", {"only": ["item!=7"]}).catalogue.ids.tolist() == [5, 6]


def test_a_prepared_folder_is_what_was_written_or_refused(root):
    prepared.save(from_sequences([[5, 6], [6, 5]]), Path("out"), {})
    assert load("out").items.tolist() == [1, 2, 2, 1]
    np.save("out/items.npy", np.array([1, 2, 2, 2], np.int32))
    with pytest.raises(UserError, match="out: a prepared folder that is not whole"):
        load("out")


def test_the_real_ml_1m_is_the_version_meant(real_data, monkeypatch):
    monkeypatch.setenv("JAXREC_DATA", str(real_data("ml-1m").parent))
    assert len(load("ml-1m-sasrec").items) == 999_611


@pytest.mark.parametrize("name", ["beauty-5core", "sports-5core", "beauty-bert4rec"])
def test_the_files_that_papers_share_are_those_of_the_folders(name, root, real_data, monkeypatch):
    folder = real_data(name)
    lines = gzip.decompress((folder / "sequences.txt.gz").read_bytes())
    if name == "beauty-bert4rec":  # that file has one interaction per line
        histories = (line.split() for line in lines.splitlines())
        lines = b"".join(b"%s %s\n" % (user, item) for user, *items in histories for item in items)
    public = sources.PUBLIC[name]
    assert len(lines) == public.size
    assert public.checksum == "git:" + hashlib.sha1(b"blob %d\0" % len(lines) + lines).hexdigest()
    (root / public.names[-1]).write_bytes(lines)
    shared = load(name)
    monkeypatch.setenv("JAXREC_DATA", str(folder.parent))
    whole = load(name)  # also has times, and the items' names
    assert whole.items.tolist() == shared.items.tolist()
    assert whole.offsets.tolist() == shared.offsets.tolist()


@pytest.mark.parametrize("name", ["rsc15-100k", "diginetica"])
def test_sessions_that_are_not_fetched_say_what_to_put_where(name, root):
    with pytest.raises(UserError, match=rf"Put a folder of sequences\.txt .*train_sessions.*, as {name}, into"):
        load(name)


@pytest.mark.parametrize("name", ["rsc15-100k", "diginetica"])
def test_sessions_that_were_put_there_are_the_version_meant(name, real_data, monkeypatch):
    monkeypatch.setenv("JAXREC_DATA", str(real_data(name).parent))
    assert len(load(name).items) == sources.PUBLIC[name].interactions


def test_the_generator_takes_its_options_from_the_name_and_the_call():
    assert locate("synthetic:users=5") == "synthetic:users=5"
    wanted = synthetic.interactions(users=20, items=256, seed=7, whim=0.25)
    assert fingerprint(load("synthetic:users=20, items=256,seed=7,whim=.25")) == fingerprint(wanted)
    assert fingerprint(load("synthetic:users=9,items=256,whim=.25", users=20, seed=7)) == fingerprint(wanted)
    assert fingerprint(load("synthetic:users=20,items=256,seed=8,whim=.25")) != fingerprint(wanted)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("synthetic:user=5", "no option user: the generator has users, items, seed, .*whim"),
        ("synthetic:options=5", "no option options"),
        ("synthetic:users", "'users' is not KEY=NUMBER"),
        ("synthetic:users=many", "'users=many' is not KEY=NUMBER"),
    ],
)
def test_a_wrong_option_of_the_generator_is_named(name, cure):
    with pytest.raises(UserError, match=cure):
        load(name)


@pytest.mark.parametrize("spec", ["users=1.5", "users=-3", "seed=-1", "lengths=10", "users="])
def test_options_of_the_generator_are_checked(spec):
    with pytest.raises(UserError, match="synthetic"):
        load(f"synthetic:{spec}")


def test_the_world_of_a_name_is_the_generators():
    spec = "synthetic:users=7,items=200,seed=3"
    made = sources.load(spec)
    again = synthetic.sample(sources.world(spec), 7)
    assert fingerprint(made) == fingerprint(again)
    assert sources.world("ml-1m") is None
