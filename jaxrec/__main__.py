"""`python -m jaxrec` is the command `jaxrec`."""

from jaxrec.cli import run

if __name__ == "__main__":
    run()
