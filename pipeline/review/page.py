"""The review page: findings one by one, and the decisions of a person about them.

python -m pipeline.review.page --output-dir data/output

It is served on this machine only. The photos are never changed: decisions are added to a file of
corrections, which the next run applies.
"""

import argparse
import getpass
import os
import secrets
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import checks, settled
from pipeline.files import local_server, naming, output_store, places
from pipeline.files.numbers import counted
from pipeline.photos import corrections, decisions
from pipeline.photos.corrections import EXCLUDE, KEEP, RELABEL, UNDO
from pipeline.photos.file_names import composed, printable
from pipeline.review import last_run, pictures, queue, subject, suggestions
from pipeline.review.queue import EARLIER, ONLY, StaleError, State
from pipeline.review.subject import Subject

PORT = 8084
_ACTIONS = (RELABEL, EXCLUDE, KEEP, ONLY, UNDO)
_HOSTS = (local_server.HOST, "localhost")  # a page elsewhere may have a name that leads here
_MAX_REQUEST = 2**16  # bytes
_OUTDATED = "There are newer findings or suggestions. Reload the page to see them."


def application(about: Subject, read_only: bool = False) -> Any:
    """Create the WSGI application.

    Raises:
        UserError: if Flask is not installed.
    """
    flask = local_server.import_flask()
    app = flask.Flask("pipeline")  # the package with the templates
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST
    token = secrets.token_urlsafe()

    @app.before_request
    def refuse_others() -> None:
        """Refuse requests to other names, and changes that do not come from the page."""
        if flask.request.host.rpartition(":")[0] not in _HOSTS:
            flask.abort(403)
        if flask.request.method in ("GET", "HEAD"):
            return
        is_same_origin = flask.request.headers.get("Origin") == f"http://{flask.request.host}"
        given = flask.request.headers.get("X-Token", "").encode()
        has_token = secrets.compare_digest(given, token.encode())
        if read_only or not is_same_origin or not has_token:
            flask.abort(403)

    @app.get("/")
    def page() -> Any:
        flask.g.nonce = secrets.token_urlsafe()
        return flask.render_template(
            "review.html", token="" if read_only else token, nonce=flask.g.nonce
        )

    @app.errorhandler(UserError)
    def explain(error: UserError) -> Any:
        return flask.jsonify(error=str(error)), 422

    @app.get("/entries")
    def list_entries() -> Any:
        about.refresh()
        kinds = {
            kind: {
                "title": each.title,
                "meaning": each.meaning,
                "group": kind in settled.GROUPS,
                "keep": kind != suggestions.KIND,
                "earlier": kind == EARLIER,
            }
            for kind, each in (checks.KINDS | suggestions.KINDS | queue.KINDS).items()
        }
        return flask.jsonify(
            kinds=kinds,
            entries=[asdict(entry) for entry in about.queue.entries],
            states=[asdict(state) for state in about.queue.states()],
            labels=about.labels,
            version=about.version,
            file=str(about.queue.path),
        )

    @app.get("/states")
    def list_states() -> Any:
        if flask.request.args.get("version") != about.version or not about.is_newest():
            raise UserError(_OUTDATED)
        return flask.jsonify([asdict(state) for state in about.queue.states()])

    @app.get("/class")
    def describe_class() -> Any:
        """Say what a typed class is: one that exists, a possible new one, or neither."""
        label = composed(flask.request.args.get("name", "").strip())
        return flask.jsonify(
            label=label,
            problem=corrections.label_problem(label),
            nearest=naming.nearest(label, about.labels),
        )

    @app.get("/commands")
    def list_commands() -> Any:
        return flask.jsonify(about.commands())

    @app.get("/guesses/<digest>/<int:number>")
    def guesses(digest: str, number: int) -> Any:
        entries = about.queue.entries
        if number >= len(entries):
            flask.abort(404)
        same = [photo for photo in entries[number].photos if photo.digest == digest]
        if not same:
            flask.abort(404)
        found = about.guessed.get(digest) or about.evidence.guesses(
            same[0].path, digest, same[0].label
        )
        return flask.jsonify([asdict(guess) for guess in found])

    @app.get("/photo/<digest>/<any(large, small):size>")
    def photo(digest: str, size: str) -> Any:
        place = about.photos.get(digest)
        side = pictures.LARGE if size == "large" else pictures.SMALL
        picture = pictures.jpeg(place, side) if place else None
        if picture is None:
            flask.abort(404)
        response = flask.Response(picture, mimetype="image/jpeg")
        response.headers["Cache-Control"] = "private, max-age=86400, immutable"
        return response

    @app.post("/decide")
    def decide() -> Any:
        entries, labels = about.queue.entries, about.labels
        try:
            asked = flask.request.get_json()
            if asked["version"] != about.version:
                raise UserError(_OUTDATED)
            number, action, label = int(asked["entry"]), asked["action"], asked.get("label", "")
            only, seen = int(asked.get("only", 0)), State(**asked["seen"])
            photos = entries[number].photos if number >= 0 else ()
            valid = action in _ACTIONS and isinstance(label, str) and 0 <= only < len(photos)
            if action in (KEEP, ONLY) and entries[number].kind == suggestions.KIND:
                valid = False  # there is no label to keep
            is_new = action == RELABEL and label not in labels
            if not valid or (is_new and asked.get("create") is not True):
                raise ValueError
            if action == RELABEL and (problem := corrections.label_problem(composed(label))):
                raise UserError(f"class {label!r} {problem}")
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            flask.abort(400)
        try:
            changed = about.queue.decide(number, action, label, only, seen)
        except StaleError:
            return flask.jsonify(states=[asdict(state) for state in about.queue.states()]), 409
        if is_new:
            labels.append(label)
        return flask.jsonify({n: asdict(state) for n, state in changed.items()})

    @app.after_request
    def only_from_here(response: Any) -> Any:
        """Forbid the browser to load anything from elsewhere, or to run what a name contains."""
        nonce = flask.g.get("nonce", "")
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; img-src 'self' data:; connect-src 'self'; "
            f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    return app


