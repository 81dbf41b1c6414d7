"""The fusions keep their contract."""

from __future__ import annotations

from mmstream.testing import FusionContract


class TestConcat(FusionContract):
    name = "concat"


class TestAttention(FusionContract):
    name = "attention"
