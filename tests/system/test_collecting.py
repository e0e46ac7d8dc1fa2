"""Garbage is collected after a start as it was before."""

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
        collecting.resume()  # what it didn't turn off stays off
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