def _require_writable(file: Path) -> None:
    for path in (file.parent, file) if file.exists() else (file.parent,):
        if not os.access(path, os.W_OK):
            raise UserError(
                f"corrections: {path} cannot be written, so decisions would be lost; change its "
                "permissions, or look without deciding: make review READ_ONLY=1"
            )


def _totals(file: Path) -> Counter[str]:
    """Count the photos by what the lines about each of them come to."""
    totals = Counter[str]()
    for lines in corrections.by_content(corrections.read(file)).values():
        decided = decisions.decide_files(lines, {line.path for line in lines})
        totals.update(decision.action for decision in decided.values())
    return totals


def main() -> None:
    """Serve the page until it is interrupted, and print what was decided."""
    parser = argparse.ArgumentParser(description="Serve a page for decisions about findings.")
    parser.add_argument("--output-dir", default="data/output")
    parser.add_argument(
        "--corrections",
        default="",
        help="file to which decisions are added (default: that of the last run)",
    )
    parser.add_argument("--read-only", action="store_true", help="show findings, change nothing")
    parser.add_argument("--who", default="", help="name of the person (default: the user)")
    parser.add_argument("--port", default=str(PORT), help="0: any free port (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        port = local_server.parse_port(arguments.port)
        output_dir = places.existing_output(output_store.local_folder(arguments.output_dir))
        run = last_run.find(output_dir)
        file = places.parse(arguments.corrections or str(run.corrections_file("")))
        if not isinstance(file, Path):
            raise UserError(
                f"corrections: lines can only be added to a local file, not to {file}; download "
                "it, and pass CORRECTIONS=..."
            )
        if not arguments.read_only:
            _require_writable(file)
        about = subject.read(run, file, printable(arguments.who or getpass.getuser()))
        server = local_server.create(application(about, arguments.read_only), port)
        mode = " (read-only)" if arguments.read_only else ""
        number = sum(entry.kind != EARLIER for entry in about.queue.entries)
        local_server.run(server, f"Review {counted(number, 'finding')}{mode} on")
        done, commands = _totals(file), about.commands()  # the file may be gone by now, or damaged
    except UserError as error:
        sys.exit(str(error))
    print(f"{file}: {', '.join(f'{n:,} {action}' for action, n in done.items()) or 'no lines'}")
    print("To train with these corrections:", *commands, sep="\n    ")


if __name__ == "__main__":
    main()
