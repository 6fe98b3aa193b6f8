"""Cost of each image source: `make bench-source`, or `python -m benchmarks.source --help`.

Inspects the same photos, and computes their vectors, from files on disk, from S3, from tar files on
disk and from tar files on S3, in one run. S3 is a local moto server: written in Python, it shares
the processor with the pipeline. Its processor time is shown, and the speed is only a lower bound
for a remote object store.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.bottlenecks import MODULE, alone, show, stage
from pipeline.files import places
from pipeline.files.places import Place
from pipeline.modules import engines, preparation
from pipeline.modules.loading import Module
from pipeline.photos import manifest
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule
from tests.support.objects import Objects, environment, moto
from tests.support.tars import pack_folder


def look(image_dir: Place) -> float:
    """Return the photos per second that are listed, read and inspected."""
    start = time.perf_counter()
    table = manifest.build(list_photos(image_dir), image_dir, SplitRule())
    return len(table) / (time.perf_counter() - start)


class Server:
    """The resources that the moto server has used so far."""

    def __init__(self, log: Path) -> None:
        self.log = log
        pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
        (self.pid,) = [pid for pid in pids if self._is_it(pid)]

    @staticmethod
    def _is_it(pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        return b"moto.server" in command and int(status.rsplit(")", 1)[1].split()[1]) == os.getpid()

    def requests(self) -> int:
        return self.log.read_text().count("GET /bucket")

    def seconds(self) -> float:
        """Return its processor time, in seconds."""
        times = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def measure(
    place: Place, module: Module, scratch: Path, server: Server, count: int
) -> dict[str, float]:
    """Measure one round of one row of the table."""
    looked = alone(look, place)
    requests, seconds = server.requests(), server.seconds()
    precision = engines.resolve_precision("auto")
    # The inspection of the photos comes first, and is not timed.
    whole, later = alone(stage, place, module, scratch, precision)
    return {
        "looked at, a second": looked,
        "vectors, a second": whole,
        "after the first batch": later,
        "requests, 1,000 photos": 1000 * (server.requests() - requests) / count,
        "the server's own ms a photo": 1000 * (server.seconds() - seconds) / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure photos on disk, on S3, and in tar files.")
    parser.add_argument("--count", type=int, default=1500, help="photos")
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, moto(Path(temporary)) as url:
        scratch = Path(temporary)
        disk = data.crops(scratch / "photos", arguments.count)
        packed = pack_folder(disk, scratch / "packed", 4)
        bucket = Objects(url)
        bucket.empty()
        os.environ.update(environment(url))
        photos_by_place = {
            "files on disk": disk,
            "files on S3": places.parse(bucket.put_folder(disk, "photos")),
            "tar files on disk": packed,
            "tar files on S3": places.parse(bucket.put_folder(packed, "packed")),
        }
        server = Server(scratch / "moto.log")
        module = preparation.prepare(MODULE, scratch / "modules")
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in photos_by_place}
        for _ in range(arguments.rounds):
            for name, place in photos_by_place.items():
                taken[name].append(measure(place, module, scratch, server, arguments.count))
    # The best of each, as other load only slows down; requests are the same in all rounds.
    rows: list[dict[str, Any]] = [
        {"photos": name}
        | {figure: max(round_[figure] for round_ in rounds) for figure in rounds[0]}
        for name, rounds in taken.items()
    ]
    for row in rows:
        row["against files on disk"] = row["vectors, a second"] / rows[0]["vectors, a second"]
    show(rows)
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "source.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
