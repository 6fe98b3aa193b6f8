"""Compute vectors on a local Ray cluster of two nodes, one of which is killed.

    python -m tests.support.ray_cluster <pickled Store> <pickled options of ComputeBottlenecks>

prints the outcome as JSON. Ray listens on all addresses, so it runs in a network namespace with
only the loopback interface.
"""

import json
import logging
import pickle
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import luigi

from pipeline.bottlenecks import ray_engine, shards
from tasks import ComputeBottlenecks
from tests.support.commands import ROOT, environment
from tests.support.shards import divide, left
from tests.support.store import Store

ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "-"]


def available() -> bool:
    """Return whether a network namespace can be created."""
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def run(*command: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a network namespace of its own."""
    settings = {**environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-tests"}
    settings["RAY_worker_niceness"] = "0"  # or other processes slow the workers down
    return subprocess.run(
        [*ALONE, sys.executable, *map(str, command)],
        cwd=ROOT,
        env=settings | variables,
        capture_output=True,
        text=True,
    )


def main(store: Store, options: dict[str, object]) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    cluster.wait_for_nodes()
    ray_engine.BLOCK = 16
    killed_at: list[int] = []

    def kill(done: int, total: int, _message: str) -> None:
        if done and not killed_at:
            killed_at.extend([done, total])
            cluster.remove_node(second, allow_graceful=False)

    directory = divide(store, 100)
    counts = shards.compute_all(
        directory, left(directory), store.image_dir, store.recipe, ray_engine.extract, kill
    )
    alive = sum(node["Alive"] for node in ray.nodes())
    task = ComputeBottlenecks(**options, engine="ray")
    built = luigi.build([task], local_scheduler=True, no_lock=True)
    outcome = {"killed_at": killed_at, "alive": alive, "counts": asdict(counts), "built": built}
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*(pickle.loads(Path(name).read_bytes()) for name in sys.argv[1:]))
