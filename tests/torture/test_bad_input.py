"""Bad input and its outcome: the table in docs/reliability.md."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.photos import inspection
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec
from tests.support.commands import ROOT
from tests.support.photos import PhotoMaker
from tests.support.processes import Pipeline
from tests.support.store import Store
from tests.torture.files import FILES
from tests.torture.trials import NAMES, TRIALS

USED, ASIDE, STOPS = "used", "set aside: ", "the run stops: "
REFUSED = "set aside with the vectors: cannot be decoded"
OUTCOMES = {
    "empty": ASIDE + "empty file",
    "text named .jpg": ASIDE + "not a readable image",
    "web page named .jpg": ASIDE + "web page instead of a photo",
    "message of a server named .jpg": ASIDE + "message of a server instead of a photo",
    "Git LFS pointer": ASIDE + "pointer of Git LFS instead of the photo",
    "git-annex pointer": ASIDE + "pointer of git-annex instead of the photo",
    "zeros named .jpg": ASIDE + "only zeros instead of a photo",
    "truncated JPEG": ASIDE + "truncated JPEG",
    "truncated PNG": ASIDE + "truncated PNG",
    "JPEG with a bit flipped in its first bytes": ASIDE + "not a readable image",
    "JPEG with a bit flipped in its tables": REFUSED,
    "JPEG with a bit flipped in its pixels": USED + ", as the change cannot be detected",
    "PNG with a bit flipped in its pixels": REFUSED,
    "PNG named .jpg": USED,
    "JPEG named .png": USED,
    "progressive JPEG": USED,
    "arithmetic-coded JPEG": USED,
    "JPEG with an EXIF rotation": USED + ", upright",
    "PNG with an EXIF rotation": USED + ", upright",
    "WebP with an EXIF rotation": USED + ", upright",
    "JPEG without its end marker": ASIDE + "truncated JPEG",
    "CMYK JPEG": USED,
    "YCCK JPEG": USED,
    "grey JPEG": USED,
    "1-bit PNG": USED,
    "16-bit PNG": USED,
    "PNG with a palette": USED,
    "PNG with alpha": USED + ", on a white background",
    "WebP with alpha": USED + ", on a white background",
    "PNG of 1 x 1 pixel": USED + ", and reported as tiny",
    "PNG of 20,000 x 20,000 pixels": ASIDE + "20000 x 20000 pixels",
    "BMP with a palette": ASIDE + "BMP with a palette is not supported",
    "1-bit BMP": REFUSED,
    "WebP": USED,
    "animated WebP": ASIDE + "animated WebP is not supported",
    "animated GIF": USED + ", only its first frame",
    "GIF with large later frames": ASIDE + "GIF frames of more than 100 million pixels",
    "TIFF": ASIDE + "TIFF is not supported",
    "AVIF": ASIDE + "AVIF is not supported",
    "HEIC": ASIDE + "HEIC is not supported",
    "SVG": ASIDE + "SVG is not supported",
    "photo without read permission": ASIDE + "cannot be read: Permission denied",
    "folder without read permission": ASIDE + "folder cannot be read: Permission denied",
    "link to itself": ASIDE + "cannot be read: Too many levels of symbolic links",
    "broken link": ASIDE + "cannot be read: No such file or directory",
    "link to a parent folder": "ignored: each folder is read once",
    "pipe or socket": ASIDE + "not a regular file",
    "Thumbs.db, .DS_Store, hidden files": "ignored, and counted by name",
    "@eaDir, #recycle, __MACOSX, ~$a.jpg, *.crdownload": "ignored, and counted by name",
    "text, table, video or archive by its suffix": "ignored, and counted by suffix",
    "photo named 1.jpg.1, or after a date (2024.05.17)": USED,
    "other file without a known suffix": "ignored, and counted by suffix",
    "photo in git-annex that is not on this machine": ASIDE
    + "in git-annex, but not on this machine",
    "photo in iCloud that is not on this machine": ASIDE + "in iCloud, but not on this machine",
    "photo in a subfolder of a class": USED + ", of that class",
    "folders nested 1,200 deep": USED,
    "name with spaces, quotes, signs, a leading dash, emoji, right-to-left text, 255 bytes": USED,
    "file name with a line break": USED + ", and shown on one line",
    "label with a line break": ASIDE + "folder's name has a line break",
    "file name that is not UTF-8": ASIDE + "file name is not UTF-8",
    "label that is not UTF-8": ASIDE + "file name is not UTF-8",
    "labels that differ only in case": "two classes, and reported",
    "labels with the same simplified name (Cat-1, cat_1)": "two classes, and reported",
    "labels with composed and decomposed accents": "one class",
    "class emptied between two nights": "left out, and reported",
    "photo that vanishes before it is read": ASIDE + "cannot be read: No such file or directory",
    "photo that vanishes after it was read": STOPS + "cannot be read any more",
    "photo that changes during the run": STOPS + "changed during the run",
    "photo for which the module returns NaN": "set aside with the vectors: the module returns NaN",
    "module saved in training mode": STOPS + "depends on the other photos in the batch",
    "folders train and test instead of classes": STOPS + "pass --split-folders",
    "folders of other names that contain the same class folders": STOPS + "pass --split-folders",
    "output folder inside the image folder": STOPS + "is inside image_dir",
    "percentages that sum to 100 or more": STOPS + "together they must be below 100",
    "negative percentage": STOPS + "neither may be negative",
    "percentage that is not a number": STOPS + "it must be a number",
    "percentage in luigi.cfg that is not a number": STOPS + "it must be a number",
    "unknown option in luigi.cfg": STOPS + "has no option",
    "misspelt section in luigi.cfg": STOPS + "there is no section",
    "option unknown to Luigi": "reported, and ignored",
    "section unknown to Luigi and this project": "reported, and ignored",
}


@pytest.mark.parametrize("case", FILES)
def test_each_file_is_used_or_set_aside_with_its_reason(case: str, tmp_path: Path) -> None:
    import tensorflow as tf

    file = tmp_path / ("photo.png" if case.endswith(".png") else "photo.jpg")
    file.write_bytes(FILES[case])
    status, outcome = inspection.inspect(file).status, OUTCOMES[case]
    if status != inspection.OK:
        assert f"{ASIDE}{status}".startswith(outcome)
    elif outcome == REFUSED:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decoding.decode(FILES[case], InputSpec(8, 8))
    else:
        assert outcome.startswith(USED)
        assert decoding.decode(FILES[case], InputSpec(8, 8)).numpy().std() > 0 or "x 1" in case


def test_what_is_used_looks_like_the_picture_that_it_is() -> None:
    plain = decoding.decode(FILES["PNG named .jpg"], InputSpec(8, 8))
    turned = [f"{kind} with an EXIF rotation" for kind in ("JPEG", "PNG", "WebP")]
    for case in (*turned, "animated GIF", "CMYK JPEG"):
        assert np.abs(decoding.decode(FILES[case], InputSpec(8, 8)) - plain).mean() < 0.03, case
    for case in ("PNG with alpha", "WebP with alpha"):
        pixels = decoding.decode(FILES[case], InputSpec(8, 8)).numpy()
        assert pixels[:4, :4].min() == 1
        np.testing.assert_array_equal(pixels[4:], plain[4:])


@pytest.mark.parametrize("case", TRIALS)
def test_each_trial_ends_as_stated(case: str, store: Store, make_photo: PhotoMaker) -> None:
    ended, outcome = TRIALS[case](store, make_photo), OUTCOMES[case]
    if outcome.startswith(STOPS):
        assert ended.startswith(STOPS)
        assert outcome.removeprefix(STOPS) in ended
    else:
        assert ended.startswith(outcome) or outcome.startswith(f"{ended}, ")


def test_the_page_shows_the_same_table() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    section = page[page.index("## Bad input") :].split("\n## ")[0]
    shown = re.findall(r"^\| (.*?) \| (.*) \|$", section, re.MULTILINE)[2:]
    assert dict(shown) == OUTCOMES
    assert {*OUTCOMES} == {*FILES, *TRIALS}


@pytest.mark.slow
def test_labels_of_all_kinds_go_through_the_whole_pipeline(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    for number, name in enumerate(NAMES):
        for seed in range(6):
            make_photo(pipeline.image_dir / name / f"{seed} {name[:200]}.jpg", number, seed)
    done = pipeline.run(tmp_path / "out", "--print-misclassified-test-images")
    assert done.returncode == 0, done.stderr
    labels = (tmp_path / "out/current/output_labels.txt").read_text().splitlines()
    assert labels == sorted({*NAMES, "green leaf", "red_rose"})


def test_a_photo_that_only_the_decoder_refuses_is_named_and_costs_no_other(store: Store) -> None:
    broken = store.image_dir / "red_rose/1.jpg"
    broken.write_bytes(FILES["JPEG with a bit flipped in its tables"])
    counts = store.run()
    (named,) = counts.rejected.items()
    assert named[0] == "red_rose/1.jpg"
    assert f"set aside with the vectors: {named[1]}".startswith(REFUSED)
    assert "red_rose/1.jpg" not in set(store.frame()["path"])
    assert len(store.frame()) == 47
