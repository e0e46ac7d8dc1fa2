"""The tables of a backtest show what its result holds."""

import pytest

from jaxrec.api.backtested import Backtest
from jaxrec.evaluation.ageing import BY


def cell(trained, asked):
    value = (10 * asked + trained) / 100
    found = {"trained": trained, "asked": asked, "unanswered": asked - trained}
    return found | {"metrics": {BY: value}, "ci95": {BY: [value - 0.01, value + 0.01]}}


def made(days):
    """A Backtest of three tests, each answered by the model trained before it and by all earlier ones."""
    counts = {"events": 9, "questions": 8, "users": 7, "new_users": 6, "new_items": 5}
    tests = [{"fold": fold, "since": f"2024-01-0{fold + 1} 12:00:00"} | counts for fold in range(3)]
    cells = [cell(trained, asked) for trained in range(3) for asked in range(trained, 3)]
    told = {"data": "log", "folds": 3, "test_days": days, "train_days": "all", "seeds": 1, "protocol": "full"}
    return Backtest(told | {"tests": tests, "rows": {"model": {"cells": cells, "ages": [], "policies": []}}}, "a")


def test_a_test_is_told_of_by_the_newest_model_before_it():
    found = made(7)
    assert [found.newest("model", test)["trained"] for test in range(3)] == [0, 1, 2]
    rows = [" ".join(line.replace("│", " ").split()) for line in repr(found).splitlines()]
    for date, value in (("2024-01-01", "0.0000"), ("2024-01-02", "0.1100"), ("2024-01-03", "0.2200")):
        assert f"{date} {value} ± 0.0100" in rows and f"{date} 9 8 7 6 5 0.0%" in rows


@pytest.mark.parametrize(("days", "shown"), [(0.5, "2024-01-02 12:00"), (1, "2024-01-02"), (7, "2024-01-02")])
def test_tests_that_are_shorter_than_a_day_are_told_with_their_times(days, shown):
    assert f"│ {shown} │" in repr(made(days))
