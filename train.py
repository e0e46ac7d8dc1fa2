from jaxrec.cli import run

run("train")
