"""What folders mean: classes, splits or objects."""

import pytest

from pipeline.errors import UserError
from pipeline.photos import layout, split
from pipeline.photos.layout import PLAIN, Layout

SPLIT = Layout(split_folders=True)


def keys(*paths: str, meaning: Layout = PLAIN) -> list[str]:
    labels = [meaning.label(path) for path in paths]
    return layout.hash_keys(meaning, paths, labels, [True] * len(paths))


@pytest.mark.parametrize(
    ("path", "meaning", "label"),
    [
        ("rose/1.jpg", PLAIN, "rose"),
        ("rose/2019/1.jpg", PLAIN, "rose"),
        ("1.jpg", PLAIN, ""),
        ("train/rose/1.jpg", SPLIT, "rose"),
        ("train/rose/2019/1.jpg", SPLIT, "rose"),
        ("train/1.jpg", SPLIT, ""),
        ("cafe\u0301/1.jpg", PLAIN, "caf\u00e9"),
        ("Rose/1.jpg", Layout(merge_labels=(("Rose", "rose"),)), "rose"),
        ("train/Rose/1.jpg", Layout(True, (("Rose", "rose"),)), "rose"),
    ],
)
def test_the_label_is_the_class_folder_or_what_replaces_it(
    path: str, meaning: Layout, label: str
) -> None:
    assert meaning.label(path) == label


def test_labels_to_merge_are_json() -> None:
    assert layout.parse_merge_labels("") == ()
    parsed = layout.parse_merge_labels('{"b": "c", "a": "c", "same": "same"}')
    assert parsed == (("a", "c"), ("b", "c"))


@pytest.mark.parametrize("old", ["caf\u00e9", "cafe\u0301", r"cafe\u0301"])
def test_labels_to_merge_may_have_composed_or_decomposed_accents(old: str) -> None:
    parsed = layout.parse_merge_labels(f'{{"{old}": "coffee"}}')
    assert parsed == (("caf\u00e9", "coffee"),)
    assert Layout(merge_labels=parsed).merged("cafe\u0301") == "coffee"


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", '{"a": 1}', '{"a": ""}', '{"a": "two\\nlines"}', "a=b", "[" * 100_000]
)
def test_what_is_no_table_of_labels_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"merge_labels is .* it must map labels"):
        layout.parse_merge_labels(text)


def test_lost_quotes_are_named() -> None:
    with pytest.raises(UserError, match=r"livingRoom\"}\. The shell removed the double quotes"):
        layout.parse_merge_labels("{apple: Apple}")
    with pytest.raises(UserError) as error:
        layout.parse_merge_labels('{"apple": 1}')
    assert "removed" not in str(error.value)


def test_a_label_that_is_replaced_replaces_no_other() -> None:
    with pytest.raises(UserError, match="maps 'a' to 'b', which it also replaces"):
        layout.parse_merge_labels('{"a": "b", "b": "a"}')


def test_a_label_to_merge_must_exist() -> None:
    meaning = Layout(merge_labels=(("Rosse", "rose"),))
    with pytest.raises(UserError, match="merge_labels replaces 'Rosse', which is not"):
        layout.refuse_unknown(meaning, "photos", (), ["Rose", "rose"])


def test_a_folder_of_an_unknown_split_is_refused() -> None:
    layout.refuse_unknown(SPLIT, "photos", ["Train", "test_set"], ["rose"])
    with pytest.raises(UserError, match="the folder 'more' in photos is not named like a split"):
        layout.refuse_unknown(SPLIT, "photos", ["train", "more"], ["rose"])


@pytest.mark.parametrize(
    "labels",
    [
        ["train", "val", "test"],
        ["TEST", "Training"],
        ["training_set", "test_set"],
        ["train2017", "val2017"],
        ["train"],
        ["extra", "test", "train"],
    ],
)
def test_classes_named_like_splits_are_refused(labels: list[str]) -> None:
    with pytest.raises(UserError, match=r"named like the splits .* pass --split-folders"):
        layout.refuse_split_folders("photos", labels)


@pytest.mark.parametrize(
    "labels", [["car", "plane", "train"], ["exam", "test"], ["station", "train station", "testing"]]
)
def test_a_class_may_be_called_like_a_split(labels: list[str]) -> None:
    layout.refuse_split_folders("photos", labels)


def paths_of(*folders: str) -> list[str]:
    return [f"{folder}/{i}.jpg" for folder in folders for i in range(2)]


