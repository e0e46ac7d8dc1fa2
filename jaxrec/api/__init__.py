"""The Python API, used by notebooks, scripts and the commands."""
