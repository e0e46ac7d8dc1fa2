"""Runs the command `jaxrec` by `python -m jaxrec`."""

from jaxrec.cli import run

if __name__ == "__main__":
    run()
