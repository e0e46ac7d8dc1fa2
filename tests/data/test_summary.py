"""What jaxrec.data.summary counts, against plain loops."""

import io
import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, strategies as st
from rich.console import Console

from jaxrec.data import filters, summary
from jaxrec.data.interactions import from_sequences

rows = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=8)


@given(st.lists(rows, min_size=1, max_size=5))
def test_repeats_and_duplicates_are_those_of_a_plain_loop(log):
    log = [sorted(each, key=lambda row: row[1]) for each in log]
    data = from_sequences([[item for item, _ in each] for each in log])
    timed = replace(data, times=np.array([time for each in log for _, time in each], np.int64))
    repeats = sum(len(each) - len({item for item, _ in each}) for each in log)
    at_once = sum(a[0] == b[0] for each in log for a, b in itertools.pairwise(each))
    told = summary.facts(timed)
    assert (told["repeats"], told["repeats_at_once"]) == (repeats, at_once)
    assert told["duplicates"] == sum(len(each) - len(set(each)) for each in log)
    assert summary.facts(data)["duplicates"] is None
    assert told["short_users"] == sum(len(each) < 3 for each in log)


def test_times_are_dates_only_where_they_are_known():
    data = replace(from_sequences([[1, 2], [2, 3]]), times=np.array([0, 86_400, 7, 2 * 86_400]) * 10**6)
    dated = {"relative": False, "first": "1970-01-01 00:00:00", "last": "1970-01-03 00:00:00", "days": 2.0}
    assert summary.facts(data)["times"] == dated
    assert summary.facts(replace(data, relative=True))["times"] == {"relative": True, "days": 2.0}
    assert summary.facts(replace(data, times=None))["times"] is None


def test_the_summary_is_printed_and_drawn(tmp_path):
    data = replace(from_sequences([[1, 1, 2], [2, 3]]), times=np.array([0, 0, 7, 8, 9]) * 10**6)
    told, (rest, steps) = summary.facts(data), filters.apply(data, filters.Options(min_length=3))
    console = Console(file=io.StringIO(), width=120)
    summary.show(told, steps, {"last-item": "much"}, console)
    text = " ".join(console.file.getvalue().split())
    for part in (
        "read │ 2 │ 3 │ 5 │",
        "min-length 3 │ 1 │ 2 │ 3 │ 2",
        "1 of them at the same time",
        "split=last-item much",
    ):
        assert part in text, text
    for each in (data, replace(data, times=None), rest):
        summary.plot(each, tmp_path / "plots.png", "name")
        assert (tmp_path / "plots.png").read_bytes().startswith(b"\x89PNG")


@given(st.lists(rows, min_size=1, max_size=5))
def test_ties_are_rows_with_the_time_of_the_row_before(log):
    log = [sorted(each, key=lambda row: row[1]) for each in log]
    data = from_sequences([[item for item, _ in each] for each in log])
    timed = replace(data, times=np.array([time for each in log for _, time in each], np.int64))
    ties = sum(a[1] == b[1] for each in log for a, b in itertools.pairwise(each))
    assert summary.facts(timed)["tied"] == ties / sum(map(len, log))
    assert summary.facts(data)["tied"] is None


def test_users_with_too_many_rows_are_found_in_a_crowd():
    data = from_sequences([[1, 2]] * 1_000 + [[1, 2] * 11, [1] * 40], users=[*range(1_000), "NA", "x"])
    assert summary.heavy(data) == [("x", 40 / 2_062), ("NA", 22 / 2_062)]
    rest = filters.select(data, np.append(np.ones(2_022, bool), np.zeros(40, bool)))
    assert summary.heavy(rest) == [("NA", 22 / 2_022)]
    assert summary.heavy(from_sequences([[1, 2]] * 999 + [[1] * 400])) == []


histories = st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=6, unique=True), min_size=3, max_size=8)


@given(histories, st.booleans())
def test_an_item_that_fills_histories_up_is_told_of(histories, first):
    most, fill = max(map(len, histories)), lambda each, length: [1] * (length - len(each))
    full = lambda length: [(fill(each, length) + each) if first else (each + fill(each, length)) for each in histories]
    lengths = len({len(each) for each in histories if len(each) < most + 3})
    told = summary.padding(from_sequences(full(most + 3)))
    assert len(told) == (lengths > 1)
    for line in told:
        rows = sum(most + 3 - len(each) for each in histories)
        assert (
            f"every history has {most + 3} rows, and item 1 is in {rows} of them" in line
            and "--only 'COLUMN!=1'" in line
        )


@given(histories)
def test_an_item_that_is_elsewhere_too_or_histories_of_all_lengths_are_no_filling(histories):
    most = max(map(len, histories)) + 3
    full = [each + [1] * (most - len(each)) for each in histories]
    full[0] = [2, 1, *full[0][2:-1], 3]
    assert summary.padding(from_sequences(full)) == []
    assert summary.padding(from_sequences([*full, [2]])) == []
