"""MNIST's own files to a Parquet file with a PNG a row: mnist.py IMAGES.gz LABELS.gz OUTPUT.parquet."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image


def main(images: str, labels: str, output: str) -> None:
    """Convert; the format is described at the data's home, yann.lecun.com/exdb/mnist."""
    pixels = np.frombuffer(gzip.decompress(Path(images).read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    digits = np.frombuffer(gzip.decompress(Path(labels).read_bytes()), np.uint8, offset=8)
    rows = []
    for number, (picture, digit) in enumerate(zip(pixels, digits, strict=True)):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        rows.append({"id": f"mnist-{number:05d}", "image": buffer.getvalue(), "label": int(digit)})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
