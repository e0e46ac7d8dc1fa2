from jaxrec.cli import run

run("evaluate")
