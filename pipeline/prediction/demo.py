"""The demo page: drop a photo and see its classes. It is served on this machine only."""

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.export import model_json
from pipeline.nightly import shared_state
from pipeline.photos.inspection import MAX_BYTES
from pipeline.prediction import single

HOST = "127.0.0.1"  # not reachable from other machines
PORT = 8000


def application(model: Path) -> Any:
    """Create the WSGI application: `GET /`, and `POST /classify` with a photo's bytes.

    Args:
        model: folder of an exported model.

    Raises:
        UserError: if there is no such model, or Flask is not installed.
    """
    try:
        from flask import Flask, jsonify, render_template, request
    except ImportError:
        raise UserError(
            "the page needs Flask, which is not installed; "
            "install it with: pip install 'retrain[demo]'"
        ) from None
    labels = model_json.read(model)["labels"]
    classify = single.load(model)
    app = Flask("pipeline")  # the package with the templates
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES

    @app.get("/")
    def page() -> str:
        return render_template("demo.html", labels=labels)

    @app.post("/classify")
    def answer() -> Any:
        try:
            answers = classify(request.get_data())
        except UserError as error:
            return jsonify(error=str(error)), 422
        return jsonify(answers=[{"label": label, "score": score} for label, score in answers])

    @app.after_request
    def only_from_here(response: Any) -> Any:
        """Forbid the browser to load anything from elsewhere."""
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; img-src blob: data:; style-src 'unsafe-inline'; "
            "script-src 'unsafe-inline'"
        )
        return response

    return app


def main() -> None:
    """Serve the page until it is interrupted."""
    parser = argparse.ArgumentParser(description="Serve a page that classifies photos.")
    parser.add_argument(
        "--model",
        default="data/output/current",
        help="folder of an exported model, or its URL (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help="0: any free port (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        app = application(shared_state.resolve_model(arguments.model))
        server = _server(app, arguments.port)
    except UserError as error:
        sys.exit(str(error))
    print(f"Drop a photo on http://{HOST}:{server.server_port} (press Ctrl-C to stop)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def _server(app: Any, port: int) -> Any:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            """Do not log requests."""

    try:
        return make_server(HOST, port, app, threaded=True, request_handler=Quiet)
    except (OSError, SystemExit):
        raise UserError(f"port {port} is in use; choose another one: --port {port + 1}") from None


if __name__ == "__main__":
    main()
