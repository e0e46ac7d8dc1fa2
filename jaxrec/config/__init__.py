"""Configurations: their keys, what these can be, and the files that they are read from."""
