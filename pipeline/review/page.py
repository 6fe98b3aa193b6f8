"""The review page: findings one by one, and the decisions of a person about them.

python -m pipeline.review.page --output-dir data/output

It is served on this machine only. The photos are never changed: decisions are added to a file of
corrections, which the next run applies.
"""

import argparse
import getpass
import hmac
import secrets
import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import checks, settled
from pipeline.files import local_server, output_store, places
from pipeline.files.places import Place
from pipeline.photos import corrections, inspection
from pipeline.photos.corrections import EXCLUDE, KEEP, RELABEL, UNDO
from pipeline.review import evidence, last_run, pictures, queue, suggestions
from pipeline.review.evidence import Evidence, Guess
from pipeline.review.queue import ONLY, Queue, StaleError, State

PORT = 8084
_ACTIONS = (RELABEL, EXCLUDE, KEEP, ONLY, UNDO)
_HOSTS = (local_server.HOST, "localhost")  # a page elsewhere may have a name that leads here
_MAX_REQUEST = 2**16  # bytes


@dataclass(frozen=True)
class Subject:
    """What the page is about.

    Attributes:
        queue: the findings, and the decisions about them.
        photos: where the photos of the page are, by digest.
        labels: the classes.
        evidence: what speaks for and against labels.
        guessed: probable labels of unlabelled photos, by digest.
        command: the command that trains with the corrections.
    """

    queue: Queue
    photos: Mapping[str, Place]
    labels: list[str]
    evidence: Evidence
    guessed: Mapping[str, list[Guess]]
    command: str


def open_subject(output_dir: Path, file: Path, who: str) -> Subject:
    """Return the findings of the last run and the photos that are worth labelling next.

    Args:
        output_dir: the output folder.
        file: the file of corrections.
        who: the person who decides.

    Raises:
        UserError: if there are no findings, or the file of corrections is invalid.
    """
    run = last_run.find(output_dir)
    suggested = suggestions.newest(output_dir)
    entries = [*queue.entries(run.findings, run.photos), *suggestions.entries(suggested)]
    files = pd.concat([run.photos[["digest", "path"]], suggested[["digest", "path"]]])
    usable = run.photos[run.photos["status"] == inspection.OK]
    shown = {photo.digest for entry in entries for photo in entry.photos}
    found = evidence.read(output_dir / "bottlenecks", usable, shown)
    places_of = {
        digest: places.parse(path) for digest, path in suggested[["digest", "path"]].to_numpy()
    }
    known = run.photos.loc[run.photos["digest"] != "", ["digest", "path"]]
    places_of |= {digest: run.image_dir / path for digest, path in known.to_numpy()}
    words = ["make", "train", f"IMAGE_DIR={run.image_dir}"]
    words.append(f"OUTPUT_DIR={output_store.open_store(output_dir).url}")
    if file != corrections.place("", output_dir):
        words.append(f"CORRECTIONS={file}")
    return Subject(
        queue=Queue(entries, files, file, who),
        photos=places_of,
        labels=sorted(set(usable["label"])),
        evidence=found,
        guessed=suggestions.guesses(suggested),
        command=shlex.join(words),
    )


