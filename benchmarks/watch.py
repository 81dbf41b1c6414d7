"""Measure how long a picture waits for its label under `mmstream label --watch`, in a growing folder, with kills."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import corpus
import numpy as np
import pairs
import pyarrow.parquet

_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 300


class Folder:
    """A folder that grows, and when each file came.

    Args:
        path: of the folder.
        pictures: that are copied into it, in turn.
        rate: files a second, on average.
    """

    def __init__(self, path: Path, pictures: list[Path], rate: float) -> None:
        self.path, self._pictures, self._rate = path, pictures, rate
        self.came: dict[str, float] = {}
        path.mkdir()

    def grow(self, seconds: float) -> None:
        """Add files at random moments, each as a whole: it is written under a hidden name and renamed."""
        chance, end = random.Random(1), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.expovariate(self._rate))
            name = f"{len(self.came):06d}.jpg"
            hidden = self.path / f".{name}"
            shutil.copy(self._pictures[len(self.came) % len(self._pictures)], hidden)
            hidden.rename(self.path / name)
            self.came[name] = time.monotonic()


class Labels:
    """The committed labels of an output, and when each was first seen.

    Args:
        output: its directory.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / "labels"
        self._times: dict[Path, int] = {}
        self.seen: dict[str, float] = {}

    def look(self) -> None:
        """Read the parts that have changed."""
        for path in sorted(self._folder.glob("part-*.parquet")):
            changed = path.stat().st_mtime_ns
            if self._times.get(path) != changed:
                self._times[path] = changed
                now = time.monotonic()
                for name in pyarrow.parquet.read_table(path, columns=["id"])["id"].to_pylist():
                    self.seen.setdefault(name, now)


@contextlib.contextmanager
def watching(model: str, source: Path, output: Path, every: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mmstream label --watch` in a process of its own."""
    flags = ["label", model, f"--input={source}", f"--output={output}", "--watch", f"--every={every}", "--quiet"]
    process = subprocess.Popen([*corpus.MMSTREAM, *flags])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def measure(flags: argparse.Namespace, directory: Path) -> int:
    """Grow, watch, kill, and report."""
    pairs.say("making pictures and a model")
    pictures = corpus.make_pictures(directory / "pictures", 40)
    model = corpus.make_model(directory, pictures)
    folder, output = Folder(directory / "incoming", pictures, flags.rate), directory / "labelled"
    labels, seconds = Labels(output), 60 * flags.minutes
    growing = threading.Thread(target=folder.grow, args=(seconds,))
    growing.start()
    started, kills = time.monotonic(), []
    pairs.say(f"watching a folder that grows for {flags.minutes:g} minutes")
    for life in range(flags.kills + 1):
        dies = started + seconds * (life + 1) / (flags.kills + 1)
        with watching(model, folder.path, output, flags.every) as process:
            while time.monotonic() < dies or (life == flags.kills and not all_there(labels, folder, growing, dies)):
                labels.look()
                time.sleep(_LOOK_SECONDS)
            if life < flags.kills:
                os.kill(process.pid, signal.SIGKILL)
                kills.append(time.monotonic())
            else:
                process.send_signal(signal.SIGTERM)
            code = process.wait()
    growing.join()
    audit = subprocess.run([*corpus.MMSTREAM, "audit", output, "--input", folder.path], check=False)
    if code or audit.returncode or labels.seen.keys() != folder.came.keys():
        raise SystemExit(f"exit codes {code} and {audit.returncode}, {len(labels.seen):,} of {len(folder.came):,} seen")
    waits = {name: labels.seen[name] - came for name, came in folder.came.items()}
    lives = [folder.came[min(folder.came)], *kills]
    calm = [wait for name, wait in waits.items() if all(not -60 < folder.came[name] - at < 60 for at in lives)]
    about = {"files": len(waits), "kills": len(kills), "every": flags.every, "rate": flags.rate}
    for title, some in (("all", list(waits.values())), ("a minute away from starts and kills", calm)):
        if some:
            median, high = np.percentile(some, [50, 99])
            about[title] = {"files": len(some), "median": median, "p99": high, "longest": max(some)}
            print(
                f"{title}: {len(some):,} files, median {median:.2f} s, 99th percentile {high:.2f} s, {max(some):.2f} s"
            )
    print(f"{len(waits):,} files, {len(kills)} kills: each is labelled once")
    if flags.json:
        flags.json.write_text(json.dumps(about, indent=1))
    return 0


def all_there(labels: Labels, folder: Folder, growing: threading.Thread, due: float) -> bool:
    """Whether every file that came is labelled. Raises SystemExit if that takes too long."""
    if time.monotonic() > due + _PATIENCE_SECONDS:
        raise SystemExit(f"{len(labels.seen):,} of {len(folder.came):,} files were labelled")
    return not growing.is_alive() and len(labels.seen) == len(folder.came)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=3, help="SIGKILL to the command")
    parser.add_argument("--every", type=float, default=1.0, help="of mmstream label")
    parser.add_argument("--rate", type=float, default=10.0, help="files a second")
    parser.add_argument("--json", type=Path)
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as directory:
        return measure(parser.parse_args(), Path(directory))


if __name__ == "__main__":
    sys.exit(main())
