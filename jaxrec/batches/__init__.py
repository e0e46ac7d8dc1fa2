"""Turns interactions into batches: packed rows or session-parallel lanes, with the targets of an objective."""
