"""The review page: its requests."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import checks
from pipeline.photos import corrections
from pipeline.photos.corrections import Correction
from pipeline.review import last_run, page, suggestions
from pipeline.review import subject as subjects
from pipeline.review.subject import Subject
from tests.support.photos import PhotoMaker

LABEL = {"entry": 1, "action": "keep", "seen": {"settled": False, "photos": [""]}}


@pytest.fixture
def subject(checked: Path) -> Subject:
    return subjects.read(last_run.find(checked), checked.parent / corrections.FILE, "Ann")


def client_of(subject: Subject, read_only: bool = False) -> Any:
    return page.application(subject, read_only).test_client()


@pytest.fixture
def client(subject: Subject) -> Any:
    return client_of(subject)


def headers(client: Any) -> dict[str, str]:
    shown = client.get("/", base_url="http://127.0.0.1:8084").text
    token = shown.partition('name="token" content="')[2].partition('"')[0]
    return {"X-Token": token, "Origin": "http://127.0.0.1:8084"}


def post(client: Any, asked: dict[str, Any], **changed: str) -> Any:
    if "version" not in asked:
        asked = asked | {"version": get(client, "/entries").json["version"]}
    return client.post(
        "/decide",
        json=asked,
        headers=headers(client) | changed,
        base_url="http://127.0.0.1:8084",
    )


def get(client: Any, path: str) -> Any:
    return client.get(path, base_url="http://127.0.0.1:8084")


def test_the_entries_are_the_findings_about_photos(client: Any, checked: Path) -> None:
    answer = get(client, "/entries").json
    assert [entry["kind"] for entry in answer["entries"]] == ["leak", "label", "label", "label"]
    assert answer["kinds"]["leak"]["group"]
    assert answer["labels"] == ["green leaf", "red_rose"]
    photos = checked.parent / "photos"
    train = f"make train IMAGE_DIR={photos} OUTPUT_DIR={checked} 'OPTIONS=--l2 0.1'"
    assert get(client, "/commands").json == [train]


def test_a_decision_is_in_the_file(client: Any, subject: Subject) -> None:
    assert post(client, LABEL).json == {"1": {"settled": True, "photos": ["kept"]}}
    (line,) = corrections.read(subject.queue.path)
    assert (line.path, line.action, line.who) == ("red_rose/2.jpg", "keep", "Ann")
    stale = post(client, LABEL | {"action": "exclude"})
    assert (stale.status_code, stale.json["states"][1]["photos"]) == (409, ["kept"])
    assert len(corrections.read(subject.queue.path)) == 1


@pytest.mark.parametrize(
    "changed",
    [{"X-Token": "guess"}, {"X-Token": ""}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
)
def test_other_pages_cannot_decide(client: Any, subject: Subject, changed: dict[str, str]) -> None:
    assert post(client, LABEL, **changed).status_code == 403
    assert not subject.queue.path.exists()


def test_names_that_lead_to_this_machine_are_refused(client: Any) -> None:
    assert client.get("/entries", base_url="http://evil.example:8084").status_code == 403
    assert client.get("/entries", base_url="http://localhost:9000").status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        {"entry": 4},
        {"entry": -1},
        {"action": "delete"},
        {"action": "relabel", "label": "no such class"},
        {"action": "relabel", "label": "no such class", "create": "yes"},
        {"action": "only", "only": 1},
        {"action": ["keep"]},
        {"action": "relabel", "label": ["red_rose"]},
        {"action": "relabel", "label": None, "create": True},
        {"action": "relabel", "label": 5, "create": True},
        {"label": None},
        {"entry": float("inf")},
        {"seen": None},
    ],
)
def test_impossible_decisions_are_refused(
    client: Any, subject: Subject, asked: dict[str, Any]
) -> None:
    assert post(client, LABEL | asked).status_code == 400
    assert not subject.queue.path.exists()


def test_a_new_class_is_made_only_on_purpose(client: Any, subject: Subject) -> None:
    described = get(client, "/class?name= Red-Rose ").json
    assert described == {"label": "Red-Rose", "problem": "", "nearest": "red_rose"}
    hidden = get(client, "/class?name=.x").json
    assert hidden["problem"].startswith("is the name of a hidden folder")
    asked = LABEL | {"action": "relabel", "create": True}
    refused = post(client, asked | {"label": "../x"})
    assert (refused.status_code, refused.json["error"]) == (
        *(422, "class '../x' contains a path separator"),
    )
    assert post(client, asked | {"label": "tulip"}).status_code == 200
    (line,) = corrections.read(subject.queue.path)
    assert line.label == "tulip"
    assert "tulip" in get(client, "/entries").json["labels"]
    again = subjects.read(subject.run, subject.queue.path, "Ann")
    assert "tulip" in again.labels


@pytest.fixture
def unlabelled(checked: Path, make_photo: PhotoMaker, tmp_path: Path) -> Subject:
    """Return a subject with an unlabelled photo, its last entry."""
    path = str(make_photo(tmp_path / "uploads/new.jpg", 1, 77))
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    guesses = {"label_1": "red_rose", "score_1": 0.6, "label_2": "green leaf", "score_2": 0.4}
    row = {"path": path, "digest": digest, "uncertainty": 0.8, "known": 0.5} | guesses
    known = row | {"digest": last_run.find(checked).photos["digest"][0]}
    table = pd.DataFrame([row, known]).reindex(columns=suggestions.COLUMNS)
    suggestions.write(table, checked / suggestions.FOLDER / "a.csv")
    return subjects.read(last_run.find(checked), tmp_path / corrections.FILE, "Ann")


def test_an_unlabelled_photo_has_no_label_to_keep_and_must_be_copied(unlabelled: Subject) -> None:
    client = client_of(unlabelled)
    number = len(unlabelled.queue.entries) - 1
    assert [e.kind for e in unlabelled.queue.entries].count(suggestions.KIND) == 1
    asked = LABEL | {"entry": number}
    assert post(client, asked).status_code == 400
    assert post(client, asked | {"action": "only"}).status_code == 400
    assert post(client, asked | {"action": "relabel", "label": "red_rose"}).status_code == 200
    apply, train = get(client, "/commands").json
    output_dir = unlabelled.run.output_dir
    assert apply == f"make apply-corrections OUTPUT_DIR={output_dir} APPLY=1"
    assert train.startswith("make train ")


def test_a_photo_that_was_labelled_earlier_is_still_shown(unlabelled: Subject) -> None:
    number = len(unlabelled.queue.entries) - 1
    asked = LABEL | {"entry": number, "action": "relabel", "label": "red_rose"}
    assert post(client_of(unlabelled), asked).status_code == 200
    (unlabelled.run.output_dir / suggestions.FOLDER / "a.csv").unlink()  # of other photos by now
    again = subjects.read(unlabelled.run, unlabelled.queue.path, "Ann")
    client, digest = client_of(again), again.queue.entries[number].photos[0].digest
    assert again.queue.states()[number].photos == ["relabelled red_rose"]
    assert get(client, f"/photo/{digest}/small").status_code == 200
    assert get(client, f"/guesses/{digest}/{number}").json == []
    assert len(get(client, "/commands").json) == 2  # it is still to be copied


def test_the_next_run_shows_earlier_decisions(subject: Subject) -> None:
    digest = subject.run.photos["digest"][0]
    path = subject.run.photos["path"][0]
    corrections.append(subject.queue.path, [Correction(digest, path, "exclude")])
    answer = get(client_of(subjects.read(subject.run, subject.queue.path, "Ann")), "/entries").json
    assert answer["entries"][-1]["kind"] == "decision"
    assert answer["kinds"]["decision"]["earlier"]
    assert answer["states"][-1] == {"settled": True, "photos": ["excluded"]}


def test_read_only_shows_and_changes_nothing(subject: Subject) -> None:
    client = client_of(subject, read_only=True)
    assert headers(client)["X-Token"] == ""
    assert ">read-only<" in get(client, "/").text
    assert ">read-only<" not in get(client_of(subject), "/").text
    assert get(client, "/entries").status_code == 200
    assert post(client, LABEL).status_code == 403
    assert not subject.queue.path.exists()


def test_the_terminal_says_read_only_and_counts_photos_once(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    post(client_of(subject), LABEL)
    (line,) = corrections.read(subject.queue.path)
    corrections.append(subject.queue.path, [replace(line, why="outlier")])
    output_dir = str(subject.run.output_dir)
    monkeypatch.setattr("sys.argv", ["page", "--output-dir", output_dir, "--read-only", "--port=0"])
    stop = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("socketserver.BaseServer.serve_forever", stop)
    page.main()
    printed = capsys.readouterr().out
    assert "Review 4 findings (read-only) on http://" in printed
    assert f"{subject.queue.path}: 1 keep\n" in printed


@pytest.mark.parametrize("damage", ["gone", "empty", "torn"])
def test_ctrl_c_ends_with_one_line_if_the_file_was_damaged_meanwhile(
    subject: Subject, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(client_of(subject), LABEL)
    file = subject.queue.path

    def spoil(**_: object) -> None:
        content = {"empty": "", "torn": file.read_text()[:-40]}.get(damage)
        file.unlink() if content is None else file.write_text(content)
        raise KeyboardInterrupt

    output_dir = str(subject.run.output_dir)
    monkeypatch.setattr("sys.argv", ["page", "--output-dir", output_dir, "--port=0"])
    monkeypatch.setattr("socketserver.BaseServer.serve_forever", Mock(side_effect=spoil))
    with pytest.raises(SystemExit) as end:
        page.main()
    assert len(str(end.value).splitlines()) == 1
    assert str(file) in str(end.value)


def test_the_remedy_for_a_lost_file_works_now_and_at_the_next_start(subject: Subject) -> None:
    client = client_of(subject)
    post(client, LABEL)
    run, file = subject.run, subject.queue.path
    findings, listed = (
        run.output_dir / f"{n}/0123456789ab.parquet" for n in ("checks", "manifests")
    )
    last_run.record(run.output_dir, findings, listed, run.options, 1)
    version = get(client, "/entries").json["version"]
    file.unlink()
    error = get(client, f"/states?version={version}").json["error"]
    with pytest.raises(UserError) as refused:  # a restart alone does not withdraw the lines
        subjects.read(run, file, "Ann")
    remedy = error.partition("; ")[2]
    assert remedy
    assert str(refused.value).endswith(remedy)
    file.write_text(remedy.rpartition(": ")[2] + "\n")
    for each in (subject, subjects.read(run, file, "Ann")):
        assert not any(state.settled for state in each.queue.states())


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, output_dir = subject.queue.path, str(subject.run.output_dir)
    file.write_text(",".join(corrections.COLUMNS) + "\n")
    # Permissions would not stop root.
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != file)
    monkeypatch.setattr("sys.argv", ["page", "--output-dir", output_dir, "--port=0"])
    with pytest.raises(SystemExit, match=f"{file} cannot be written, .* make review READ_ONLY=1"):
        page.main()


def test_photos_are_served_by_digest_only(client: Any, subject: Subject) -> None:
    digest = subject.queue.entries[0].photos[0].digest
    for size in ("small", "large"):
        answer = get(client, f"/photo/{digest}/{size}")
        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    for path in (f"/photo/{digest}/huge", "/photo/red_rose%2F0.jpg/large", "/photo/..%2Fx/small"):
        assert get(client, path).status_code == 404


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_other_script(client: Any) -> None:
    first, second = get(client, "/"), get(client, "/")
    policy = first.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert policy != second.headers["Content-Security-Policy"]
    assert "http://" not in first.text
    assert "https://" not in first.text


def test_newer_findings_are_shown_once_the_page_is_loaded_again(
    client: Any, subject: Subject, checked: Path
) -> None:
    old = get(client, "/entries").json
    assert len(get(client, f"/states?version={old['version']}").json) == 4
    findings = checks.read(checked / "checks/0123456789ab.parquet")
    checks.write(findings[findings["kind"] == "leak"], checked / "checks/new.parquet")
    listed = checked / "manifests/0123456789ab.parquet"
    last_run.record(checked, checked / "checks/new.parquet", listed, subject.run.options)
    assert "Reload the page" in get(client, f"/states?version={old['version']}").json["error"]
    asked = LABEL | {"entry": 0}
    new = get(client, "/entries").json
    assert [entry["kind"] for entry in new["entries"]] == ["leak"]
    refused = post(client, asked | {"version": old["version"]})
    assert (refused.status_code, subject.queue.path.exists()) == (422, False)
    seen = {"settled": False, "photos": ["", ""]}
    assert post(client, asked | {"seen": seen}).json["0"]["settled"]


def test_newer_suggestions_are_noticed(unlabelled: Subject) -> None:
    client = client_of(unlabelled)
    old = get(client, "/entries").json["version"]
    folder = unlabelled.run.output_dir / suggestions.FOLDER
    suggestions.write(suggestions.newest(folder.parent).head(0), folder / "b.csv")
    assert get(client, f"/states?version={old}").status_code == 422
    assert {e["kind"] for e in get(client, "/entries").json["entries"]} == {"leak", "label"}


def test_an_invalid_file_is_a_message(client: Any, subject: Subject) -> None:
    subject.queue.path.write_text("digest;path\n")
    answer = post(client, LABEL | {"version": subject.version})
    assert answer.status_code == 422
    assert "is not digest,path" in answer.json["error"]


def test_the_photos_may_be_gone(client: Any, subject: Subject, photo_dir: Path) -> None:
    digest = subject.queue.entries[0].photos[0].digest
    shutil.rmtree(photo_dir)
    assert get(client, f"/photo/{digest}/large").status_code == 404
    assert get(client, f"/guesses/{digest}/0").json == []
    assert get(client, f"/guesses/{digest}/7").status_code == 404
