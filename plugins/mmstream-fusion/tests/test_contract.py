"""The fusions keep their contract."""

from __future__ import annotations

from mmstream.testing import FusionContract


class TestConcat(FusionContract):
    name = "concat"


class TestAttention(FusionContract):
    name = "attention"


class TestGated(FusionContract):
    name = "gated"


class TestLate(FusionContract):
    name = "late"
    parameters = {"units": 6, "dropout": 0.2}


class TestCrossAttention(FusionContract):
    name = "cross_attention"
    parameters = {"layers": 2, "heads": 2, "dropout": 0.2}
