"""A stream on a Flink cluster: each record comes out once, whatever dies."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from kafka_server import Kafka
from small_road import EMOJI, emoji_rows, read_lines, read_rows, run, snapshot, write_manifest

PATIENCE_SECONDS = 240
MESSAGES_SOON = ("--streaming", "--max-latency", "2")
SOON = (*MESSAGES_SOON, "--every", "1")
SELDOM = "--checkpointing_interval=600000"
"""No checkpoint before the test ends: a worker that dies is given everything once more."""


def held(output: Path) -> dict[str, int]:
    path = output / "label.json"
    about = json.loads(path.read_text()) if path.exists() else {}
    return {"rows": about.get("rows", 0), "dead_letters": about.get("dead_letters", 0)}


def wait_until(fact: Callable[[], bool], job: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not fact():
        assert job.poll() is None, "it has ended before"
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.2)


def wait_for(output: Path, rows: int, dead_letters: int, job: subprocess.Popen[str]) -> None:
    wanted = {"rows": rows, "dead_letters": dead_letters}
    wait_until(lambda: held(output) == wanted, job)


def stop(job: subprocess.Popen[str]) -> None:
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 0


@pytest.fixture
def put(tmp_path) -> Callable[[int, int], None]:
    """Puts pictures into the folder that is watched: those from a number on, up to another."""
    known = [EMOJI / "train" / row["image"] for row in emoji_rows(400)]

    def copy(start: int, end: int) -> None:
        (tmp_path / "in").mkdir(exist_ok=True)
        for number in range(start, end):
            place = tmp_path / "in" / f"{number:05d}.png"
            shutil.copyfile(known[number % len(known)], place.with_name(f".{place.name}"))
            place.with_name(f".{place.name}").rename(place)

    return copy


def test_what_came_before_a_kill_is_there_once(flink, on_flink, road, put, tmp_path):
    put(0, 60)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    job = on_flink("label", road.model, "--input", tmp_path / "in", "--output", out, *SOON, SELDOM)
    wait_for(out, 60, 1, job)
    before = snapshot(out, "parts")
    flink.kill_task_manager()
    put(60, 90)
    flink.start_task_manager()
    wait_for(out, 90, 1, job)
    put(90, 100)
    wait_for(out, 100, 1, job)
    stop(job)
    assert run("audit", out, "--input", tmp_path / "in") == 0
    assert [row["id"] for row in read_rows(out)] == [f"{number:05d}.png" for number in range(100)]
    (letter,) = read_lines(out / "dead_letters")
    assert (letter["id"], letter["stage"]) == ("bad.png", "decode")
    changed = {name for name, data in snapshot(out, "parts").items() if before[name] != data}
    assert len(changed) <= 40  # parts that got one of the forty

    labels = snapshot(out, "labels", "dead_letters")
    assert run("label", road.model, "--input", tmp_path / "in", "--output", out) == 0
    assert json.loads((out / "label.json").read_text())["skipped"] == 101
    assert snapshot(out, "labels", "dead_letters") == labels


def test_a_killed_driver_goes_on_from_the_output(flink, on_flink, road, put, tmp_path):
    put(0, 30)
    out = tmp_path / "out"
    command = ("label", road.model, "--input", tmp_path / "in", "--output", out, *SOON)
    job = on_flink(*command)
    wait_for(out, 30, 0, job)
    before = snapshot(out, "labels", "parts")
    job.kill()
    assert job.wait() == -signal.SIGKILL
    flink.cancel()  # the cluster goes on trying to reach it
    job = on_flink(*command)
    put(30, 31)
    wait_for(out, 31, 0, job)
    stop(job)
    assert run("audit", out, "--input", tmp_path / "in") == 0
    changed = {name for name, data in snapshot(out, "parts").items() if before[name] != data}
    assert len(changed) == 1


def test_a_savepoint_is_gone_on_from(flink, on_flink, road, put, tmp_path):
    put(0, 20)
    out = tmp_path / "out"
    command = ("label", road.model, "--input", tmp_path / "in", "--output", out, *SOON)
    job = on_flink(*command)
    wait_for(out, 20, 0, job)
    savepoint = flink.stop_with_savepoint(tmp_path / "savepoints")
    assert job.wait(60) == 0
    put(20, 25)
    job = on_flink(*command, f"--savepoint_path={savepoint}")
    wait_for(out, 25, 0, job)
    stop(job)
    assert run("audit", out, "--input", tmp_path / "in") == 0


def test_rows_of_manifests_arrive_and_change(on_flink, road, pictures, tmp_path):
    rows = pictures(40)
    folder = road.folder / "data" / "manifests"
    write_manifest(folder / "first.jsonl", [*rows[:20], b"no json"])
    out = tmp_path / "out"
    root = ("--root", road.folder / "data", "--source", "jsonl")
    for row in rows:
        row["image"] = str(road.folder / "data" / row["image"])
    write_manifest(folder / "first.jsonl", [*rows[:20], b"no json"])
    job = on_flink("label", road.model, "--input", folder, "--output", out, *root, *SOON)
    wait_for(out, 20, 1, job)
    write_manifest(folder / "second.jsonl", [*rows[20:], rows[0]])
    wait_for(out, 40, 2, job)  # the id of the last one is taken
    rows[3]["image"] = rows[4]["image"]
    write_manifest(folder / "first.jsonl", [*rows[:20], b"no json"])
    same = lambda: len({row["_digest"] for row in read_rows(out) if row["id"] in ("r00003", "r00004")}) == 1  # noqa: E731
    wait_until(same, job)
    stop(job)
    assert held(out) == {"rows": 40, "dead_letters": 2}
    shutil.rmtree(folder)


def test_messages_are_labelled_and_published_whatever_dies(flink, kafka, on_flink, road, pictures, tmp_path):
    for topic in ("pictures", "labels"):
        kafka.create_topic(topic, 2)
    rows, folder, out = pictures(60), road.folder / "data", tmp_path / "out"
    source, sink = (f"kafka://{kafka.bootstrap}/{topic}" for topic in ("pictures", "labels"))
    inline = {"image": {"base64": base64.b64encode((folder / rows[1]["image"]).read_bytes()).decode()}}
    odd = [
        {"key": "inline", "value": json.dumps(inline).encode()},
        {"key": "raw", "value": (folder / rows[2]["image"]).read_bytes(), "headers": {"mmstream-column": b"image"}},
        {"key": "tombstone", "value": None},
        {"value": b"no json"},
        {"value": json.dumps(rows[0]).encode()},
    ]
    first = {"value": json.dumps(rows[0]).encode(), "partition": 0}
    send(kafka, "pictures", [first, *({"value": json.dumps(row).encode()} for row in rows[1:40])])
    about = ("--input", source, "--root", folder, "--output", out, "--publish", sink)
    job = on_flink("label", road.model, *about, *MESSAGES_SOON, SELDOM)
    wait_for(out, 40, 0, job)
    flink.kill_task_manager()
    send(kafka, "pictures", odd)
    flink.start_task_manager()
    wait_for(out, 42, 3, job)
    kafka.kill()
    kafka.start()
    send(kafka, "pictures", [{"value": json.dumps(row).encode()} for row in rows[40:]])
    wait_for(out, 62, 3, job)
    stop(job)
    assert run("audit", out, "--input", source) == 0
    assert {row["id"] for row in read_rows(out)} == {"inline", "raw", *(row["id"] for row in rows)}
    letters = {letter["error"]: letter["origin"] for letter in read_lines(out / "dead_letters")}
    assert letters.keys() == {"ValueError", "JSONDecodeError", "DuplicateId"}
    assert all(origin.startswith("pictures/") for origin in letters.values())

    published = received(kafka, "labels")
    assert {key for key, kind, _ in published if kind == "label"} == {"inline", "raw", *(row["id"] for row in rows)}
    assert len({key for key, kind, _ in published if kind == "dead_letter"}) == 3
    assert all(json.loads(value)["_fingerprint"] for _, kind, value in published if kind == "label")


def send(kafka: Kafka, topic: str, messages: list[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for message in messages:
        producer.produce(topic, **message)
    assert producer.flush(30) == 0


def received(kafka: Kafka, topic: str) -> list[tuple[str, str, str]]:
    """Key, kind and value of everything that is in a topic."""
    about = {"bootstrap.servers": kafka.bootstrap, "group.id": "test", "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer(about)
    partitions = len(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
    found: list[tuple[str, str, str]] = []
    ends = 0
    while ends < partitions:
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF
            ends += 1
        else:
            found.append(
                (message.key().decode(), dict(message.headers())["mmstream"].decode(), message.value().decode())
            )
    consumer.close()
    return found


def test_a_newer_model_takes_over(on_flink, road, put, tmp_path):
    put(0, 10)
    out, models = tmp_path / "out", tmp_path / "models"
    models.mkdir()
    trained = ("--set", "training.seed=2", "--set", "training.epochs=1", "--examples", road.examples)
    job = on_flink(
        *("label", road.model, "--input", tmp_path / "in", "--output", out, *SOON),
        *("--follow", models),
    )
    assert run("train", road.config, *trained, "--output", tmp_path / "newer") == 0
    wait_for(out, 10, 0, job)
    old = json.loads((out / "job.json").read_text())["fingerprint"]
    shutil.copytree(tmp_path / "newer", tmp_path / "moving")
    (tmp_path / "moving").rename(models / "newer")
    count = 10

    def has_taken_over() -> bool:
        nonlocal count
        put(count, count + 1)  # workers look when there is something to do
        count += 1
        wait_for(out, count, 0, job)
        return json.loads((out / "job.json").read_text()).get("earlier") == [old]

    wait_until(has_taken_over, job)
    put(count, count + 5)
    wait_for(out, count + 5, 0, job)
    stop(job)
    new = json.loads((out / "job.json").read_text())["fingerprint"]
    made = [row["_fingerprint"] for row in read_rows(out)]
    assert set(made[:10]) == {old}
    assert set(made[count:]) == {new} != {old}
    assert run("audit", out, "--input", tmp_path / "in") == 0


def test_what_makes_no_sense_is_refused(road, tmp_path, capfd):
    label = ("label", road.model, "--input", tmp_path, "--output", tmp_path.with_name("out"), "--streaming")
    for more, why in (
        ((), "needs a runner that supports streaming"),
        (("--watch",), "cannot be combined"),
        (("--prune",), "cannot be combined"),
        (("--runner=FlinkRunner", "--follow", "models", "--expect", "f"), "cannot be combined with --expect"),
        (("--runner=FlinkRunner", "--publish", "nowhere"), "nothing can publish to nowhere"),
    ):
        assert run(*label, *more) in (1, 2)
        assert why in capfd.readouterr().err
