"""Planting faults into the processes that a test starts: code that runs when they import a module."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

_PLANTER = """
import importlib.abc, importlib.util, sys

class Planter(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def execute_and_plant(module):
            execute(module)
            plant(module)
        spec.loader.exec_module = execute_and_plant
        return spec

sys.meta_path.insert(0, Planter())

"""


def plant(folder: Path, module: str, code: str) -> dict[str, str]:
    """The environment of processes that run `code`, which defines `plant(module)`, once they have imported a module."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_PLANTER.format(module=module) + textwrap.dedent(code))
    return {**os.environ, "PYTHONPATH": str(folder)}


KILL = """
def plant(module):
    import os, re, signal

    def kill_at(name):
        call = getattr(module, name)

        def planted(*arguments):
            place = str(arguments[0 if name == "write_bytes" else 1]).replace("/.", "/")
            place = re.sub(r"\\.[0-9]{{4}}-[0-9][0-9]-[0-9][0-9]T[0-9.-]+Z", "", place)
            if place.endswith({point!r}) and {before}:
                os.kill(os.getpid(), signal.SIGKILL)
            call(*arguments)
            if place.endswith({point!r}):
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, planted)

    kill_at("write_bytes")
    kill_at("move_in")
    kill_at("move")
"""
"""What `plant` runs in `mmstream.storage.files`: SIGKILL at a file whose path ends with `point`, before or after it is
written; one that is written as `.name.<run>.mmstream-tmp` beside its place counts as `name.mmstream-tmp`, and so on."""

POISON = """
def plant(module):
    decode = module.Image.decode

    def planted(self, data):
        if data == b"abort":
            import os
            os.abort()
        if data == b"sleep":
            import time
            time.sleep(100_000)
        if data == b"fill":
            raise MemoryError
        if data == b"leave":
            import os
            os._exit(0)
        return decode(self, data)

    module.Image.decode = planted
"""
"""What `plant` runs in `mmstream_image.field`: files that end the process, hang it, fill its memory, or leave it."""
