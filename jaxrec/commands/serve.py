"""The command serve: the HTTP service of a training."""

from jaxrec.system.errors import UserError


def serve(arguments, overrides):
    """Serve until SIGTERM or Ctrl-C. Returns the exit status."""
    try:
        from jaxrec.serve import server
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install 'jaxrec[serve]'") from error
    return server.serve(arguments, overrides)
