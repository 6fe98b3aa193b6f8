"""Unusual folders, names, moments and options: each trial returns its outcome."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from pipeline.bottlenecks import writer
from pipeline.errors import UserError
from pipeline.photos import discovery, inspection, manifest
from pipeline.photos.listing import list_photos
from pipeline.photos.manifest import Summary
from pipeline.photos.split import SplitRule
from pipeline.pixels.augmentation import Augmentation
from tests.support.commands import luigi
from tests.support.photos import PhotoMaker
from tests.support.store import Store
from tests.torture.files import JPEG

Trial = Callable[[Store, PhotoMaker], str]
TRIALS: dict[str, Trial] = {}

SPACED, QUOTED, EMOJI, RIGHT_TO_LEFT = "with space", "quo'te\"s, a", "-😀", "\u202eltr"
NAMES = (SPACED, QUOTED, EMOJI, RIGHT_TO_LEFT, "<b>&amp;", "%s{}$(x)`x`;", "a\\b", "n" * 251)


def trial(case: str) -> Callable[[Trial], Trial]:
    """Register a function as the trial of a case."""
    return lambda function: TRIALS.setdefault(case, function)


def fate(image_dir: Path, path: str) -> str:
    """Return how a new manifest treats a photo."""
    listing = list_photos(image_dir)
    rows = manifest.build(listing, image_dir, SplitRule()).to_pandas().set_index("path")
    if path not in rows.index:
        return "ignored"
    status = rows["status"][path]
    return "used" if status == inspection.OK else f"set aside: {status}"


def classes(image_dir: Path, *labels: str) -> str:
    """Return whether labels are separate classes, in folders with distinct names on any disk."""
    table = manifest.build(list_photos(image_dir), image_dir, SplitRule(0, 0))
    manifest.write(table, image_dir.parent / "classes.parquet")
    summary: Summary = manifest.read_summary(image_dir.parent / "classes.parquet")
    assert all(summary.by_label[label].training for label in labels)
    names = [writer.class_name(summary.by_label[label], Augmentation()) for label in labels]
    assert len({name.lower() for name in names}) == len(labels)
    named = any(all(ascii(label) in line for label in labels) for line in remarks(table, image_dir))
    return "two classes" + (", and reported as looking the same" if named else "")


def remarks(table: object, image_dir: Path) -> list[str]:
    lines = list(manifest.summary_lines(table, image_dir))
    assert all(line.splitlines() == [line] for line in lines)
    return lines


def stopped(work: Callable[[], object]) -> str:
    """Return how a run with a mistake ends."""
    try:
        work()
    except UserError as error:
        return f"the run stops: {error}"
    return "nothing stops it"


@contextmanager
def as_nobody(image_dir: Path) -> Iterator[Path]:
    """Copy photos, and read them as a user without the rights of root."""
    with tempfile.TemporaryDirectory() as public:
        os.chmod(public, 0o755)  # noqa: PTH101
        copy = Path(public) / "photos"
        shutil.copytree(image_dir, copy)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            yield copy
        finally:
            os.seteuid(user)


@trial("photo without read permission")
def _(store: Store, make_photo: PhotoMaker) -> str:
    make_photo(store.image_dir / "red_rose/x.jpg").chmod(0)
    with as_nobody(store.image_dir) as image_dir:
        return fate(image_dir, "red_rose/x.jpg")


@trial("folder without read permission")
def _(store: Store, make_photo: PhotoMaker) -> str:
    make_photo(store.image_dir / "red_rose/shut/x.jpg")
    (store.image_dir / "red_rose/shut").chmod(0)
    with as_nobody(store.image_dir) as image_dir:
        return fate(image_dir, "red_rose/shut")


@trial("link to itself")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    (store.image_dir / "red_rose/x.jpg").symlink_to("x.jpg")
    return fate(store.image_dir, "red_rose/x.jpg")


@trial("broken link")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    (store.image_dir / "red_rose/x.jpg").symlink_to("nothing.jpg")
    return fate(store.image_dir, "red_rose/x.jpg")


@trial("link to a parent folder")
def _(store: Store, make_photo: PhotoMaker) -> str:
    make_photo(store.image_dir / "red_rose/deep/1.jpg")
    (store.image_dir / "red_rose/deep/loop").symlink_to("..")
    (store.image_dir / "red_rose/deep/there").symlink_to("back")
    (store.image_dir / "red_rose/deep/back").symlink_to("there")
    found = [f.path for f in discovery.find(store.image_dir) if "deep" in f.path and not f.unusable]
    assert found == ["red_rose/deep/1.jpg"]
    return "ignored: each folder is read once"


@trial("pipe or socket")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    os.mkfifo(store.image_dir / "red_rose/x.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(store.image_dir / "red_rose/y.jpg"))
        assert "not a regular file" in fate(store.image_dir, "red_rose/y.jpg")
    return fate(store.image_dir, "red_rose/x.jpg")


@trial("Thumbs.db, .DS_Store, hidden files")
def _(store: Store, make_photo: PhotoMaker) -> str:
    names = ("Thumbs.db", ".DS_Store", "desktop.ini", "._1.jpg", ".hidden/1.jpg")
    for name in names:
        make_photo(store.image_dir / "red_rose" / name, kind="JPEG")
    fates = {fate(store.image_dir, f"red_rose/{name}") for name in names}
    return " or ".join(fates)


@trial("photo in a subfolder of a class")
def _(store: Store, make_photo: PhotoMaker) -> str:
    make_photo(store.image_dir / "red_rose/summer/1.jpg")
    (found,) = (f for f in discovery.find(store.image_dir) if "summer" in f.path)
    return f"{fate(store.image_dir, found.path)}, {'of that class' * (found.label == 'red_rose')}"


@trial("folders nested 1,200 deep")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    deep = "red_rose/" + "/".join("d" * 1200)
    subprocess.run(["mkdir", "-p", deep], cwd=store.image_dir, check=True)
    try:
        (store.image_dir / deep / "1.jpg").write_bytes(JPEG)
        return fate(store.image_dir, f"{deep}/1.jpg")
    finally:
        subprocess.run(["rm", "-rf", "red_rose/d"], cwd=store.image_dir, check=True)


@trial("name with spaces, quotes, signs, a leading dash, emoji, right-to-left text, 255 bytes")
def _(store: Store, make_photo: PhotoMaker) -> str:
    for name in NAMES:
        make_photo(store.image_dir / name / f"{name}.jpg")
    return " or ".join({fate(store.image_dir, f"{name}/{name}.jpg") for name in NAMES})


@trial("file name with a line break")
def _(store: Store, make_photo: PhotoMaker) -> str:
    make_photo(store.image_dir / "red_rose/a\nb.jpg")
    (store.image_dir / "red_rose/c\nd.jpg").touch()
    listing = list_photos(store.image_dir)
    lines = remarks(manifest.build(listing, store.image_dir, SplitRule()), store.image_dir)
    assert lines[0].startswith("Set aside: red_rose/c\\nd.jpg: empty file")
    return fate(store.image_dir, "red_rose/a\nb.jpg") + ", and shown on one line"


@trial("label with a line break")
def _(store: Store, make_photo: PhotoMaker) -> str:
    make_photo(store.image_dir / "two\nlines/1.jpg")
    return fate(store.image_dir, "two\nlines")


@trial("file name that is not UTF-8")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    (store.image_dir / os.fsdecode(b"red_rose/\xff.jpg")).write_bytes(JPEG)
    return fate(store.image_dir, "red_rose/\\udcff.jpg")


@trial("label that is not UTF-8")
def _(store: Store, make_photo: PhotoMaker) -> str:
    make_photo(store.image_dir / os.fsdecode(b"\xff/1.jpg"))
    return fate(store.image_dir, "\\udcff/1.jpg")


@trial("labels that differ only in case")
def _(store: Store, make_photo: PhotoMaker) -> str:
    for label in ("Rose", "rose"):
        make_photo(store.image_dir / label / "1.jpg")
    return classes(store.image_dir, "Rose", "rose")


@trial("labels with the same simplified name (Cat-1, cat_1)")
def _(store: Store, make_photo: PhotoMaker) -> str:
    for label in ("Cat-1", "cat_1"):
        make_photo(store.image_dir / label / "1.jpg")
    return classes(store.image_dir, "Cat-1", "cat_1")


@trial("labels with composed and decomposed accents")
def _(store: Store, make_photo: PhotoMaker) -> str:
    for label in ("caf\u00e9", "cafe\u0301"):
        make_photo(store.image_dir / label / "1.jpg")
    return classes(store.image_dir, "caf\u00e9", "cafe\u0301")


@trial("class emptied between two nights")
def _(store: Store, make_photo: PhotoMaker) -> str:
    photo = make_photo(store.image_dir / "weed/1.jpg", 2)
    store.run()
    photo.unlink()
    store.run()
    assert sorted(set(store.frame()["label"])) == ["green leaf", "red_rose"]
    table = manifest.build(list_photos(store.image_dir), store.image_dir, SplitRule())
    (named,) = (line for line in remarks(table, store.image_dir) if "weed" in line)
    return "left out, and reported" if "is left out" in named else named


@trial("photo that vanishes before it is read")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    listing = list_photos(store.image_dir)
    (store.image_dir / "red_rose/1.jpg").unlink()
    rows = manifest.build(listing, store.image_dir, SplitRule()).to_pandas()
    return "set aside: " + str(rows.set_index("path")["status"]["red_rose/1.jpg"])


def _during_a_run(store: Store, happens: Callable[[Path], object]) -> str:
    """Change a photo between manifest and bottlenecks; the next run is complete."""
    summary = store.summary()
    rows: pd.DataFrame = manifest.read(store.path / "manifest.parquet")
    happens(store.image_dir / "red_rose/9.jpg")  # in the second batch

    def work() -> None:
        writer.compute(rows, [*summary.classes], store.image_dir, store.recipe, store.path)

    ended = stopped(work)
    again = store.run()
    assert again.reused  # nothing computed is lost
    assert not again.rejected
    return ended


@trial("photo that vanishes after it was read")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    return _during_a_run(store, Path.unlink)


@trial("photo that changes during the run")
def _(store: Store, make_photo: PhotoMaker) -> str:
    return _during_a_run(store, lambda path: make_photo(path, 2, 99))


@trial("percentages that sum to 100 or more")
def _(_store: Store, _make_photo: PhotoMaker) -> str:
    for value in (90, 100, 101, float("inf"), float("nan")):
        assert "must be below 100" in stopped(lambda value=value: SplitRule(value, 10))
    return stopped(lambda: SplitRule(10, 90))


@trial("negative percentage")
def _(_store: Store, _make_photo: PhotoMaker) -> str:
    assert "neither may be negative" in stopped(lambda: SplitRule(10, -1))
    return stopped(lambda: SplitRule(-1, 10))


def _run(store: Store, *options: object, settings: str = "") -> str:
    """Return the output of the first step, run with these settings in luigi.cfg."""
    here = store.path / "here"
    here.mkdir()
    (here / "luigi.cfg").write_text(f"[core]\nlocal_scheduler = true\n{settings}")
    arguments = ("--image-dir", store.image_dir, "--output-dir", here / "out")
    done = luigi("SplitDataset", *arguments, *options, cwd=here)
    assert "Traceback" not in done.stderr
    return ("" if list(here.glob("out/manifests/*")) else "the run stops: ") + done.stderr


@trial("percentage that is not a number")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    return _run(store, "--testing-percentage", "ten")


@trial("percentage in luigi.cfg that is not a number")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    return _run(store, settings="[data]\ntesting_percentage = ten\n")


@trial("unknown option in luigi.cfg")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    return _run(store, settings="[data]\ntest_share = 10\n")


@trial("misspelt section in luigi.cfg")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    return _run(store, settings="[bottleneck]\nprecision = float32\n")


@trial("option unknown to Luigi")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    output = _run(store, settings="[worker]\nkeep_alvie = true\n")
    return (
        "reported, and ignored"
        if "'keep_alvie' with value 'true' that is not consumed" in output
        else output
    )


@trial("section unknown to Luigi and this project")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    output = _run(store, settings="[weather]\nrain = true\n")
    return "reported, and ignored" if "ignoring unknown section [weather]" in output else output
