"""Garbage collection at the start of a command: imported objects stay alive, so scanning them would find nothing."""

import gc

_paused = False


def pause() -> None:
    """Turns garbage collection off until `resume`. Only for jaxrec's own processes."""
    global _paused
    _paused = gc.isenabled()
    gc.disable()


def resume() -> None:
    """Turns garbage collection on again if `pause` turned it off; objects made so far are no longer scanned."""
    global _paused
    if _paused:
        gc.freeze()
        gc.enable()
    _paused = False
