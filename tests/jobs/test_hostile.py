"""What strangers may put into data: no crash, no lost record, bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_road import EMOJI, read_lines, read_rows, write_manifest

from mmstream.plugins import components, registry

PEAK_BYTES = 1_500_000_000
"""Of a labelling job on two cores, TensorFlow and Beam included (957 MiB where it was written)."""
REAL = [path.read_bytes() for path in sorted((EMOJI / "train" / "openmoji").iterdir())[:3]]
SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

mutated = st.builds(
    lambda data, place, more, cut: (data[: place % len(data)] + more + data[place % len(data) :])[: cut or None],
    st.sampled_from(REAL),
    st.integers(0, 100_000),
    st.binary(max_size=40),
    st.integers(0, 3000),
)
READING_MIB = {"jsonl": 320, "csv": 320, "tfrecord": 320, "webdataset": 320, "parquet": 768}
"""What reading may add to the memory of a process, by source: 64 MiB for a row and what is made of it; Parquet's pages
are in memory whole."""
READS = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hostile_files import WRITERS
from mmstream.plugins import registry as plugins
from mmstream.errors import MmstreamError

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

name, folder = sys.argv[2], Path(sys.argv[3])
source, rows, before = plugins.find("source", name)(), {}, 0
for path in [folder / "warm" / next((folder / "warm").iterdir()), *sorted(folder.glob("*.*"))]:
    found = []
    try:
        for split in source.splits(str(path)):
            for row in source.read(split):
                found = [*found[:1], [row.error is None, str(row.error)[:300]]]
    except MmstreamError as error:
        found = [[False, str(error)]]
    if before:
        rows[path.name] = found
    before = before or peak()
print(json.dumps({"added": peak() - before, "rows": rows}))
"""
WRITES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hostile_files import WRITERS, write_good
(Path(sys.argv[3]) / "warm").mkdir()
write_good(sys.argv[2], Path(sys.argv[3]) / "warm")
WRITERS[sys.argv[2]](Path(sys.argv[3]))
"""
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


PARAMETERS = {"image": {"size": [16, 16]}, "text": {"length": 8}}
"""Of fields that cannot do without."""


def build(name: str):
    return components.build("field", name, PARAMETERS.get(name, {}))


def fields_of(media: bool) -> list[str]:
    built = {name: build(name) for name in registry.names("field")}
    return sorted(name for name, field in built.items() if field.media == media)


@pytest.mark.parametrize("name", fields_of(media=True))
@SETTINGS
@given(data=st.binary() | mutated)
def test_any_bytes_are_decoded_or_refused(name, data):
    field = build(name)
    try:
        found = field.decode(data)
    except (TypeError, ValueError, OSError):
        return
    assert found is None or set(found) <= set(field.spec(None))


@pytest.mark.parametrize("name", fields_of(media=False))
@SETTINGS
@given(value=values)
def test_any_value_is_decoded_or_refused(name, value):
    field = build(name)
    if value is None:
        return  # the core never hands it on
    try:
        found = field.decode(value)
    except (TypeError, ValueError, OSError):
        return
    assert found is None or set(found) == set(field.raw())


@pytest.mark.slow
@pytest.mark.parametrize("name", READING_MIB)
def test_files_that_stand_for_very_much_are_read_within_bounds_and_cost_no_other_row(tmp_path, name):
    support = str(Path(__file__).parents[1] / "support")
    for code in (WRITES, READS):  # each in a process of its own: to write them takes much, too
        command = [sys.executable, "-c", code, support, name, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["added"] < READING_MIB[name] * 1024 * 1024, f"{found['added'] / 1024**2:,.0f} MiB"
    assert len(found["rows"]) >= 9
    for file, rows in found["rows"].items():
        alone = name == "parquet" or file.startswith("header")  # nothing stands before or behind what is bad
        assert alone or [sound for sound, _ in rows] == [True, True], (file, rows)
        assert all(len(message) < 300 for _, message in rows)


@pytest.mark.slow
def test_odd_files_and_texts_are_accounted_for_in_bounded_memory(road, shared_data, tmp_path):
    texts = json.loads(next((shared_data / "odd_text").glob("*.json")).read_text())
    roots = [shared_data / "odd_images", shared_data / "odd_audio"]
    odd = sorted(path for root in roots for path in root.rglob("*") if path.is_file())
    rows = [{"id": f"{n} {text}", "image": str(odd[n % len(odd)]), "text": text} for n, text in enumerate(texts)]
    rows += [{"id": f"file {n}", "image": str(path)} for n, path in enumerate(odd)]
    manifest = write_manifest(road.folder / "data" / "odd.jsonl", rows)
    command = [sys.executable, "-m", "mmstream.cli", "label", str(road.model), "--input", str(manifest)]
    command += [*(f"--root={root}" for root in roots), "--embeddings", "--output", str(tmp_path / "out")]
    # A process starts with the peak of the one that it was forked from, so a small one stands between.
    measure = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    measure += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", measure, *command], stdout=subprocess.PIPE, text=True, check=True)
    letters = read_lines(tmp_path / "out" / "dead_letters")
    ids = [row["id"] for row in read_rows(tmp_path / "out")] + [letter["id"] for letter in letters]
    assert sorted(ids) == sorted(row["id"] for row in rows)
    assert not [letter for letter in letters if letter["stage"] == "quarantine"]
    assert int(done.stdout) * 1024 < PEAK_BYTES, f"{int(done.stdout) / 1024:,.0f} MiB"
