"""The front door: what notebooks, scripts and the commands call."""
