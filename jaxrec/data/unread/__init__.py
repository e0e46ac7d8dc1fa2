"""Checks for columns that are not read although they say when events happened."""
