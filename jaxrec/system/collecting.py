"""Garbage collection at the start of a command: what is imported stays, so that looking through it finds nothing."""

import gc

_paused = False


def pause() -> None:
    """Turns garbage collection off until `resume`; for a process of jaxrec's own."""
    global _paused
    _paused = gc.isenabled()
    gc.disable()


def resume() -> None:
    """Turns it on again where `pause` turned it off; objects made until now are not looked through any more."""
    global _paused
    if _paused:
        gc.freeze()
        gc.enable()
    _paused = False
