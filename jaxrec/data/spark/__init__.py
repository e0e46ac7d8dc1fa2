"""Prepares a log on a Spark cluster: `python -m jaxrec.data.spark`. Needs the extra `spark`."""
