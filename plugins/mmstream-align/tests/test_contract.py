"""The objectives keep the contract of an objective."""

from __future__ import annotations

from mmstream.testing import ObjectiveContract


class TestContrastive(ObjectiveContract):
    name = "contrastive"
    parameters = {"fields": ["image", "sound", "text"], "temperature": 0.2}


class TestSigmoidContrastive(ObjectiveContract):
    name = "sigmoid_contrastive"
    parameters = {"fields": ["image", "sound", "text"], "temperature": 0.2, "bias": -3.0}


class TestSigmoidContrastiveOfTwoFields(ObjectiveContract):
    name = "sigmoid_contrastive"
    parameters = {"fields": ["image", "text"]}


class TestMatching(ObjectiveContract):
    name = "matching"
    parameters = {"fields": ["image", "sound", "text"], "temperature": 0.2}


class TestMatchingOfTwoFields(ObjectiveContract):
    name = "matching"
    parameters = {"fields": ["image", "text"]}
