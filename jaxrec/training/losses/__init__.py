"""Losses, one a file, each written for one slot; and their totals over a batch."""
