"""The sources and sinks keep their contracts."""

from __future__ import annotations

from mmstream.testing import SinkContract, SourceContract


class TestJsonl(SourceContract):
    name = "jsonl"
    files = {
        "manifest.jsonl": b'\xef\xbb\xbf{"id": "a", "text": "caf\xc3\xa9"}\r\n'
        b"\n"
        b'{"id": "b"\n'
        b'{"id": "\xff"}\n'
        b"[1, 2]\n"
        b'{"id": "c", "id": "d"}\n'
        b'{"id": 5, "tags": ["x", null]}'
    }
    path = "manifest.jsonl"
    rows = {
        "manifest.jsonl:1": {"id": "a", "text": "café"},
        "manifest.jsonl:3": None,
        "manifest.jsonl:4": None,
        "manifest.jsonl:5": None,
        "manifest.jsonl:6": None,
        "manifest.jsonl:7": {"id": 5, "tags": ["x", None]},
    }
    cuts = {"SPLIT_BYTES": 20}


class TestImageFolder(SourceContract):
    name = "image_folder"
    files = {
        "cats/1.png": b"",
        "cats/2.PNG": b"",
        "cats/old/3.jpg": b"",
        "cats/notes.txt": b"",
        "dogs/1.jpeg": b"",
        ".hidden/1.png": b"",
        "top.webp": b"",
    }
    path = ""
    rows = {
        "top.webp": {"image": "top.webp", "category": None},
        "cats/1.png": {"image": "cats/1.png", "category": "cats"},
        "cats/2.PNG": {"image": "cats/2.PNG", "category": "cats"},
        "cats/old/3.jpg": {"image": "cats/old/3.jpg", "category": "cats"},
        "dogs/1.jpeg": {"image": "dogs/1.jpeg", "category": "dogs"},
    }
    cuts = {"SPLIT_ROWS": 2}


class TestParquet(SinkContract):
    name = "parquet"
