from jaxrec.cli import run

run("serve")
