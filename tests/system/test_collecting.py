"""Garbage collection works after a start as before."""

import gc

import pytest

from jaxrec.system import collecting


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_is_as_it_was_and_leaves_out_what_was_made_meanwhile(enabled):
    frozen = gc.get_freeze_count()
    try:
        (gc.enable if enabled else gc.disable)()
        collecting.pause()
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
        collecting.resume()
        assert gc.isenabled() == enabled and (gc.get_freeze_count() >= frozen + len(made)) == enabled
        gc.disable()
        collecting.resume()  # it stays off if it was off before
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
