"""Started work is waited for only when its result is requested."""

import threading

import pytest

from jaxrec.system import background
from jaxrec.system.background import started
from jaxrec.system.errors import UserError


def test_the_result_is_that_of_the_work_however_often_it_is_asked_for():
    free = threading.Event()
    result = started(lambda: free.wait(5) and 7)
    assert background.is_unfinished()
    free.set()  # reached while the work waits
    assert result() == result() == 7


def test_what_the_process_waits_for_is_not_broken_off():
    free = threading.Event()
    result = started(lambda: free.wait(5), finishes=True)
    assert [thread.daemon for thread in background._threads if thread.is_alive()][-1:] == [False]
    free.set()
    assert result()


def test_an_error_of_the_work_is_raised_where_its_result_is_asked_for():
    def fail():
        raise UserError("no such log")

    result = started(fail)
    for _ in range(2):
        with pytest.raises(UserError, match="no such log"):
            result()