def application(subject: Subject, read_only: bool = False) -> Any:
    """Create the WSGI application.

    Raises:
        UserError: if Flask is not installed.
    """
    flask = local_server.import_flask()
    app = flask.Flask("pipeline")  # the package with the templates
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST
    token = secrets.token_urlsafe()
    entries, labels = subject.queue.entries, set(subject.labels)

    @app.before_request
    def refuse_others() -> None:
        """Refuse requests to other names, and changes that do not come from the page."""
        if flask.request.host.rpartition(":")[0] not in _HOSTS:
            flask.abort(403)
        if flask.request.method in ("GET", "HEAD"):
            return
        is_same_origin = flask.request.headers.get("Origin") == f"http://{flask.request.host}"
        given = flask.request.headers.get("X-Token", "")
        if (
            read_only
            or not is_same_origin
            or not hmac.compare_digest(given.encode(), token.encode())
        ):
            flask.abort(403)

    @app.get("/")
    def page() -> Any:
        flask.g.nonce = secrets.token_urlsafe()
        return flask.render_template(
            "review.html", token="" if read_only else token, nonce=flask.g.nonce
        )

    @app.get("/entries")
    def list_entries() -> Any:
        kinds = {
            kind: {"title": about.title, "meaning": about.meaning, "group": kind in settled.GROUPS}
            for kind, about in (checks.KINDS | {suggestions.KIND: suggestions.ABOUT}).items()
        }
        return flask.jsonify(
            kinds=kinds,
            entries=[asdict(entry) for entry in entries],
            states=[asdict(state) for state in subject.queue.states()],
            labels=subject.labels,
            command=subject.command,
            file=str(subject.queue.path),
        )

    @app.get("/states")
    def list_states() -> Any:
        return flask.jsonify([asdict(state) for state in subject.queue.states()])

    @app.get("/guesses/<digest>/<int:number>")
    def guesses(digest: str, number: int) -> Any:
        if number >= len(entries):
            flask.abort(404)
        labels = [photo.label for photo in entries[number].photos if photo.digest == digest]
        if not labels:
            flask.abort(404)
        found = subject.guessed.get(digest) or subject.evidence.guesses(digest, labels[0])
        return flask.jsonify([asdict(guess) for guess in found])

    @app.get("/photo/<digest>/<any(large, small):size>")
    def photo(digest: str, size: str) -> Any:
        place = subject.photos.get(digest)
        side = pictures.LARGE if size == "large" else pictures.SMALL
        picture = pictures.jpeg(place, side) if place else None
        if picture is None:
            flask.abort(404)
        response = flask.Response(picture, mimetype="image/jpeg")
        response.headers["Cache-Control"] = "private, max-age=86400, immutable"
        return response

    @app.post("/decide")
    def decide() -> Any:
        try:
            asked = flask.request.get_json()
            number, action, label = int(asked["entry"]), asked["action"], asked.get("label", "")
            only, seen = int(asked.get("only", 0)), State(**asked["seen"])
            photos = entries[number].photos if number >= 0 else ()
            valid = action in _ACTIONS and 0 <= only < len(photos)
            if not valid or (action == RELABEL and label not in labels):
                raise ValueError
        except (KeyError, TypeError, ValueError, IndexError):
            flask.abort(400)
        try:
            changed = subject.queue.decide(number, action, label, only, seen)
        except StaleError:
            return flask.jsonify(states=[asdict(state) for state in subject.queue.states()]), 409
        except UserError as error:
            return flask.jsonify(error=str(error)), 422
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


def main() -> None:
    """Serve the page until it is interrupted, and print what was decided."""
    parser = argparse.ArgumentParser(description="Serve a page for decisions about findings.")
    parser.add_argument("--output-dir", default="data/output")
    parser.add_argument(
        "--corrections",
        default="",
        help="file to which decisions are added (default: corrections.csv next to output_dir)",
    )
    parser.add_argument("--read-only", action="store_true", help="show findings, change nothing")
    parser.add_argument("--who", default="", help="name of the person (default: the user)")
    parser.add_argument(
        "--port", type=int, default=PORT, help="0: any free port (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        output_dir = places.existing_output(output_store.local_folder(arguments.output_dir))
        file = places.parse(arguments.corrections or str(corrections.place("", output_dir)))
        if not isinstance(file, Path):
            raise UserError(
                f"corrections: lines can only be added to a local file, not to {file}; download it"
            )
        subject = open_subject(output_dir, file, arguments.who or getpass.getuser())
        server = local_server.create(application(subject, arguments.read_only), arguments.port)
    except UserError as error:
        sys.exit(str(error))
    local_server.run(server, f"Review {len(subject.queue.entries):,} findings on")
    done = Counter(c.action for c in corrections.read(file))
    print(f"{file}: {', '.join(f'{n:,} {action}' for action, n in done.items()) or 'no lines'}")
    print(f"To train with these corrections: {subject.command}")


if __name__ == "__main__":
    main()
