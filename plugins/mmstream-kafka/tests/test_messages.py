"""Messages become rows, whatever they hold."""

from __future__ import annotations

import base64
import json

import pytest
from mmstream_kafka.messages import COLUMN_HEADER, row

PNG = b"\x89PNG\xff"
IMAGE = (COLUMN_HEADER, b"image")


def columns(value, key=None, headers=(), key_column="id"):
    found = row("t/0:1", key, value, headers, key_column)
    assert found.error is None, found.error
    assert found.origin == "t/0:1"
    return found.columns


def test_a_json_object_is_its_columns():
    value = json.dumps({"id": "一", "text": "猫 🐱", "n": 1.5, "tags": ["a", None], "image": "pictures/猫.png"})
    assert columns(value.encode()) == json.loads(value)


def test_base64_is_bytes_and_other_objects_are_not():
    value = {"image": {"base64": base64.b64encode(PNG).decode()}, "base64": "YQ==", "deep": [{"base64": "YQ=="}]}
    assert columns(json.dumps(value).encode()) == {"image": PNG, "base64": "YQ==", "deep": [b"a"]}
    assert columns(b'{"box": {"x": 1}}') == {"box": {"x": 1}}


def test_the_key_is_a_column_where_the_message_has_none():
    assert columns(b"{}", "钥匙".encode()) == {"id": "钥匙"}
    assert columns(b"{}", b"") == {"id": ""}
    assert columns(b'{"id": 5}', b"other") == {"id": 5}
    assert columns(b'{"id": null}', b"other") == {"id": None}
    assert columns(b'{"id": 5}', b"k", key_column="name") == {"id": 5, "name": "k"}
    assert columns(b"{}") == {}
    assert columns(b'{"id": 5}', b"\xff") == {"id": 5}, "a key that nobody asks for may be anything"


def test_a_header_makes_the_value_the_bytes_of_a_column():
    headers = [("caption", "一只猫".encode()), IMAGE, ("nothing", None)]
    assert columns(PNG, b"a/1", headers) == {"id": "a/1", "image": PNG, "caption": "一只猫", "nothing": None}
    assert columns(b"", None, [IMAGE]) == {"image": b""}
    assert columns(PNG, b"key", [IMAGE, ("id", b"header")]) == {"image": PNG, "id": "header"}
    assert columns(b"{}", None, [("other", b"x")]) == {}, "other headers alone are no columns"


@pytest.mark.parametrize(
    ("value", "key", "headers", "said"),
    [
        (None, b"k", (), "no value: it is a tombstone"),
        (None, b"k", [IMAGE], "no value: it is a tombstone"),
        (b"", None, (), "Expecting value"),
        (b'{"id": 1', None, (), "Expecting"),
        (b"\xff\xfe", None, (), "the value is not UTF-8"),
        (b"[1, 2]", None, (), "expected a JSON object; found list"),
        (b"null", None, (), "expected a JSON object; found NoneType"),
        (b'{"a": 1, "a": 2}', None, (), "the key 'a' occurs twice"),
        (b'{"a": NaN}', None, (), "NaN is not JSON"),
        (b"[" * 100_000, None, (), "nested too deeply"),
        (b'{"a": ' * 500 + b"1" + b"}" * 500, None, (), "the column 'a' is nested too deeply"),
        (b'{"image": {"base64": "a"}}', None, (), "the column 'image' is not valid base64"),
        (b'{"image": {"base64": 5}}', None, (), "the column 'image' is not valid base64"),
        (b'{"image": {"dict": 5}}', None, (), "the column 'image' is not valid base64"),
        (b"{}", b"\xff", (), "the key is not UTF-8"),
        (PNG, None, [IMAGE, ("caption", b"\xff")], "the header 'caption' is not UTF-8"),
        (PNG, None, [IMAGE, ("image", b"x")], "the column 'image' occurs twice: as a header, and in"),
        (PNG, None, [IMAGE, ("a", b"x"), ("a", b"y")], "the header 'a' occurs twice"),
        (PNG, None, [(COLUMN_HEADER, b"")], "is empty; it must name a column"),
        (PNG, None, [(COLUMN_HEADER, None)], "is empty; it must name a column"),
        (PNG, None, [IMAGE, IMAGE], "occurs twice"),
    ],
)
def test_anything_else_is_a_row_that_says_what_is_wrong(value, key, headers, said):
    found = row("t/0:1", key, value, headers, "id")
    assert found.columns is None
    assert found.origin == "t/0:1"
    assert said in str(found.error)
    assert len(found.raw) <= 1024
    assert (found.raw if isinstance(found.raw, bytes) else found.raw.encode()) == (value or b"")[:1024]
