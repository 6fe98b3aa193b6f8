"""Which part of the data set a photo belongs to."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.photos import split
from pipeline.photos.split import TESTING, TRAINING, VALIDATION, SplitRule, assign, hash_percentage

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0\n"))
PLAIN_NAMES = TEXTS.filter(lambda name: "_nohash_" not in name)
ALL_TO_VALIDATION = 99.9999


def write_lists(folder: Path, **lists: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def rule_of(folder: Path, validation_percentage: float = 0) -> SplitRule:
    return SplitRule(validation_percentage, 0, split.read_predefined(str(folder)))


def names_in(part: str, number: int) -> list[str]:
    """Names that the default rule puts into one part."""
    names = (f"{i}.jpg" for i in range(1000))
    return [name for name in names if assign(SplitRule(), f"x/{name}") == part][:number]


@given(PLAIN_NAMES)
def test_the_hash_follows_the_formula_of_retrain_py(name: str) -> None:
    number = int(hashlib.sha1(name.encode("utf-8")).hexdigest(), 16) % (2**27)
    assert hash_percentage(name) == number * (100 / (2**27 - 1))


@given(PLAIN_NAMES, TEXTS, TEXTS)
def test_versions_of_one_photo_stay_together(stem: str, one: str, other: str) -> None:
    expected = hash_percentage(stem)
    assert hash_percentage(f"{stem}_nohash_{one}") == expected
    assert hash_percentage(f"{stem}_nohash_{other}") == expected


@pytest.mark.parametrize(
    ("name", "percentage"),
    [
        ("daisy.jpg", 41.66968644909327),
        ("7.jpg", 74.07929952501729),
        ("日本.jpg", 66.96246912302426),
    ],
)
def test_the_hash_is_the_same_in_every_release(name: str, percentage: float) -> None:
    assert hash_percentage(name) == pytest.approx(percentage, abs=1e-12)


@pytest.mark.parametrize("part", [VALIDATION, TESTING, TRAINING])
def test_the_folder_does_not_matter(part: str) -> None:
    (name,) = names_in(part, 1)
    for folder in ["daisy", "rose/2019", "日本"]:
        assert assign(SplitRule(), f"{folder}/{name}") == part


def test_the_parts_have_the_sizes_asked_for() -> None:
    counts = Counter(assign(SplitRule(10, 10), f"a/photo {i}.jpg") for i in range(20_000))
    assert counts[VALIDATION] / 200 == pytest.approx(10, abs=1)
    assert counts[TESTING] / 200 == pytest.approx(10, abs=1)
    assert counts[TRAINING] / 200 == pytest.approx(80, abs=1)


def test_validation_comes_before_testing_on_the_scale() -> None:
    assert hash_percentage("daisy.jpg") == pytest.approx(41.67, abs=0.01)
    assert assign(SplitRule(42, 10), "a/daisy.jpg") == VALIDATION
    assert assign(SplitRule(41, 10), "a/daisy.jpg") == TESTING
    assert assign(SplitRule(10, 31), "a/daisy.jpg") == TRAINING


def test_without_percentages_all_is_for_training() -> None:
    assert {assign(SplitRule(0, 0), f"a/{i}.jpg") for i in range(1000)} == {TRAINING}


@pytest.mark.parametrize(
    ("validation", "testing"), [(-1, 10), (10, -1), (60, 40), (0, 100), (float("nan"), 10)]
)
def test_percentages_that_leave_nothing_are_refused(validation: float, testing: float) -> None:
    with pytest.raises(UserError) as refusal:
        SplitRule(validation, testing)
    assert f"validation_percentage is {validation:g}" in str(refusal.value)
    assert f"testing_percentage is {testing:g}" in str(refusal.value)


def test_lists_like_those_of_food_101_are_followed(tmp_path: Path) -> None:
    meta = write_lists(
        tmp_path / "meta",
        train="pie/1\ncake/2\n",
        test="pie/3\n",
        classes="cake\npie\n",
        labels="Cake\nPie\n",
    )
    rule = rule_of(meta)
    assert assign(rule, "pie/1.jpg") == TRAINING
    assert assign(rule, "cake/2.jpg") == TRAINING
    assert assign(rule, "pie/3.jpg") == TESTING


def test_a_photo_on_no_list_is_set_aside(tmp_path: Path) -> None:
    rule = rule_of(write_lists(tmp_path, train="pie/1\n", test="pie/3\n"))
    assert assign(rule, "pie/4.jpg") is None
    assert assign(rule, "cake/1.jpg") is None


def test_a_list_may_name_the_extension_and_a_deeper_folder(tmp_path: Path) -> None:
    rule = rule_of(write_lists(tmp_path, train="pie/1.jpg\npie/old/v1.2\n", test="pie/3.png\n"))
    assert assign(rule, "pie/1.jpg") == TRAINING
    assert assign(rule, "pie/1.png") is None
    assert assign(rule, "pie/old/v1.2.jpg") == TRAINING


def test_validation_comes_out_of_training_by_hash(tmp_path: Path) -> None:
    names = names_in(VALIDATION, 3) + names_in(TRAINING, 3)
    lines = "\n".join(f"pie/{name}" for name in names)
    rule = rule_of(write_lists(tmp_path, train=lines, test="pie/last.jpg"), 10)
    assert [assign(rule, f"pie/{name}") for name in names] == [VALIDATION] * 3 + [TRAINING] * 3


def test_testing_photos_of_a_list_never_become_validation(tmp_path: Path) -> None:
    names = names_in(VALIDATION, 3)
    lines = "\n".join(f"pie/{name}" for name in names)
    rule = rule_of(write_lists(tmp_path, train="pie/first", test=lines), ALL_TO_VALIDATION)
    assert [assign(rule, f"pie/{name}") for name in names] == [TESTING] * 3


def test_a_validation_list_leaves_the_training_list_whole(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, train="pie/1\n", val="pie/2\n", test="pie/3\n")
    rule = rule_of(folder, ALL_TO_VALIDATION)
    assert [assign(rule, f"pie/{i}.jpg") for i in (1, 2, 3)] == [TRAINING, VALIDATION, TESTING]


def test_with_a_testing_list_alone_the_rest_is_for_training(tmp_path: Path) -> None:
    rule = rule_of(write_lists(tmp_path, test="pie/3\n"))
    assert assign(rule, "pie/3.jpg") == TESTING
    assert assign(rule, "pie/4.jpg") == TRAINING


def test_with_a_training_list_alone_the_rest_is_for_testing(tmp_path: Path) -> None:
    rule = rule_of(write_lists(tmp_path, train="pie/1\n"))
    assert assign(rule, "pie/1.jpg") == TRAINING
    assert assign(rule, "pie/4.jpg") == TESTING


def test_lists_may_be_named_one_by_one(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, training="pie/1\n", testing="pie/3\n", val="pie/2\n")
    given = split.read_predefined(f"{folder / 'training.txt'}, {folder / 'testing.txt'}")
    assert given.listed == {"pie/1": TRAINING, "pie/3": TESTING}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpie/1\npie/2\n",
        b"pie/1\r\npie/2\r\n",
        b"\n\npie/1\n   \npie/2\n\n",
        b"  pie/1\t\npie/2",
    ],
    ids=["byte order mark", "CRLF", "blank lines", "spaces around, no last newline"],
)
def test_how_an_editor_saved_the_list_does_not_matter(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    listed = split.read_predefined(str(tmp_path)).listed
    assert listed == {"pie/1": TRAINING, "pie/2": TRAINING}


def test_a_list_holds_names_in_any_script(tmp_path: Path) -> None:
    rule = rule_of(write_lists(tmp_path, train="日本 料理/寿司\n", test="pie/1"))
    assert assign(rule, "日本 料理/寿司.jpg") == TRAINING


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder") as refusal:
        split.read_predefined(str(tmp_path / "train.txt"))
    assert str(tmp_path / "train.txt") in str(refusal.value)


def test_a_list_of_unknown_name_is_named(tmp_path: Path) -> None:
    write_lists(tmp_path, train="pie/1\n", holdout="pie/2\n")
    with pytest.raises(UserError, match=r"train\.txt, validation\.txt and test\.txt") as refusal:
        split.read_predefined(f"{tmp_path / 'train.txt'},{tmp_path / 'holdout.txt'}")
    assert f"named like {tmp_path / 'holdout.txt'};" in str(refusal.value)


def test_a_folder_without_lists_is_named(tmp_path: Path) -> None:
    write_lists(tmp_path, classes="pie\n")
    with pytest.raises(UserError, match=r"train\.txt, validation\.txt and test\.txt") as refusal:
        split.read_predefined(str(tmp_path))
    assert str(tmp_path) in str(refusal.value)


def test_empty_lists_are_named(tmp_path: Path) -> None:
    write_lists(tmp_path, train="\n", test="")
    with pytest.raises(UserError, match="lists no photo") as refusal:
        split.read_predefined(str(tmp_path))
    assert str(tmp_path) in str(refusal.value)


def test_a_photo_on_two_lists_is_named_with_both(tmp_path: Path) -> None:
    write_lists(tmp_path, train="pie/1\npie/2\n", test="pie/2\n")
    with pytest.raises(UserError, match="pie/2 is on both the") as refusal:
        split.read_predefined(str(tmp_path))
    assert "training" in str(refusal.value)
    assert "testing" in str(refusal.value)


def test_a_photo_on_two_lists_is_noticed_in_two_spellings(tmp_path: Path) -> None:
    write_lists(tmp_path, train="pie/1.jpg\n", test="pie/1\n")
    with pytest.raises(UserError, match=r"pie/1\.jpg is on both the"):
        split.read_predefined(str(tmp_path))


GIVEN = split.PredefinedSplit({"pie/1": TRAINING, "pie/2.jpg": TESTING}, None, False)


def test_lists_that_fit_need_no_remark() -> None:
    assert list(split.summary_lines(GIVEN, ["pie/1.jpg", "pie/2.jpg"])) == []


def test_photos_on_the_lists_that_are_not_there_are_counted() -> None:
    (line,) = split.summary_lines(GIVEN, ["pie/1.jpg"])
    assert line.startswith("1 photos on the lists are not in the folder, such as pie/2.jpg")


def test_photos_on_no_list_are_counted_with_their_fate() -> None:
    (line,) = split.summary_lines(GIVEN, ["pie/1.jpg", "pie/2.jpg", "pie/3.jpg"])
    assert line == "1 photos are on no list of split_file and are set aside"


def test_lists_that_fit_no_photo_are_refused() -> None:
    with pytest.raises(UserError, match=r"names such as pie/1, .* such as images/pie/1\.jpg"):
        list(split.summary_lines(GIVEN, ["images/pie/1.jpg"]))


def test_an_empty_list_is_a_list(tmp_path: Path) -> None:
    write_lists(tmp_path, train="pie/1\n", test="")
    assert split.read_predefined(str(tmp_path)).others is None


def test_a_photo_twice_on_one_list_is_harmless(tmp_path: Path) -> None:
    write_lists(tmp_path, train="pie/1\npie/1\n")
    assert split.read_predefined(str(tmp_path)).listed == {"pie/1": TRAINING}


def test_a_list_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("crème/1\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8") as refusal:
        split.read_predefined(str(tmp_path))
    assert str(tmp_path / "train.txt") in str(refusal.value)


GROUPED = SplitRule(group_duplicates=True)


def test_equal_photos_share_a_part_whatever_their_names() -> None:
    (train,), (test,) = names_in(TRAINING, 1), names_in(TESTING, 1)
    paths = [f"a/{train}", f"b/{test}", "a/other.jpg"]
    digests = ["same", "same", "other"]
    expected = TRAINING if train < test else TESTING
    apart = [assign(SplitRule(), path) for path in paths]
    assert split.assign_all(SplitRule(), paths, digests) == apart == [TRAINING, TESTING, apart[2]]
    assert split.assign_all(GROUPED, paths, digests) == [expected, expected, apart[2]]
    assert split.assign_all(GROUPED, paths[::-1], digests[::-1]) == [apart[2], expected, expected]


def test_photos_without_a_digest_are_not_grouped() -> None:
    paths = [f"a/{name}" for part in (TRAINING, TESTING) for name in names_in(part, 1)]
    assert split.assign_all(GROUPED, paths, ["", ""]) == [TRAINING, TESTING]


def test_all_pictures_of_a_thing_go_where_a_copy_of_one_of_them_goes() -> None:
    (first,) = names_in(TESTING, 1)  # a digit comes before a letter
    things = (f"thing {i}" for i in range(1000))
    thing = next(t for t in things if assign(SplitRule(), f"a/{t}_nohash_") == TRAINING)
    paths = [f"a/{thing}_nohash_1.jpg", f"a/{thing}_nohash_2.jpg", f"b/{first}"]
    assert split.assign_all(GROUPED, paths, ["x", "y", "y"]) == [TESTING] * 3
    assert split.assign_all(GROUPED, paths, ["x", "y", "z"]) == [TRAINING, TRAINING, TESTING]


def test_photos_on_no_list_of_a_given_split_stay_out(tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "lists", train="a/2\n", test="a/3\n")
    given = split.read_predefined(str(lists))
    paths = ["a/1.jpg", "a/2.jpg", "a/3.jpg"]
    rule = SplitRule(0, 0, given, group_duplicates=True)
    assert split.assign_all(rule, paths, ["same"] * 3) == [None, TRAINING, TRAINING]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.booleans()), max_size=30))
def test_grouping_leaves_no_leak(photos: list[tuple[int, int, bool]]) -> None:
    paths = [
        f"{c}/{i}{'_nohash_' if thing else ' '}{n}.jpg" for n, (i, c, thing) in enumerate(photos)
    ]
    digests = [str(i * 7 % 11) for i, _, _ in photos]
    splits = split.assign_all(GROUPED, paths, digests)
    for digest in set(digests):
        assert len({s for s, d in zip(splits, digests, strict=True) if d == digest}) == 1
    for thing in {p.partition("_nohash_")[0] for p in paths if "_nohash_" in p}:
        of_thing = {
            s for s, p in zip(splits, paths, strict=True) if p.startswith(f"{thing}_nohash_")
        }
        assert len(of_thing) == 1


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        *(("train", TRAINING), ("Training", TRAINING), ("training_set", TRAINING)),
        *(("train2017", TRAINING), ("trainset", TRAINING), ("VAL", VALIDATION)),
        *(("valid", VALIDATION), ("Test images", TESTING), ("testing", TESTING)),
        *(("trains", None), ("testament", None), ("rose", None), ("", None), ("2017", None)),
    ],
)
def test_a_folder_is_named_after_a_split(folder: str, part: str | None) -> None:
    assert split.part_of(folder) == part


def test_folders_state_the_split() -> None:
    paths = ["train/a/1.jpg", "val/a/1.jpg", "test/a/1.jpg", "more/a/1.jpg"]
    rule = SplitRule(ALL_TO_VALIDATION, 0, split.folder_split(paths))
    assert split.assign_all(rule, paths, [""] * 4) == [TRAINING, VALIDATION, TESTING, None]


def test_without_a_validation_folder_the_hash_takes_validation_photos() -> None:
    names = names_in(VALIDATION, 2) + names_in(TRAINING, 2)
    paths = [f"{part}/a/{name}" for part in ("train", "test") for name in names]
    rule = SplitRule(10, 10, split.folder_split(paths))
    expected = [VALIDATION] * 2 + [TRAINING] * 2 + [TESTING] * 4
    assert split.assign_all(rule, paths, [""] * 8) == expected


def test_folders_without_training_photos_are_named() -> None:
    with pytest.raises(UserError, match="no photo is in a training folder, but only in a, test"):
        split.folder_split(["test/a/1.jpg", "a/1.jpg"])


def test_the_key_decides_and_not_the_file_name() -> None:
    (train,), (test,) = names_in(TRAINING, 1), names_in(TESTING, 1)
    paths = ["a/x/front.jpg", "a/y/front.jpg"]
    assert split.assign_all(SplitRule(), paths, ["1", "2"], [train, test]) == [TRAINING, TESTING]


def test_all_photos_of_an_object_go_where_a_copy_of_one_of_them_goes() -> None:
    (train,), (test,) = names_in(TRAINING, 1), names_in(TESTING, 1)
    paths = ["a/x/front.jpg", "a/x/left.jpg", "a/y/front.jpg", "a/y/left.jpg", "b/x/1.jpg"]
    keys = [train, train, test, test, train]
    assert split.assign_all(GROUPED, paths, [*"12345"], keys) == [
        *(TRAINING, TRAINING, TESTING, TESTING, TRAINING)
    ]
    assert split.assign_all(GROUPED, paths, [*"12145"], keys) == [TRAINING] * 5


@pytest.mark.parametrize(("suffix", "listed_suffix"), [("", ""), (".jpg", ""), (".jpg", ".jpg")])
def test_a_number_after_a_dot_makes_another_photo(
    tmp_path: Path, suffix: str, listed_suffix: str
) -> None:
    names = ("cup/shot00", "cup/shot00.2", "cup/shot00.3")
    one, two, _ = (f"{name}{listed_suffix}\n" for name in names)
    rule = rule_of(write_lists(tmp_path, train=one, test=two))
    photos = [f"{name}{suffix}" for name in names]
    assert [assign(rule, photo) for photo in photos] == [TRAINING, TESTING, None]
    assert rule.predefined
    assert list(split.summary_lines(rule.predefined, photos)) == [
        "1 photos are on no list of split_file and are set aside"
    ]


def test_a_list_may_have_decomposed_accents(tmp_path: Path) -> None:
    lists = write_lists(tmp_path, train="cafe\u0301/e\u0301 1\n", test="b/2\n")
    assert assign(rule_of(lists), "caf\u00e9/\u00e9 1.jpg") == TRAINING


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_list_that_is_not_utf_8_names_the_remedy(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "train.txt").write_text("café/1\n", encoding=encoding)
    with pytest.raises(UserError, match=r"train\.txt is not UTF-8 text; save it as UTF-8"):
        split.read_predefined(str(tmp_path))
