"""What happened in each night: one SQLite file with a row a night, and one a promotion.

SQLite because a night and the promotion that it led to are written together or not at all, also
when the machine dies meanwhile, and because anything can read it.
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
ALARM = 0.01  # how seldom chance alone may raise a flag
COMPARED = 28  # earlier nights that an accuracy is compared with

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


@dataclass(frozen=True)
class Night:
    """One row of the history. None, and empty text, stand where a night did not get so far.

    Attributes:
        date: ISO date, in the machine's time zone, on which the night was started.
        key: digest of the date, the model and the gate; a night with the same key is done.
        outcome: promoted, unchanged, refused or failed.
        reason: one sentence.
        photos, classes: usable photos, and their classes.
        arrived, gone, relabelled: photos, against the night before.
        test_photos, correct: what the evaluation of tonight's model counted.
        fixed, broken: test photos right only with tonight's model, or only with the current one.
        drift: p-value of the new photos' looks; small where they look unlike the earlier ones.
        flags: what somebody should look at, a sentence each.
        seconds: time by stage, as far as the stages had work.
        disk_bytes: of everything in the output folder.
        model, evaluation, head, manifest: names of the results.
        finished: ISO time with its offset; set by `add`.
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
    finished: str = ""

    @property
    def top1(self) -> float | None:
        """Share of the test photos that tonight's model names rightly."""
        if self.correct is None or not self.test_photos:
            return None
        return self.correct / self.test_photos


@dataclass(frozen=True)
class Promotion:
    """One move of `current`: to `model`, `how` (nightly, by hand, rollback), from `instead_of`."""

    at: str
    model: str
    how: str
    instead_of: str


def now() -> str:
    """The time, in the machine's time zone, to the second."""
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
    """All nights, the latest last."""
    with _open(output_dir) as database:
        rows = database.execute(f"select {', '.join(_NIGHT)} from nights order by number")
        return [_night(dict(zip(_NIGHT, row, strict=True))) for row in rows]


def promotions(output_dir: Path) -> list[Promotion]:
    """All moves of `current`, the latest last."""
    with _open(output_dir) as database:
        columns = ", ".join(f.name for f in fields(Promotion))
        rows = database.execute(f"select {columns} from promotions order by number")
        return [Promotion(*row) for row in rows]


def is_recorded(output_dir: Path, key: str) -> bool:
    """Whether a night of this key is in the history."""
    if not (output_dir / FILE).exists():
        return False
    return any(night.key == key for night in nights(output_dir))


def accuracy_drop(earlier: list[Night], correct: int, count: int) -> str | None:
    """A sentence where tonight's accuracy lies below the earlier ones' by more than chance.

    What is usual is the night with the median accuracy, of the last ones whose model was promoted
    or stayed; its share of right answers is taken by Laplace's rule of succession, (right + 1) /
    (photos + 2), since a night without an error does not promise that none will ever come. If that
    share still held, so few right answers would come up with a probability below `ALARM`: a
    one-sided binomial test. It sees what slides away over weeks, which no comparison with the
    night before does.
    """
    from scipy.stats import binom

    good = [n for n in earlier if n.outcome in (PROMOTED, UNCHANGED) and n.top1 is not None]
    if not good or not count:
        return None
    latest = sorted(good[-COMPARED:], key=lambda night: night.top1 or 0)
    median = latest[len(latest) // 2]
    usual = ((median.correct or 0) + 1) / ((median.test_photos or 0) + 2)
    if binom.cdf(correct, count, usual) >= ALARM:
        return None
    return f"accuracy {correct / count:.1%}, usually {median.top1:.1%}: more than chance explains"


def lines(of: list[Night]) -> Iterator[str]:
    """The history as text for a terminal, a line a night."""
    yield (
        f"{'night':10}  {'photos':>8} {'new':>6} {'gone':>6} {'moved':>6} {'top-1':>7} "
        f"{'minutes':>7} {'MB':>6}  what became of it"
    )
    for night in of:
        top1 = "" if night.top1 is None else f"{night.top1:.1%}"
        disk = "" if night.disk_bytes is None else f"{night.disk_bytes / 1e6:,.0f}"
        counts = (night.photos, night.arrived, night.gone, night.relabelled)
        photos, new, gone, moved = ("" if n is None else f"{n:,}" for n in counts)
        yield (
            f"{night.date:10}  {photos:>8} {new:>6} {gone:>6} {moved:>6} {top1:>7} "
            f"{sum(night.seconds.values()) / 60:7.1f} {disk:>6}  {night.outcome}: {night.reason}"
        )
        for flag in night.flags:
            yield f"{'':12}! {flag}"


_NIGHT = [f.name for f in fields(Night)]
_JSON = ("flags", "seconds")


def _night(row: dict[str, str]) -> Night:
    decoded = {name: json.loads(row[name]) for name in _JSON}
    return Night(**{**row, **decoded, "flags": tuple(decoded["flags"])})


def _insert(database: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    columns, placeholders = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"insert into {table} ({columns}) values ({placeholders})", list(row.values()))


@contextmanager
def _open(output_dir: Path) -> Iterator[sqlite3.Connection]:
    output_dir.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(output_dir / FILE, timeout=60)
    try:
        database.executescript(_TABLES)
        yield database
    finally:
        database.close()
