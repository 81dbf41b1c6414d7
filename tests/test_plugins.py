"""Plugins are found, listed, and isolated when broken."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmstream import plugins
from mmstream.errors import MmstreamError


def test_every_first_party_plugin_loads():
    loaded, _ = plugins.load()
    assert {plugin.name for plugin in loaded} >= {"align", "fusion", "image", "io", "tabular", "text"}
    assert not [plugin.problem for plugin in loaded if plugin.error]


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(MmstreamError, match=r"no encoder is called 'cn'. Did you mean 'cnn'\? There is: .*gru"):
        plugins.find("encoder", "cn")


def test_listing_plugins_imports_nothing_heavy():
    code = "import sys; from mmstream import plugins; plugins.load(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "apache_beam", "PIL", "pyarrow"} & set(loaded)
