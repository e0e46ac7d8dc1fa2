"""Odd but valid input of every kind is read, and gives the rows that were written."""

import os
import random
from collections import Counter

import numpy as np
import pytest
from numbered import numbered
from odd.logs import ODD

from jaxrec import cli
from jaxrec.data import prepared


@pytest.mark.parametrize(("name", "number"), numbered(ODD))
def test_what_is_odd_but_right_is_read(name, number, tmp_path, capsys, tabulate, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # hundreds of folders, none of which must survive a crash
    odd = ODD[name](tmp_path / "in", random.Random(f"{name} {number}"), number)
    output = tmp_path / "out"
    status = cli.main(["prepare", "--input", str(odd.path), "--output", str(output), *odd.flags])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert odd.said in said.out
    data = prepared.load(output)
    users = np.repeat(np.arange(len(data.users)), np.diff(data.offsets))
    times = [None] * len(data.items) if data.times is None else (np.asarray(data.times) // 10**6).tolist()
    ids = [data.users.tolist()[user] for user in users], [data.catalogue.ids.tolist()[item - 1] for item in data.items]
    found = [(str(user), str(item), time) for user, item, time in zip(*ids, times, strict=True)]
    assert Counter(found) == Counter(odd.rows)
    for user in {user for user, *_ in odd.rows}:
        assert [row for row in found if row[0] == user] == [row for row in odd.rows if row[0] == user]
    tabulate(name, "read: the same rows")
