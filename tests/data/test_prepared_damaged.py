"""A prepared folder that is not what was written is refused."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from prepared_folders import loaded, same

from jaxrec.data import prepared, reading
from jaxrec.data.interactions import Sessions, from_sequences
from jaxrec.system.errors import UserError

SMALL = from_sequences([[5, 6, 7], [6, 5]], users=["a", "b"])
WHOLE = replace(
    SMALL,
    times=np.arange(5),
    weights=np.ones(5, np.float32),
    sessions=Sessions(np.array([0, 2, 3, 5]), np.array([1, 2, 3])),
)
FILES = ["items", "offsets", "times", "weights", "sessions"]


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "garbage"])
@pytest.mark.parametrize(
    "name", [*(f"{name}.npy" for name in FILES), *(f"{name}.parquet" for name in ("users", "catalogue", "sessions"))]
)
def test_a_folder_that_is_not_whole_says_so(tmp_path, name, damage):
    prepared.save(WHOLE, tmp_path / "out", {})
    file = tmp_path / "out" / name
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-3], "empty": b"", "garbage": b"<html>" * 50}.get(damage, b""))
    if damage == "gone":
        file.unlink()
    with pytest.raises(UserError, match=r"out: a prepared folder that is not whole \(.*\): prepare it again") as caught:
        reading.read(tmp_path / "out")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", FILES)
def test_an_array_of_another_length_is_refused(tmp_path, name):
    prepared.save(WHOLE, tmp_path / "out", {})
    np.save(tmp_path / "out" / f"{name}.npy", np.load(tmp_path / "out" / f"{name}.npy")[:-1])
    with pytest.raises(UserError, match="not whole"):
        reading.read(tmp_path / "out")


@pytest.mark.parametrize("meta", [None, "", "{", "[]", "{}", '{"format": "jaxrec interactions 1"}'])
def test_a_folder_without_its_meta_says_so(tmp_path, meta):
    prepared.save(WHOLE, tmp_path / "out", {})
    (tmp_path / "out" / "meta.json").unlink()
    if meta is not None:
        (tmp_path / "out" / "meta.json").write_text(meta)
    with pytest.raises(UserError, match="prepare it again"):
        reading.read(tmp_path / "out")


FULL = replace(
    SMALL,
    times=np.arange(5),
    weights=np.ones(5, np.float32),
    sessions=Sessions(np.array([0, 2, 3, 5]), np.array([7, 8, 9])),
)


@given(st.data())
def test_another_bit_anywhere_is_noticed(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        prepared.save(FULL, path, {"source": "made"})
        file = data.draw(st.sampled_from(sorted(path.iterdir())))
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        try:
            got = loaded(path)
        except UserError as error:
            assert str(path) in str(error) and "prepare it again" in str(error)
        else:  # only white space of the JSON differs
            assert file.name == "meta.json"
            same(got, FULL)


def test_a_folder_of_an_earlier_version_is_verified_by_its_fingerprint(tmp_path):
    prepared.save(SMALL, tmp_path / "out", {})
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    del meta["checksums"], meta["checksum"]
    (tmp_path / "out" / "meta.json").write_text(json.dumps(meta))
    same(loaded(tmp_path / "out"), SMALL)
    np.save(tmp_path / "out" / "items.npy", np.roll(SMALL.items, 1))
    with pytest.raises(UserError, match=r"arrays or ids: not what was written\): prepare it again"):
        loaded(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("items", np.array([0, 1, 2, 3, 1], np.int32)),
        ("items", np.array([1, 1, 2, 3, 9], np.int32)),
        ("items", np.array([1, 1, 2, 3, 1], np.int64)),
        ("items", np.array([[1, 1, 2, 3, 1]], np.int32)),
        ("offsets", np.array([0, 6, 5])),
        ("offsets", np.array([1, 3, 5])),
        ("offsets", np.array([0, 3, 4])),
    ],
)
def test_arrays_that_can_not_be_are_refused(tmp_path, name, array):
    prepared.save(SMALL, tmp_path / "out", {})
    np.save(tmp_path / "out" / f"{name}.npy", array)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    del meta["checksums"], meta["checksum"]
    (tmp_path / "out" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="prepare it again"):
        loaded(tmp_path / "out")
