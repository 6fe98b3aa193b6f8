"""What a module was fine-tuned on, and what follows if the split changes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.fine_tuning import tuned_photos
from pipeline.modules.loading import Module
from pipeline.photos.split import TESTING, TRAINING, VALIDATION
from tests.support.models import RECIPE


def module_at(folder: Path) -> Module:
    return replace(RECIPE.module, directory=str(folder))


def photos(**splits: str) -> pd.DataFrame:
    """Return rows of photos with these splits."""
    return pd.DataFrame({"digest": list(splits), "split": list(splits.values())})


def reader(split: str, *digests: str) -> Any:
    rows = pd.DataFrame({"digest": digests})
    return SimpleNamespace(split=split, texts=lambda: rows)


def test_the_photos_of_repeated_fine_tunings_add_up(tmp_path: Path) -> None:
    module = module_at(tmp_path)
    assert tuned_photos.read(module).empty
    first = tuned_photos.collect(reader(TRAINING, "a", "b"), reader(VALIDATION, "c"), module)
    (tmp_path / tuned_photos.FILE).parent.mkdir()
    tuned_photos.write(first, tmp_path)
    second = tuned_photos.collect(reader(TRAINING, "c"), reader(VALIDATION, "b", "d"), module)
    found = dict(zip(second["digest"], second["split"], strict=True))
    assert found == {"a": TRAINING, "b": TRAINING, "c": TRAINING, "d": VALIDATION}


def test_a_changed_split_is_reported() -> None:
    tuned = photos(a=TRAINING, b=TRAINING, c=VALIDATION)
    assert not list(tuned_photos.warnings(tuned, photos(a=TRAINING, c=VALIDATION, d=TESTING)))
    leak = pd.concat([photos(a=TRAINING), photos(a=VALIDATION), photos(a=TESTING)])
    assert not list(tuned_photos.warnings(tuned, leak))
    changed = photos(a=VALIDATION, b=TESTING, c=TESTING, d=TESTING)
    test, validation = tuned_photos.warnings(tuned, changed)
    assert test.startswith("The module was fine-tuned on 2 of 3 test photos, so they do not")
    assert validation.startswith("The module was fine-tuned on 1 of 1 validation photos, so the")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / tuned_photos.FILE
    path.parent.mkdir()
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"photos.parquet is damaged .*; delete the folder of this"):
        tuned_photos.read(module_at(tmp_path))
