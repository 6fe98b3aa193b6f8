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
from PIL import Image

from pipeline.bottlenecks import writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.modules import consistency, preparation
from pipeline.photos import discovery, inspection, manifest, remarks
from pipeline.photos.listing import list_photos
from pipeline.photos.manifest import Summary
from pipeline.photos.split import SplitRule
from pipeline.pixels.augmentation import Augmentation
from tests.support.commands import luigi
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import normalizing_module, training_module
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
    listing = list_photos(image_dir)
    table = manifest.build(listing, image_dir, SplitRule(0, 0))
    manifest.write(table, image_dir.parent / "classes.parquet")
    summary: Summary = manifest.read_summary(image_dir.parent / "classes.parquet")
    assert all(summary.by_label[label].training for label in labels)
    names = [writer.class_name(summary.by_label[label], Augmentation()) for label in labels]
    assert len({name.lower() for name in names}) == len(labels)
    (line,) = remarks.label_lines(listing.labels)
    named = all(ascii(label) in line or repr(label) in line for label in labels)
    return "two classes" + ", and reported" * named


def lines_about(image_dir: Path) -> list[str]:
    """Return the remarks on a new manifest."""
    listing = list_photos(image_dir)
    table = manifest.build(listing, image_dir, SplitRule())
    lines = list(remarks.summary_lines(table, listing, image_dir, SplitRule()))
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
    assert {fate(store.image_dir, f"red_rose/{name}") for name in names} == {"ignored"}
    (line,) = lines_about(store.image_dir)
    assert line.startswith("Skipped 5 files or folders of the operating system")
    return "ignored, and counted by name"


@trial("@eaDir, #recycle, __MACOSX, ~$a.jpg, *.crdownload")
def _(store: Store, make_photo: PhotoMaker) -> str:
    folders = ("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", ".Trashes", "lost+found")
    for folder in folders:
        make_photo(store.image_dir / folder / "1.jpg")
        make_photo(store.image_dir / "red_rose" / folder / "1.jpg")
    for name in ("Thumbs.db", "~$a.jpg", "b.jpg.crdownload"):
        make_photo(store.image_dir / "red_rose" / name, kind="JPEG")
    assert list_photos(store.image_dir).labels == ("green leaf", "red_rose")
    (line,) = lines_about(store.image_dir)
    assert line.startswith("Skipped 15 files or folders of the operating system")
    assert "@eaDir (2)" in line
    return "ignored, and counted by name"


@trial("text, table, video or archive by its suffix")
def _(store: Store, make_photo: PhotoMaker) -> str:
    for name in ("a.txt", "b.txt", "c.csv", "d.mp4", "e.zip"):
        make_photo(store.image_dir / "red_rose" / name, kind="JPEG")
    lines = lines_about(store.image_dir)
    assert lines == ["Skipped 5 files that are not photos: 2 .txt, 1 .csv, 1 .mp4, 1 .zip"]
    return "ignored, and counted by suffix"


@trial("photo named 1.jpg.1, or after a date (2024.05.17)")
def _(store: Store, make_photo: PhotoMaker) -> str:
    names = ("1.jpg.1", "2024.05.17", "1.jpg copy", "no suffix")
    for name in names:
        make_photo(store.image_dir / "red_rose" / name, kind="JPEG")
    return " or ".join({fate(store.image_dir, f"red_rose/{name}") for name in names})


@trial("other file without a known suffix")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    for name in ("README", "empty", "log.1"):
        (store.image_dir / "red_rose" / name).write_text("" if name == "empty" else "text")
    lines = lines_about(store.image_dir)
    assert lines == ["Skipped 3 files that are not photos: 2 without suffix, 1 .1"]
    return "ignored, and counted by suffix"


@trial("photo in git-annex that is not on this machine")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    target = "../.git/annex/objects/0/SHA256E-s9--0.jpg/SHA256E-s9--0.jpg"
    (store.image_dir / "red_rose/x.jpg").symlink_to(target)
    return fate(store.image_dir, "red_rose/x.jpg")


@trial("photo in iCloud that is not on this machine")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    (store.image_dir / "red_rose/.y.jpg.icloud").write_bytes(b"bplist00")
    return fate(store.image_dir, "red_rose/.y.jpg.icloud")


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
    lines = lines_about(store.image_dir)
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
    table = manifest.build(list_photos(store.image_dir), store.image_dir, SplitRule(0, 0))
    labels = table["label"].to_pylist()
    return "one class" if labels.count("caf\u00e9") == 2 else f"{labels}"


@trial("class emptied between two nights")
def _(store: Store, make_photo: PhotoMaker) -> str:
    photo = make_photo(store.image_dir / "weed/1.jpg", 2)
    store.run()
    photo.unlink()
    store.run()
    assert sorted(set(store.frame()["label"])) == ["green leaf", "red_rose"]
    (named,) = (line for line in lines_about(store.image_dir) if "weed" in line)
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


@trial("photo for which the module returns NaN")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    directory = normalizing_module(store.path / "normalizing")
    store.recipe = Recipe(preparation.prepare(str(directory), store.path), "float32", "float16")
    Image.new("RGB", (9, 9)).save(store.image_dir / "red_rose/black.png")
    return "set aside with the vectors: " + store.run().rejected["red_rose/black.png"]


@trial("module saved in training mode")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    directory = training_module(store.path / "training")
    module = preparation.prepare(str(directory), store.path)
    return stopped(lambda: consistency.check(module))


@trial("folders train and test instead of classes")
def _(store: Store, make_photo: PhotoMaker) -> str:
    for part in ("Train", "valid", "test"):
        make_photo(store.path / "parts" / part / "rose/1.jpg")
    return stopped(lambda: list_photos(store.path / "parts"))


@trial("folders of other names that contain the same class folders")
def _(store: Store, make_photo: PhotoMaker) -> str:
    for part in ("fold1", "fold2", "fold3"):
        for label in ("rose", "daisy"):
            make_photo(store.path / "parts" / part / label / "1.jpg")
    return stopped(lambda: list_photos(store.path / "parts"))


@trial("output folder inside the image folder")
def _(store: Store, _make_photo: PhotoMaker) -> str:
    return _run(store, "--output-dir", store.image_dir / "red_rose/out")


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
