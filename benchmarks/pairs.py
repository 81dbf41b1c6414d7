"""Compare commands: interleaved pairs, with start-up subtracted, and memory per record."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

LEAST_RATIO = 0.85
MOST_BYTES_A_RECORD = 10_000
LEAST_SECONDS = 60
BATCH = 64
"""Records of a run that is all start-up."""
_CALIBRATION_RECORDS = 6000
_MARGIN = 1.25
_MOST_PADDING = 4096

Command = Callable[[str, str], list[str]]
"""(input, new output directory) → argv."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one process used, from its start to its end.

    Attributes:
        started: when, as `time.time()`.
        seconds: wall clock.
        cpu_seconds: user and system.
        peak_bytes: the most memory that was resident at a time.
    """

    started: float
    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclasses.dataclass(frozen=True)
class Work:
    """What a contender used for the records alone: a run on all of them minus a run on a single batch.

    Attributes:
        seconds: wall clock.
        cpu_seconds: user and system.
        startup_seconds: of the run on a single batch, which are subtracted.
    """

    seconds: float
    cpu_seconds: float
    startup_seconds: float


@dataclasses.dataclass(frozen=True)
class Interval:
    """A median and how certain it is.

    Attributes:
        median: of the pairs.
        low: the smallest of the pairs.
        high: the largest. The true median lies between the two with probability `confidence`, whatever the
            distribution: all pairs lie on one side of it with probability 2 · 0.5ⁿ (the sign test).
        confidence: 1 - 2 · 0.5ⁿ.
    """

    median: float
    low: float
    high: float
    confidence: float


def run(argv: Sequence[str], environment: Mapping[str, str]) -> Usage:
    """Run a command to its end in a process of its own.

    Raises:
        SystemExit: it failed; what it printed is shown.
    """
    # The size of the environment moves everything in memory, and that alone can change speeds by a tenth. So each run
    # gets another size. Source: Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", 2009.
    padding = {"BENCHMARK_PADDING": "x" * random.randrange(_MOST_PADDING)}
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **padding, **environment}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise each start compiles again what is not compiled yet
    with tempfile.TemporaryFile("w+") as said:
        started, since = time.time(), time.monotonic()
        process = subprocess.Popen(argv, stdout=said, stderr=said, env=variables)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - since
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(argv)} ended with {process.returncode}:\n{said.read()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(started, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit)


def run_pairs(
    contenders: Mapping[str, Command],
    inputs: tuple[str, str],
    folder: Path,
    pairs: int,
    environment: Mapping[str, str],
    look: Callable[[str, str, Usage, Path], None],
) -> dict[str, list[Work]]:
    """Run the contenders in turn, each time in a new process, on a single batch and then on everything.

    Args:
        contenders: by name.
        inputs: a single batch, and everything.
        folder: for outputs, which are removed as soon as they have been looked at.
        pairs: how often each contender is run on both.
        environment: the same variables for all of them.
        look: is called with (contender, input, usage, output) of each run.

    Returns:
        for each contender and pair, the difference. The start-up that is subtracted is the median over all pairs.
    """
    small: dict[str, list[Usage]] = {name: [] for name in contenders}
    large: dict[str, list[Usage]] = {name: [] for name in contenders}
    for number in range(pairs):
        for name, command in contenders.items():
            for usages, path in ((small, inputs[0]), (large, inputs[1])):
                output = folder / f"{name}-output"
                shutil.rmtree(output, ignore_errors=True)
                usage = run(command(path, str(output)), environment)
                usages[name].append(usage)
                look(name, path, usage, output)
                shutil.rmtree(output, ignore_errors=True)
            gone = large[name][-1].seconds - small[name][-1].seconds
            say(f"pair {number + 1} of {pairs}, {name}: {gone:.1f} s after {small[name][-1].seconds:.1f} s of start-up")
    works = {}
    for name in contenders:
        seconds = statistics.median(usage.seconds for usage in small[name])
        cpu_seconds = statistics.median(usage.cpu_seconds for usage in small[name])
        works[name] = [Work(u.seconds - seconds, u.cpu_seconds - cpu_seconds, seconds) for u in large[name]]
    return works


def interval(values: Sequence[float]) -> Interval:
    """The median of some pairs, with its confidence interval.

    >>> interval([0.9, 0.8, 1.0, 0.95, 0.85])
    Interval(median=0.9, low=0.8, high=1.0, confidence=0.9375)
    """
    return Interval(statistics.median(values), min(values), max(values), 1 - 2 * 0.5 ** len(values))


def bytes_a_record(
    command: Command, inputs: Mapping[int, str], folder: Path, environment: Mapping[str, str]
) -> dict[str, float | dict[int, int]]:
    """Measure how the peak memory of a job grows with its input.

    Args:
        command: of the job.
        inputs: path by number of records, ascending: the first is a single batch, for the network's own memory.
        folder: for outputs.
        environment: variables of all runs.

    Returns:
        {"peak_bytes": {records: bytes}, "slope": from the second input to the last, "above_network": from the first to
        the last}; the larger of the last two is what is judged.
    """
    peaks = {}
    for records, path in inputs.items():
        output = folder / "memory-output"
        peaks[records] = run(command(path, str(output)), environment).peak_bytes
        shutil.rmtree(output, ignore_errors=True)
        say(f"memory of {records:,} records: {peaks[records] / 1e6:,.0f} MB")
    (base, few), (middle, more), *_, (many, most) = (*peaks.items(), list(peaks.items())[-1])
    return {
        "peak_bytes": peaks,
        "slope": (most - more) / max(many - middle, 1),
        "above_network": (most - few) / max(many - base, 1),
    }


def records_for(
    command: Command,
    write: Callable[[int], str],
    folder: Path,
    seconds: float,
    environment: Mapping[str, str],
    *,
    probe: tuple[int, int] = (BATCH, BATCH + _CALIBRATION_RECORDS),
    unit: int = 1000,
) -> int:
    """The number of records that keep a contender busy for `seconds` and a little longer, not counting start-up.

    Args:
        command: of the contender.
        write: makes an input of so many records.
        folder: for its outputs.
        seconds: of work.
        environment: variables of the runs.
        probe: records of the two runs that measure the pace.
        unit: the result is a multiple of this.
    """
    took = []
    for records in probe:
        output = folder / "calibration-output"
        took.append(run(command(write(records), str(output)), environment).seconds)
        shutil.rmtree(output, ignore_errors=True)
    pace = (probe[1] - probe[0]) / max(took[1] - took[0], 0.1)
    return math.ceil(_MARGIN * seconds * pace / unit) * unit


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all benchmarks share."""
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="interleaved pairs (default: 5)")
    parser.add_argument("--seconds", type=float, default=LEAST_SECONDS, metavar="S", help="of work (default: 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--quick", action="store_true", help="see that it runs, and judge nothing")


