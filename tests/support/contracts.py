"""Which components a test module holds to their contracts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmstream.testing.component import ComponentContract


def contracts_in(path: Path) -> dict[str, type[ComponentContract]]:
    """The contracts that stand in a test module, by the names of their classes."""
    spec = importlib.util.spec_from_file_location("contracts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = {name: value for name, value in vars(module).items() if name.startswith("Test")}
    return {name: test for name, test in tests.items() if issubclass(test, ComponentContract)}
