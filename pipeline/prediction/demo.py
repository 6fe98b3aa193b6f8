"""The demo page: drop a photo and see its classes. It is served on this machine only."""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.export import model_json
from pipeline.files import local_server
from pipeline.nightly import shared_state
from pipeline.photos.inspection import MAX_BYTES
from pipeline.prediction import single

PORT = 8000


def application(model: Path) -> Any:
    """Create the WSGI application: `GET /`, and `POST /classify` with a photo's bytes.

    Args:
        model: folder of an exported model. If it is a link, each answer is that of the model to
            which it then points.

    Raises:
        UserError: if there is no such model, or Flask is not installed.
    """
    flask = local_server.import_flask()
    load = functools.lru_cache(maxsize=1)(single.load)
    load(model.resolve())
    app = flask.Flask("pipeline")  # the package with the templates
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES

    @app.errorhandler(UserError)
    def explain(error: UserError) -> Any:
        return flask.jsonify(error=str(error)), 422

    @app.get("/")
    def page() -> str:
        labels = model_json.read(model)["labels"]
        page: str = flask.render_template("demo.html", labels=labels)
        return page

    @app.post("/classify")
    def answer() -> Any:
        prediction = load(model.resolve())(flask.request.get_data())
        answers = [{"label": label, "score": score} for label, score in prediction.answers]
        return flask.jsonify(answers=answers, known=prediction.known, warning=prediction.warning)

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
    parser.add_argument("--port", default=str(PORT), help="0: any free port (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        port = local_server.parse_port(arguments.port)
        app = application(shared_state.resolve_model(arguments.model))
        server = local_server.create(app, port)
    except UserError as error:
        sys.exit(str(error))
    local_server.run(server, "Drop a photo on")


if __name__ == "__main__":
    main()
