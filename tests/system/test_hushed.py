"""The warning filters are restored, however many threads silenced warnings."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxrec.system.figures import new_figure, save_figure
from jaxrec.system.hushed import HUSHED


def test_whoever_ends_last_leaves_the_filters_as_they_were():
    before = warnings.filters[:]
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first():
        with HUSHED:
            first_is_in.set()
            assert second_is_in.wait(60)
        first_is_out.set()

    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(first)
        assert first_is_in.wait(60)
        with HUSHED:
            second_is_in.set()
            assert first_is_out.wait(60)
            warnings.warn("nobody is told", stacklevel=1)
        done.result()
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="everybody is told"):
        warnings.warn("everybody is told", stacklevel=1)


def test_figures_saved_side_by_side_leave_warnings_alone(tmp_path):
    save_figure(new_figure(1, 1), tmp_path / "any.png")  # imports add filters
    before, first_is_in, second_is_in, first_is_out = warnings.filters[:], *(threading.Event() for _ in range(3))

    class First:
        def savefig(self, file, **_):
            first_is_in.set()
            assert second_is_in.wait(60)

    class Second:
        def savefig(self, file, **_):
            second_is_in.set()
            assert first_is_out.wait(60)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(save_figure, First(), tmp_path / "first.png")
        assert first_is_in.wait(60)
        second = threads.submit(save_figure, Second(), tmp_path / "second.png")
        first.result()
        first_is_out.set()
        second.result()
    assert warnings.filters == before
