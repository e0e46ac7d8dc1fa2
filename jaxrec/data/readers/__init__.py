"""Readers of logs, a format a file."""
