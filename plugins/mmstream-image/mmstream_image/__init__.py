"""The image field and its encoders."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


@hookimpl
def register_fields() -> dict[str, str]:
    """Fields by the name that a config uses."""
    return {
        "image": "mmstream_image.field:Image",
    }


@hookimpl
def register_encoders() -> dict[str, str]:
    """Encoders by the name that a config uses."""
    return {
        "cnn": "mmstream_image.cnn:Cnn",
        "resnet": "mmstream_image.resnet:Resnet",
        "vit": "mmstream_image.vit:Vit",
    }
