"""No stored result names a path of the machine that it was measured on."""

import json
import re

import pytest
from hypothesis import given, strategies as st

from benchmarks import record

RESULTS = sorted(record.RESULTS.glob("*.json"))


@given(st.lists(st.sampled_from(["--runs", "runs/a", "a=b", "3", "https://a.org/b"])), st.sampled_from(["", "--peer="]))
def test_an_absolute_path_is_named_path_and_all_else_is_as_it_was_typed(words, flag):
    command = record.command_of(
        ["/home/ann/benchmarks/bulk.py", *words, f"{flag}/home/ann/env/bin/python", f"{flag}~/x"]
    )
    assert command == " ".join(["python -m benchmarks.bulk", *words, f"{flag}PATH", f"{flag}PATH"])


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_no_result_names_a_place(path):
    assert not re.search(r"(^|[\s=])[/~]\w", json.loads(path.read_text())["command"])
