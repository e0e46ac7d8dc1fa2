"""Workdirs of trainings and their checkpoints, in a folder or an object store."""
