"""A filesystem of Beam's that is not the local one."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem


class MemoryFiles(FileSystem):
    """Files in a dictionary, at memory://<path>."""

    files: dict[str, bytes] = {}

    @classmethod
    def scheme(cls):
        return "memory"

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def has_dirs(self):
        return False

    def mkdirs(self, path):
        raise BeamIOError("there are no folders")

    def _list(self, dir_or_prefix):
        for path, data in self.files.items():
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(data))

    def create(self, path, mime_type="application/octet-stream", compression_type=CompressionTypes.AUTO):
        raise BeamIOError("tests only read")

    def open(self, path, mime_type="application/octet-stream", compression_type=CompressionTypes.AUTO):
        # Auto would unpack a.jsonl.gz: mmstream reads files as they lie there.
        assert compression_type == CompressionTypes.UNCOMPRESSED
        if path not in self.files:
            raise BeamIOError(f"{path} is not there")
        return io.BytesIO(self.files[path])

    def copy(self, source_file_names, destination_file_names):
        raise BeamIOError("tests only read")

    def rename(self, source_file_names, destination_file_names):
        raise BeamIOError("tests only read")

    def exists(self, path):
        return path in self.files

    def size(self, path):
        return len(self.files[path])

    def last_updated(self, path):
        return 0.0

    def checksum(self, path):
        return ""

    def metadata(self, path):
        return FileMetadata(path, self.size(path))

    def delete(self, paths):
        raise BeamIOError("tests only read")


@pytest.fixture
def memory_files() -> Iterator[dict[str, bytes]]:
    """{memory://<path>: bytes}, which Beam's filesystems read; empty at first."""
    MemoryFiles.files = {}
    yield MemoryFiles.files
    MemoryFiles.files = {}
