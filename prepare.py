from jaxrec.cli import run

run("prepare")
