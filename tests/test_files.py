"""Files that are whole or not there."""

import pytest

from jaxrec.files import replacing, write_json


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}])
def test_a_failed_write_leaves_what_was(tmp_path, value):
    path = tmp_path / "folder" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises((TypeError, ValueError)):
        write_json(path, value)
    assert path.read_text() == '{\n  "a": 1\n}\n' and list(path.parent.iterdir()) == [path]


def test_a_block_cut_off_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
