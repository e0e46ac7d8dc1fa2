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


BROKEN = {
    '{\n"users": [{"user": 1, "item": 2}]\n}': r"one object over several lines, `jq -c '\.NAME\[\]'` makes lines",
    '{"user": 1, "item": 2, "user": 3}': "the key 'user' has two values: keep one",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_first_line_that_is_no_row_of_json_is_said_with_its_cure(tmp_path, text):
    (tmp_path / "a.json").write_text(f"{text}\n")
    with pytest.raises(UserError, match=f"line 1: .*{BROKEN[text]}"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("blank", ["", "\n"], ids=["fast", "line by line"])
def test_half_a_character_is_a_bad_row_however_it_is_read(tmp_path, blank):
    rows = [r'{"user": "a", "item": 1}', r'{"user": "\ud800", "item": 2}', r'{"user": "\ud83d\ude00", "item": 3}']
    (tmp_path / "a.jsonl").write_text("".join(f"{row}\n" for row in rows) + blank)
    with pytest.raises(UserError, match=r"line 2: .*user holds half a character"):
        read(tmp_path / "a.jsonl")
    assert read(tmp_path / "a.jsonl", skip_bad_rows=True).users.tolist() == ["a", "\U0001f600"]
