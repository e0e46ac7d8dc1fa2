"""Models as pure functions of (params, stream): Linen inside, a plain dict of params outside. One a file."""
