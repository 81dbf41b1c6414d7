"""Send messages through Kafka, Flink and the network into files and Kafka, with a kill: counts, waits, memory.

It starts a Flink cluster and a Kafka broker of its own, which need Java 17 and Maven. The Python workers are threads of
the command.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
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
from confluent_kafka import Consumer, Producer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))
import kafka_server
import servers

_PARTITIONS = 4
_MARKS = (0.2, 0.49, 0.7)
"""Shares of the records after which memory is measured: twice before the kill and once after it; also at the end."""
_BYTES_A_RECORD = 10_000
_PATIENCE_SECONDS = 300


class Sender:
    """Sends messages that name pictures, at random moments.

    Args:
        broker: that they are sent to.
        pictures: that they name, in turn.
        rate: messages a second, on average.

    Attributes:
        sent: when each was sent, by id; seconds since 1970.
    """

    def __init__(self, broker: kafka_server.Kafka, pictures: list[Path], rate: float) -> None:
        self._producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
        self._pictures, self._rate = pictures, rate
        self.sent: dict[str, float] = {}

    def send(self, count: int) -> None:
        """Send `count` messages; every hundredth names a picture that does not exist."""
        random = np.random.default_rng(1)
        for number in range(count):
            key = f"{number:07d}"
            picture = "missing.jpg" if number % 100 == 99 else self._pictures[number % len(self._pictures)].name
            self.sent[key] = time.time()
            self._producer.produce("pictures", json.dumps({"id": key, "image": picture}).encode(), key=key)
            self._producer.poll(0)
            time.sleep(random.exponential(1 / self._rate))
        self._producer.flush()


class Receiver:
    """Receives what is published.

    Args:
        broker: that it is published to.

    Attributes:
        came: when each record's labels, or its dead letter, first came; seconds since 1970.
        again: how often one came again.
    """

    def __init__(self, broker: kafka_server.Kafka) -> None:
        about = {"bootstrap.servers": broker.bootstrap, "group.id": "benchmark", "auto.offset.reset": "earliest"}
        self._consumer = Consumer(about)
        self._consumer.subscribe(["labels"])
        self.came: dict[str, float] = {}
        self.again = 0

    def look(self) -> None:
        """Receive what has arrived."""
        for message in self._consumer.consume(1000, 0.2):
            key = message.key().decode()
            self.again += key in self.came
            self.came.setdefault(key, message.timestamp()[1] / 1000)

    def close(self) -> None:
        self._consumer.close()


@contextlib.contextmanager
def labelling(*flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mmstream label --streaming` in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as scratch:
        with Path(scratch, "said").open("wb") as said:
            environment = {**os.environ, "TMPDIR": scratch}
            process = subprocess.Popen([*corpus.MMSTREAM, "label", *flags], stderr=said, env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """The peak resident memory of a process, in bytes."""
    (line,) = (line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


def measure(flags: argparse.Namespace, directory: Path) -> int:
    """Send, label, kill, and report."""
    pairs.say("making pictures and a model, starting servers")
    pictures = corpus.make_pictures(directory / "pictures", 40)
    model = corpus.make_model(directory, pictures)
    for name in ("flink", "kafka"):
        (directory / name).mkdir()
    with servers.flink(directory / "flink") as flink, kafka_server.kafka(directory / "kafka") as broker:
        for topic in ("pictures", "labels"):
            broker.create_topic(topic, _PARTITIONS)
        source, output = f"kafka://{broker.bootstrap}/pictures", directory / "labelled"
        sender, receiver = Sender(broker, pictures, flags.rate), Receiver(broker)
        sending = threading.Thread(target=sender.send, args=(flags.records,))
        about = ("--streaming", f"--max-latency={flags.max_latency}", f"--publish=kafka://{broker.bootstrap}/labels")
        where = (f"--input={source}", f"--output={output}", f"--root={pictures[0].parent}")
        with labelling(model, *where, *about, *flink.options()) as process:
            wait_for_labels(output, process)
            pairs.say(f"sending {flags.records:,} messages, {flags.rate:g} a second")
            sending.start()
            killed = 0.0
            memory: list[int] = []
            while sending.is_alive() or len(receiver.came) < flags.records:
                receiver.look()
                if len(memory) < len(_MARKS) and len(receiver.came) >= _MARKS[len(memory)] * flags.records:
                    memory.append(peak_memory(process))
                if not killed and len(receiver.came) >= flags.records / 2:
                    killed = time.time()
                    flink.kill_task_manager()
                    flink.start_task_manager()
                late = not sending.is_alive() and time.time() - max(sender.sent.values()) > _PATIENCE_SECONDS
                if process.poll() is not None or late:
                    raise SystemExit(f"{len(receiver.came):,} of {flags.records:,} came; exit code {process.poll()}")
            wait_for_books(output, flags.records, process)
            memory.append(peak_memory(process))
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        receiver.close()
        audit = subprocess.run([*corpus.MMSTREAM, "audit", output, "--input", source], check=False)
    if code or audit.returncode:
        raise SystemExit(f"exit codes {code} and {audit.returncode}")
    return report(flags, sender, receiver, killed, memory)


def wait_for_labels(output: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until parts were committed for the first time: the pipeline runs, and the network is warm."""
    while process.poll() is None and not list((output / "parts").glob("part-*.json")):
        time.sleep(0.5)


def wait_for_books(output: Path, records: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until label.json has all records: what is published is committed a moment later."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < end:
        about = json.loads((output / "label.json").read_text())
        if about["rows"] + about["dead_letters"] == records:
            return
        time.sleep(0.5)
    raise SystemExit(f"label.json never had {records:,} records")


def report(flags: argparse.Namespace, sender: Sender, receiver: Receiver, killed: float, memory: list[int]) -> int:
    """Print the figures, and judge only the memory before and after the kill: the counts were judged already."""
    waits = {key: receiver.came[key] - sent for key, sent in sender.sent.items()}
    calm = [wait for key, wait in waits.items() if not -60 < sender.sent[key] - killed < 60]
    before = (memory[1] - memory[0]) / ((_MARKS[1] - _MARKS[0]) * flags.records)
    after = (memory[3] - memory[2]) / ((1 - _MARKS[2]) * flags.records)
    about = {
        "records": len(waits),
        "published again": receiver.again,
        "memory": {"peaks": memory, "bytes_a_record": {"before the kill": before, "after it": after}},
    }
    for title, some in (("all", list(waits.values())), ("a minute away from the kill", calm)):
        if some:
            median, high = np.percentile(some, [50, 99])
            about[title] = {"records": len(some), "median": median, "p99": high, "longest": max(some)}
            print(f"{title}: {len(some):,} records, median {median:.2f} s, 99th percentile {high:.2f} s")
    print(f"{len(waits):,} records, one kill: each is labelled or a dead letter, once")
    print(f"{receiver.again:,} were published once more")
    peaks = ", ".join(f"{share:.0%}: {peak / 2**20:.0f} MiB" for share, peak in zip((*_MARKS, 1), memory, strict=True))
    print(f"peak memory at {peaks}; {before:.0f} bytes a record before the kill, {after:.0f} after it")
    if flags.json:
        flags.json.write_text(json.dumps(about, indent=1))
    return int(max(before, after) > _BYTES_A_RECORD)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=60.0, help="messages a second")
    parser.add_argument("--max-latency", type=float, default=5.0, help="of mmstream label")
    parser.add_argument("--json", type=Path)
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as directory:
        return measure(parser.parse_args(), Path(directory))


if __name__ == "__main__":
    sys.exit(main())
