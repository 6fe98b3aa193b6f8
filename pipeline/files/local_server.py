"""Web pages for the users of this machine: served on 127.0.0.1, one user at a time."""

import io
import sys
from contextlib import redirect_stderr
from typing import Any

from pipeline.errors import UserError

HOST = "127.0.0.1"  # not reachable from other machines


def import_flask() -> Any:
    """Return the module Flask.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import flask
    except ImportError:
        raise UserError(
            "the page needs Flask, which is not installed; "
            "install it with: pip install 'retrain[demo]'"
        ) from None
    return flask


def parse_port(text: str) -> int:
    """Return the number of a port; 0 stands for any free one.

    Raises:
        UserError: if the text is not such a number.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 2**16):
        raise UserError(
            f"port {text!r} is not a number from 1 to {2**16 - 1}; "
            "choose another one with PORT=... (--port)"
        )
    return int(text)


def create(app: Any, port: int) -> Any:
    """Create the server of a WSGI application; its `server_port` is the port.

    Args:
        app: the application.
        port: 0 for any free port.

    Raises:
        UserError: if the port cannot be used, for example because another program uses it.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            """Do not log requests."""

    refusal = io.StringIO()  # Werkzeug's own text, which names no option
    try:
        with redirect_stderr(refusal):
            return make_server(HOST, port, app, threaded=True, request_handler=Quiet)
    except (OSError, SystemExit) as error:
        reason = refusal.getvalue().partition("\n")[0] or str(error)
        raise UserError(
            f"port {port} cannot be used: {reason}; choose another one with PORT=... (--port)"
        ) from None


def run(server: Any, invitation: str) -> None:
    """Print an invitation with the address, and serve until the user presses Ctrl-C."""
    address = f"http://{HOST}:{server.server_port}"
    print(f"{invitation} {address} (press Ctrl-C to stop)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def main() -> None:
    """Check that a port can be used by a server that another package starts."""
    try:
        create(None, parse_port(sys.argv[1])).server_close()
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