@pytest.mark.parametrize(
    "paths",
    [
        paths_of("first/cat", "first/dog", "second/cat", "second/dog"),
        paths_of("a/cat", "a/cow", "a/dog", "b/cat", "b/dog", "b/cow"),
        paths_of(*(f"fold{i}/{label}" for i in range(5) for label in ("cat", "dog"))),
        paths_of("first/cat/old", "first/dog", "second/cat", "second/dog/new/better"),
    ],
)
def test_folders_with_the_same_class_folders_are_refused(paths: list[str]) -> None:
    labels = sorted({path.split("/")[0] for path in paths})
    with pytest.raises(UserError, match=r"all contain the folders cat, .*dog.*--split-folders"):
        layout.refuse_split_folders("photos", labels, paths)


@pytest.mark.parametrize(
    "paths",
    [
        paths_of("rose/2019", "rose/2020", "tulip/2019", "tulip/2020"),
        paths_of("cup/item_1", "cup/item_2", "plate/item_1", "plate/item_2"),
        paths_of(*(f"{label}/{v}" for label in ("cup", "jug", "pan") for v in ("side", "top"))),
        paths_of("cup/red", "cup/blue", "plate/red", "plate/green", "plate/grey"),
        [*paths_of("cup/side", "cup/top", "plate/side", "plate/top"), "cup/1.jpg"],
        paths_of("cup/side", "cup/top"),
    ],
    ids=["years", "objects", "views", "few shared", "a photo outside", "one class"],
)
def test_classes_may_share_subfolders(paths: list[str]) -> None:
    labels = sorted({path.split("/")[0] for path in paths})
    layout.refuse_split_folders("photos", labels, paths)


def test_file_names_are_hashed_where_they_are_distinct() -> None:
    assert keys("cup/1.jpg", "cup/old/2.jpg", "pan/1.jpg", "pan/old/2.jpg") == [
        *("1.jpg", "2.jpg"),
        *("1.jpg", "2.jpg"),
    ]


def test_folders_are_hashed_where_file_names_repeat() -> None:
    assert keys("cup/a/front.jpg", "cup/a/back.jpg", "cup/b/front.jpg", "cup/1.jpg") == [
        *("a", "a", "b", "1.jpg")
    ]


def test_each_class_decides_for_itself() -> None:
    paths = ("cup/a/front.jpg", "cup/b/front.jpg", "pan/a/1.jpg", "pan/b/2.jpg")
    assert keys(*paths) == ["a", "b", "1.jpg", "2.jpg"]


def test_a_name_inside_and_outside_subfolders_does_not_repeat() -> None:
    assert keys("cup/1.jpg", "cup/old/1.jpg", "cup/old/2.jpg") == ["1.jpg", "1.jpg", "2.jpg"]


def test_the_object_is_the_highest_folder_in_which_paths_repeat() -> None:
    days = [f"cup/item {i}/{day}/front.jpg" for i in range(2) for day in ("monday", "friday")]
    assert keys(*days) == ["item 0", "item 0", "item 1", "item 1"]
    years = ["cup/2019/item 1/front.jpg", "cup/2019/item 2/front.jpg", "cup/2020/item 3/front.jpg"]
    assert keys(*years) == ["2019/item 1", "2019/item 2", "2020/item 3"]


def test_the_folder_of_the_split_is_not_hashed() -> None:
    paths = [f"train/cup/{item}/front.jpg" for item in "ab"]
    assert keys(*paths, meaning=SPLIT) == ["a", "b"]
    assert keys("train/cup/1.jpg", "test/cup/1.jpg", meaning=SPLIT) == ["1.jpg", "1.jpg"]


def test_merged_folders_are_one_class() -> None:
    meaning = Layout(merge_labels=(("Cup", "cup"),))
    paths = ("cup/1.jpg", "Cup/1.jpg", "cup/a/front.jpg", "Cup/b/front.jpg")
    assert keys(*paths, meaning=meaning) == ["1.jpg", "1.jpg", "a", "b"]


def test_folders_in_a_tar_file_with_label_files_are_objects() -> None:
    paths, labels = ["a/front.jpg", "b/front.jpg"], ["cup", "cup"]
    assert layout.hash_keys(PLAIN, paths, labels, [True, True]) == ["a", "b"]


def test_names_of_other_files_do_not_matter() -> None:
    paths = ["cup/a/README", "cup/b/README", "cup/a/1.jpg", "cup/b/2.jpg"]
    used = layout.hash_keys(PLAIN, paths, ["cup"] * 4, [False, False, True, True])
    assert used[2:] == ["1.jpg", "2.jpg"]


def test_versions_of_an_object_in_folders_stay_together() -> None:
    hashed = keys("cup/a_nohash_1/front.jpg", "cup/a_nohash_2/front.jpg", "cup/b/front.jpg")
    assert list(map(split.hashed_text, hashed)) == ["a", "a", "b"]
