"""The history: a SQLite file with one row per night, and one per promotion.

SQLite writes a night and its promotion together or not at all, even if the machine crashes, and any
tool can read it.
"""

import datetime
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

FILE = "history.sqlite"  # in the output folder
PROMOTED, UNCHANGED, REFUSED, FAILED = "promoted", "unchanged", "refused", "failed"
ALARM = 0.01  # p-value below which a flag is raised
SEPARATOR = "; "  # between the parts of a reason
COMPARED = 28  # number of earlier nights with which the accuracy is compared

_TABLES = """
create table if not exists nights (
    number integer primary key, date text not null, finished text not null, key text not null,
    outcome text not null, reason text not null, photos integer, classes integer,
    arrived integer, gone integer, relabelled integer, test_photos integer, correct integer,
    fixed integer, broken integer, drift real, flags text not null, seconds text not null,
    disk_bytes integer, model text not null, evaluation text not null, head text not null,
    manifest text not null);
create table if not exists promotions (
    number integer primary key, at text not null, model text not null, how text not null,
    instead_of text not null);
"""
# Columns of later versions, which an older file lacks.
_ADDED = {
    "handle": "text not null default ''",
    "module": "text not null default ''",
    "tuned": "integer not null default 0",
}


@dataclass(frozen=True)
class Night:
    """A row of the history; values that a night did not reach are None or empty.

    Attributes:
        date: local ISO date on which the night started.
        key: digest of the date, the model and the gate; each key is decided once.
        outcome: promoted, unchanged, refused (rejected by the gate) or failed.
        reason: reason of the outcome; parts are separated by SEPARATOR, except for a failure.
        photos, classes: number of usable photos and their classes.
        arrived, gone, relabelled: numbers of photos added, removed and relabelled since the night
            before.
        test_photos, correct: number of test photos, and of those predicted correctly.
        fixed, broken: number of fixes and regressions relative to the current model.
        drift: p-value of the drift of new photos; small if they differ from earlier ones.
        flags: warnings that need attention.
        seconds: time by step, for steps that had work.
        disk_bytes: size of the output folder.
        model, evaluation, head, manifest: names of the results.
        handle: the option `tfhub_module`.
        module: handle of the module, or the folder of a fine-tuned one.
        tuned: whether it was fine-tuned this night.
        finished: ISO time with offset; set by `add`.
    """

    date: str
    outcome: str
    reason: str
    key: str = ""
    photos: int | None = None
    classes: int | None = None
    arrived: int | None = None
    gone: int | None = None
    relabelled: int | None = None
    test_photos: int | None = None
    correct: int | None = None
    fixed: int | None = None
    broken: int | None = None
    drift: float | None = None
    flags: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    disk_bytes: int | None = None
    model: str = ""
    evaluation: str = ""
    head: str = ""
    manifest: str = ""
    handle: str = ""
    module: str = ""
    tuned: bool = False
    finished: str = ""

    @property
    def outcome_name(self) -> str:
        """The outcome as displayed: the stored `refused` is called rejected."""
        return "rejected" if self.outcome == REFUSED else self.outcome

    @property
    def reasons(self) -> list[str]:
        """The parts of the reason; that of a failure is an error message, which is one part."""
        return [self.reason] if self.outcome == FAILED else self.reason.split(SEPARATOR)

    @property
    def summary(self) -> str:
        """The date, the outcome and its reason on one line."""
        return f"{self.date} {self.outcome_name}: {self.reason}"

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy of tonight's model on the test photos."""
        if self.correct is None or not self.test_photos:
            return None
        return self.correct / self.test_photos


@dataclass(frozen=True)
class Promotion:
    """A move of `current` from `instead_of` to `model`; `how` is nightly, by hand or rollback."""

    at: str
    model: str
    how: str
    instead_of: str


