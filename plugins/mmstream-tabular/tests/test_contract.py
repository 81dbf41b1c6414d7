"""The fields of tables, and the heads that predict them, keep their contracts."""

from __future__ import annotations

from mmstream.testing import FieldContract, HeadContract


class TestCategory(FieldContract):
    name = "category"
    parameters = {"max_values": 4}
    values = [
        "animals & nature",
        "objects",
        "objects",
        "  two \n words",
        7,
        True,
        "食べ物",
        "one too many",
        "cafe\u0301",
    ]
    absent = ["", " \t"]
    bad = [1.5, b"objects", ["objects"], {}, "\ud800"]


class TestTags(FieldContract):
    name = "tags"
    parameters = {"max_values": 5, "separator": ";"}
    values = [["cat", "face"], [], ["cat", "cat", ""], "dog;face", (7, True), ["one", "too", "many"], ["猫"]]
    bad = [7, 1.5, b"cat", {"cat": 1}, [1.5], [None], [["cat"]], ["\ud800"]]


class TestClassification(HeadContract):
    name = "classification"
    parameters = {"dropout": 0.2, "label_smoothing": 0.1}
    field = "category"
    vocabulary = ("animals", "objects", "food")
    target = {"id": [4, 6, 5, 1, 0], "present": [1, 1, 1, 1, 0]}
    known = [1, 1, 1, 0, 0]


class TestTagging(HeadContract):
    name = "tagging"
    parameters = {"dropout": 0.2}
    field = "tags"
    vocabulary = ("cat", "face", "dog")
    target = {"hot": [[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]], "present": [1, 1, 1, 1, 0]}
    known = [1, 1, 1, 1, 0]