def add_record_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the benchmarks of jobs."""
    parser.add_argument(
        "--records",
        type=int,
        metavar="N",
        help="in each run (default: as many as keep the bare loop busy for --seconds)",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="in both (default: the cores)")
    parser.add_argument(
        "--memory-records", type=int, nargs=2, default=[20_000, 100_000], metavar="N", help="(default: 20000 100000)"
    )
    parser.add_argument("--pictures", type=int, default=2000, metavar="N", help="different files (default: 2000)")


def main(
    summary: str | None, measure: Callable[[argparse.Namespace, Path], int], argv: Sequence[str] | None = None
) -> int:
    """Run a benchmark of jobs; the exit code is 1 if a bound is missed.

    Args:
        summary: what it measures.
        measure: does the measuring, given the flags and a folder, and returns the exit code.
        argv: the command line; None for that of this process.
    """
    parser = argparse.ArgumentParser(description=summary)
    add_flags(parser)
    add_record_flags(parser)
    flags = parser.parse_args(argv)
    if flags.quick:
        flags.pairs, flags.records, flags.pictures, flags.memory_records = 1, 300, 40, [300, 600]
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as directory:
        return measure(flags, Path(directory))


def report(
    title: str,
    flags: argparse.Namespace,
    counted: tuple[int, str],
    works: Mapping[str, Sequence[Work]],
    ratios: Mapping[str, Sequence[float]],
    *,
    memory: Mapping[str, float | dict[int, int]] | None = None,
    least_ratio: float = LEAST_RATIO,
    judged: Literal["median", "high"] = "median",
) -> int:
    """Print a table, and write the figures where `--json` says; returns the exit code, 1 if a bound is missed.

    Args:
        title: of the report.
        flags: of the command.
        counted: what each run processes, such as (74000, "records").
        works: of each contender.
        ratios: of each pair, by what they compare; the first entry is judged.
        memory: the result of `bytes_a_record`, if memory was measured.
        least_ratio: bound for the first entry of `ratios`.
        judged: what is compared with the bound: the median, or, if only a certain loss is to count, the high end of the
            interval.
    """
    count, unit = counted
    intervals = {name: interval(values) for name, values in ratios.items()}
    first = next(iter(intervals.values()))
    shortest = min(work.seconds for contender in works.values() for work in contender)
    bounds = [f"{judged} of the ratio ≥ {least_ratio}", f"≥ {LEAST_SECONDS} s of work"]
    passed = getattr(first, judged) >= least_ratio and shortest >= LEAST_SECONDS
    if memory:
        a_record = max(float(memory["slope"]), float(memory["above_network"]))  # type: ignore[arg-type]
        memory = {**memory, "bytes_a_record": a_record}
        bounds.append(f"≤ {MOST_BYTES_A_RECORD:,} bytes a record")
        passed = passed and a_record <= MOST_BYTES_A_RECORD
    print(f"{title}: {count:,} {unit}, {os.cpu_count()} cores, {flags.pairs} interleaved pairs, start-up apart\n")
    print(f"{'contender':<12} {'work s':>24} {unit + '/s':>10} {'CPU ms each':>14} {'start-up s':>11}")
    for name, contender in works.items():
        seconds = [work.seconds for work in contender]
        cpu = statistics.median(work.cpu_seconds for work in contender)
        median = statistics.median(seconds)
        spread = f"{median:.1f} ({min(seconds):.1f}-{max(seconds):.1f})"
        pace = f"{count / median:>10,.1f} {1000 * cpu / count:>14.2f}"
        print(f"{name:<12} {spread:>24} {pace} {contender[0].startup_seconds:>11.1f}")
    print()
    for name, each in intervals.items():
        shown = f"{each.low:.3f} to {each.high:.3f} at {100 * each.confidence:.1f} %"
        print(f"{name}: median {each.median:.3f} ({shown}); pairs {' '.join(f'{x:.3f}' for x in ratios[name])}")
    if memory:
        print(f"memory: {a_record:,.0f} bytes a record (slope {memory['slope']:,.0f}; peaks {_peaks(memory)})")
    print(f"shortest work: {shortest:.1f} s")
    if not flags.quick:
        print(f"{'PASSED' if passed else 'MISSED'}: {', '.join(bounds)}")
    if flags.json:
        figures = {
            "title": title,
            "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
            "count": count,
            "unit": unit,
            "quick": flags.quick,
            "passed": passed,
            "work": {name: [dataclasses.asdict(work) for work in contender] for name, contender in works.items()},
            "ratios": {name: {"pairs": list(ratios[name]), **dataclasses.asdict(i)} for name, i in intervals.items()},
            **({"memory": memory} if memory else {}),
        }
        flags.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if passed or flags.quick else 1


def say(message: str) -> None:
    """Show progress to the person who waits."""
    print(message, file=sys.stderr, flush=True)


def _peaks(memory: Mapping[str, float | dict[int, int]]) -> str:
    peaks: dict[int, int] = memory["peak_bytes"]  # type: ignore[assignment]
    return ", ".join(f"{records:,}: {peak / 1e6:,.0f} MB" for records, peak in peaks.items())
