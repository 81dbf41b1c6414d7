"""What `make dist` builds works where nothing else of mmstream is, as on a worker of a cluster."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_road import write_manifest

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv", path=Path(sys.executable).parent)


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """The programs of a new environment with the wheels of the core and of every plugin."""
    folder = tmp_path_factory.mktemp("wheels")
    wheels, environment = folder / "dist", folder / "environment"
    subprocess.run([UV, "build", "-q", "--wheel", "--all-packages", "--out-dir", wheels], cwd=ROOT, check=True)
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, environment], check=True)
    install = [UV, "pip", "install", "-q", "--python", environment / "bin" / "python"]
    install += ["--constraint", ROOT / "constraints.txt", *wheels.glob("*.whl")]
    subprocess.run(install, check=True)
    return environment / "bin"


@pytest.mark.slow
def test_wheels_alone_label_as_the_checkout_does(clean, road, pictures, tmp_path):
    def mmstream(*arguments: object) -> str:
        command = [clean / "mmstream", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout

    listed = mmstream("plugins", "list")
    plugins = {path.name for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").exists()}
    assert {name for name in plugins if f"({name})" in listed} == plugins
    assert "BROKEN" not in listed
    manifest = write_manifest(road.folder / "data" / "wheels.jsonl", pictures(3))
    assert "r00002" in mmstream("label", road.model, "--input", manifest, "--preview", 3)