def now() -> str:
    """Return the local time in ISO format, to the second."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def add(output_dir: Path, night: Night | None = None, promotion: Promotion | None = None) -> None:
    """Add a night, a promotion, or both at once."""
    with _open(output_dir) as database, database:
        if night:
            row = asdict(night) | {"finished": night.finished or now()}
            row |= {name: json.dumps(row[name], ensure_ascii=False) for name in _JSON}
            _insert(database, "nights", row)
        if promotion:
            _insert(database, "promotions", asdict(promotion))


def nights(output_dir: Path) -> list[Night]:
    """Return all nights, oldest first."""
    if not (output_dir / FILE).exists():
        return []  # opening it would create it
    with _open(output_dir) as database:
        rows = database.execute(f"select {', '.join(_NIGHT)} from nights order by number")
        return [_night(dict(zip(_NIGHT, row, strict=True))) for row in rows]


def promotions(output_dir: Path) -> list[Promotion]:
    """Return all moves of `current`, oldest first."""
    if not (output_dir / FILE).exists():
        return []
    with _open(output_dir) as database:
        columns = ", ".join(f.name for f in fields(Promotion))
        rows = database.execute(f"select {columns} from promotions order by number")
        return [Promotion(*row) for row in rows]


def is_recorded(output_dir: Path, key: str) -> bool:
    """Return whether the history has a night with this key."""
    return any(night.key == key for night in nights(output_dir))


def accuracy_drop(earlier: list[Night], correct: int, count: int) -> str | None:
    """Return a warning if tonight's accuracy is significantly below that of earlier nights.

    The reference is the median accuracy of the last COMPARED nights whose model was promoted or
    stayed, estimated by Laplace's rule of succession, (correct + 1) / (photos + 2), because a night
    without errors does not imply that there will never be any. A one-sided binomial test with the
    level ALARM detects a slow decline over weeks, which comparisons with the night before miss.
    """
    from scipy.stats import binom

    good = [n for n in earlier if n.outcome in (PROMOTED, UNCHANGED) and n.top1 is not None]
    if not good or not count:
        return None
    latest = sorted(good[-COMPARED:], key=lambda night: night.top1 or 0)
    median = latest[len(latest) // 2]
    expected = ((median.correct or 0) + 1) / ((median.test_photos or 0) + 2)
    if binom.cdf(correct, count, expected) >= ALARM:
        return None
    return (
        f"Accuracy dropped to {correct / count:.1%} (median of the last {len(latest)} runs: "
        f"{median.top1:.1%}, p < {ALARM})"
    )


def lines(nights: list[Night]) -> Iterator[str]:
    """Yield the history as text for a terminal.

    Each night is one line, followed by the further parts of its reason and its flags.
    """
    width = max([10, *(len(night.date) for night in nights)])
    yield (
        f"{'night':{width}}  {'photos':>8} {'added':>6} {'removed':>7} {'relabelled':>10} "
        f"{'top-1':>7} {'minutes':>7} {'MB':>6}  outcome"
    )
    for night in nights:
        top1 = "" if night.top1 is None else f"{night.top1:.1%}"
        disk = "" if night.disk_bytes is None else f"{night.disk_bytes / 1e6:,.0f}"
        # Failed nights and promotions by hand, which have no photos, have no durations either.
        minutes = "" if night.photos is None else f"{sum(night.seconds.values()) / 60:.1f}"
        counts = (night.photos, night.arrived, night.gone, night.relabelled)
        photos, added, removed, relabelled = ("" if n is None else f"{n:,}" for n in counts)
        yield (
            f"{night.date:{width}}  {photos:>8} {added:>6} {removed:>7} {relabelled:>10} {top1:>7} "
            f"{minutes:>7} {disk:>6}  {night.outcome_name}: "
            f"{night.reasons[0]}"
        )
        for reason in night.reasons[1:]:
            yield f"{'':12}- {reason}"
        for flag in night.flags:
            yield f"{'':12}! {flag}"


_NIGHT = [f.name for f in fields(Night)]
_JSON = ("flags", "seconds")


def _night(row: dict[str, str]) -> Night:
    decoded = {name: json.loads(row[name]) for name in _JSON}
    changed = {"flags": tuple(decoded["flags"]), "tuned": bool(row["tuned"])}
    return Night(**{**row, **decoded, **changed})


def _insert(database: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    columns, placeholders = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"insert into {table} ({columns}) values ({placeholders})", list(row.values()))


@contextmanager
def _open(output_dir: Path) -> Iterator[sqlite3.Connection]:
    output_dir.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(output_dir / FILE, timeout=60)
    try:
        database.executescript(_TABLES)
        if _missing(database):
            with database:
                database.execute("begin immediate")  # several processes may open an older file
                for name in _missing(database):
                    database.execute(f"alter table nights add column {name} {_ADDED[name]}")
        yield database
    finally:
        database.close()


def _missing(database: sqlite3.Connection) -> set[str]:
    return _ADDED.keys() - {row[1] for row in database.execute("pragma table_info(nights)")}
