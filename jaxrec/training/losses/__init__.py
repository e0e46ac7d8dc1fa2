"""Losses, one per file and each written for one slot, and their totals over a batch."""
