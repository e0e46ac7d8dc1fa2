"""Formats of files: each read as batches of the chosen columns."""
