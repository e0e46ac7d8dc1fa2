"""Laws of data.formats.json_lines beyond those that all formats of tables share."""

import json

import pytest

from jaxrec.data.reading import read
from jaxrec.system.errors import UserError


def test_keys_of_json_that_come_late_are_known(tmp_path):
    path = tmp_path / "a.jsonl"
    views = [{"user": 1, "kind": "page", "time": at} for at in range(1200)]
    bought = [{"user": 1, "kind": "buy", "time": 2000 + at, "sku": at % 7} for at in range(20)]
    path.write_text("".join(json.dumps(each) + "\n" for each in views + bought))
    assert len(read(path, columns={"item": "sku"}, only=("kind=buy",)).items) == 20


def test_several_objects_of_json_on_a_line_are_named_with_their_cure(tmp_path):
    (tmp_path / "a.json").write_text('{"user":1,"item":2}{"user":1,"item":3}\n')
    with pytest.raises(UserError, match=r"these are several on one line: `jq -c \.` puts each on its own"):
        read(tmp_path / "a.json")
