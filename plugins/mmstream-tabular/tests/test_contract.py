"""The fields of tables, and the heads that predict them, keep their contracts."""

from __future__ import annotations

from mmstream.testing import EncoderContract, FieldContract, HeadContract


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
        "TRUE",
        "False",
        "2.0",
        "-0.00",
        1.5,
        "2024-05-01 00:00:00",
        "2024-05-01 12:30:00.500+00:00",
    ]
    absent = ["", " \t", float("nan")]
    bad = [b"objects", ["objects"], {}, "\ud800"]


class TestCategoryAsWritten(FieldContract):
    name = "category"
    parameters = {"max_values": 4, "spelling": "as_written"}
    values = ["True", "true", True, "2.0", 2, 2.0, "2024-05-01 00:00:00"]
    absent = [""]
    bad = [1.5, float("nan"), b"objects", ["objects"], {}, "\ud800"]


class TestTags(FieldContract):
    name = "tags"
    parameters = {"max_values": 5, "separator": ";"}
    values = [
        ["cat", "face"],
        [],
        ["cat", "cat", ""],
        "dog;face",
        (7, True),
        ["one", "too", "many"],
        ["猫"],
        "2.0; TRUE",
    ]
    bad = [7, 1.5, b"cat", {"cat": 1}, [1j], [None], [["cat"]], ["\ud800"]]


class TestClassification(HeadContract):
    name = "classification"
    parameters = {"dropout": 0.2, "label_smoothing": 0.1}
    field = "category"
    vocabulary = ("animals", "objects", "food")
    target = {"id": [4, 6, 5, 1, 0], "present": [1, 1, 1, 1, 0]}
    target_mask = [1, 1, 1, 0, 0]
    given = ["animals", "food", "objects", "never seen", None]


class TestClassificationByClassWeights(TestClassification):
    parameters = {"balance": "class_weights"}


class TestClassificationByFocalLoss(TestClassification):
    parameters = {"balance": "focal", "label_smoothing": 0.1}


class TestClassificationByLogitAdjustment(TestClassification):
    parameters = {"balance": "logit_adjustment"}


class TestTagging(HeadContract):
    name = "tagging"
    parameters = {"dropout": 0.2}
    field = "tags"
    vocabulary = ("cat", "face", "dog")
    target = {"hot": [[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]], "present": [1, 1, 1, 1, 0]}
    target_mask = [1, 1, 1, 1, 0]
    given = [["cat", "face"], [], ["face", "never seen", "dog"], ["cat"], None]


class TestTaggingByPositiveWeights(TestTagging):
    parameters = {"balance": "positive_weights"}


class TestCategories(FieldContract):
    name = "category"
    parameters = {"columns": ["colour", "size", "shape"]}
    values = [["red", "L", None], ["red", None, "round"], [7, "", "round"], [None, "L", "猫"], ["L", "red", "L"]]
    absent = [["", None, " "]]
    bad = [[1j, None, None], ["red", b"L", "round"], [None, None, {}]]


class TestNumber(FieldContract):
    name = "number"
    parameters = {"missing": ["NA"], "clip": 2.0}
    values = [1, 2.5, "3", " -4e2 ", True, 10**6, 0.5]
    absent = ["", " ", "NA", float("nan")]
    bad = ["n/a", "nan", "1,5", b"1", [1.0], {}, float("inf"), 10**40, "1e99", "12_5", "inf", "0x10", "１２", "1,234"]


class TestNumbers(FieldContract):
    name = "number"
    parameters = {"columns": ["height", "weight"], "scale": "minmax"}
    values = [[1, 2], [None, 3.5], ["4", None], [0, ""], [7, 7]]
    absent = [[None, ""], [None, None]]
    bad = [["tall", 1], [1, [2]], [float("inf"), None]]


class TestEmbedding(EncoderContract):
    name = "embedding"
    parameters = {"units": 6, "dropout": 0.2}
    field = "category"
    vocabulary = ("animals", "objects", "food")
    tensors = {"id": [4, 6, 5, 1, 0]}


class TestEmbeddingOfSeveralColumns(EncoderContract):
    name = "embedding"
    parameters = {"units": 6}
    field = "category"
    field_parameters = {"columns": ["colour", "size"]}
    vocabulary = ("colour=red", "size=L", "size=S")
    tensors = {"id": [[4, 6], [5, 0], [0, 5], [1, 4], [0, 0]]}


class TestBagOfTags(EncoderContract):
    name = "bag_of_tags"
    parameters = {"units": 6, "dropout": 0.2}
    field = "tags"
    vocabulary = ("cat", "face", "dog")
    tensors = {"hot": [[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]]}


class TestMlp(EncoderContract):
    name = "mlp"
    parameters = {"units": 6, "dropout": 0.2}
    field = "number"
    field_parameters = {"columns": ["height", "weight"]}
    tensors = {
        "values": [[1.0, -1.0], [0.5, 0.0], [0.0, 2.0], [0.1, 0.1], [0.0, 0.0]],
        "known": [[1, 1], [1, 0], [0, 1], [1, 1], [0, 0]],
    }


class TestRegression(HeadContract):
    name = "regression"
    parameters = {"dropout": 0.2, "huber": 0.5}
    field = "number"
    statistics = {"offset": (10.0,), "factor": (2.0,)}
    target = {
        "values": [[1.0], [-0.5], [3.0], [0.0], [0.0]],
        "known": [[1], [1], [1], [0], [0]],
        "present": [1, 1, 1, 0, 0],
    }
    target_mask = [1, 1, 1, 0, 0]
    given = [12.0, 9.0, 5000.0, None, None]


class TestRegressionOfSeveralColumns(HeadContract):
    name = "regression"
    field = "number"
    field_parameters = {"columns": ["height", "weight"]}
    statistics = {"offset": (10.0, 0.0), "factor": (2.0, 1.0)}
    target = {
        "values": [[1.0, 2.0], [-0.5, 0.0], [0.0, 3.0], [1.0, 1.0], [0.0, 0.0]],
        "known": [[1, 1], [1, 0], [0, 1], [1, 1], [0, 0]],
        "present": [1, 1, 1, 1, 0],
    }
    target_mask = [1, 1, 1, 1, 0]
    given = [[12.0, 2.0], [9.0, None], [None, 3.0], [12.0, 1.0], None]
