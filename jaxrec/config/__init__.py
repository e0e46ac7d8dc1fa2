"""Configurations: keys, their valid values, and files."""
