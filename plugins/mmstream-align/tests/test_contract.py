"""Contrastive alignment keeps the contract of an objective."""

from __future__ import annotations

from mmstream.testing import ObjectiveContract


class TestContrastive(ObjectiveContract):
    name = "contrastive"
    parameters = {"fields": ["image", "sound", "text"], "temperature": 0.2}
