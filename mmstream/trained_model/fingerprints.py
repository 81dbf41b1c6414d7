"""The fingerprint of a model: digests of its pieces, which between them cover all of its files and model.json.

The digests that a fingerprint is made of are computed from the bytes that were read, not taken from model.json. Only
models of format 3 state some of their digests themselves; the rules of that format apply to them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.records.record import strong_digest_of
from mmstream.trained_model.model_description import EARLIER_FORMAT, FORMAT_BEFORE_ORIGINS

PIECES = {
    "network": "the network (layers, wiring, weights)",
    "heads": "the heads (what is predicted, from which fields)",
    "weights": "the weights",
    "transform": "the fitted preprocessing (vocabularies, scaling)",
    "config": "the sections `fields` and `model` of the config",
    "calibration": "the calibration (thresholds)",
    "batch": "the batch size",
    "golden": "the golden records",
    "engines": "the engines",
    "training": "what is kept from training (epochs, history, versions, the rest of the config)",
}
"""What a fingerprint covers, besides versions. The weights are a separate piece only in models of format 3."""


def fingerprints_of(about: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Digests of a model's pieces, by piece; between them they cover every file and every key of model.json.

    Args:
        about: the contents of model.json, whose checksums the files have.
        config: the contents of config.yaml.
    """
    if about["format"] == EARLIER_FORMAT:
        return dict(about["fingerprints"])
    checksums: Mapping[str, str] = about["checksums"]
    rest = {key: about[key] for key in ("format", "epochs", "best_epoch", "versions")}
    if about["format"] > FORMAT_BEFORE_ORIGINS:
        rest["origins"] = about["origins"]
    return {
        "network": _digest(checksums.get("network.keras")),
        "heads": _digest([about["heads"], about["fused"]]),
        "transform": _digest(_below("transform", checksums)),
        "config": digest_of_config(config),
        "calibration": _digest(about["calibration"]),
        "batch": _digest(about["batch"]),
        "golden": _digest([about["golden"], _below("golden", checksums)]),
        "engines": _digest(_below("engines", checksums)),
        "training": _digest([rest, checksums.get("config.yaml"), checksums.get("history.csv")]),
    }


def check_claims(path: str, about: Mapping[str, Any], config: Config) -> None:
    """Check that the pieces of a model of format 3 have the digests that it states; its weights are checked on loading.

    Raises:
        MmstreamError: one does not.
    """
    digests = {
        "transform": digest_of_transform(about["checksums"]),
        "config": digest_of_config(config),
        "calibration": strong_digest_of(about["calibration"]),
        "batch": about["batch"],
    }
    for piece, digest in digests.items():
        if about["fingerprints"][piece] != digest:
            raise MmstreamError(
                f"the fingerprint of the model {path} does not match the model's contents; "
                f"what differs: {PIECES[piece]}"
            )


def digest_of_transform(checksums: Mapping[str, str]) -> str:
    """The digest of a fitted transform, from the checksums of a model's files, as format 3 defines it."""
    files_of_it = _below("transform", checksums)
    return strong_digest_of({path: sha for path, sha in files_of_it.items() if not path.endswith("fingerprint")})


def digest_of_config(config: Config) -> str:
    """A digest of the sections of a config that decide a model's labels, without keys left at their defaults."""
    return strong_digest_of(config.model_dump(mode="json", include={"fields", "model"}, exclude_defaults=True))


def what_differs(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each difference between two models, as a line of text, from their `fingerprints`."""
    if ("network" in then) != ("network" in now):  # their digests cover different things
        lines = ["the format: one model is from an earlier version of mmstream, so most parts cannot be compared"]
        lines += [PIECES["config"]] if then.get("config") != now.get("config") else []
    else:
        lines = [name for piece, name in PIECES.items() if then.get(piece) != now.get(piece)]
    before, after = then.get("versions", {}), now.get("versions", {})
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            lines.append(f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}")
    return lines


def _digest(value: Any) -> str:
    """Half of the SHA-256 of a JSON value in canonical form: keys sorted, no spaces, numbers as Python writes them."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def _below(folder: str, checksums: Mapping[str, str]) -> dict[str, str]:
    return {path: sha256 for path, sha256 in checksums.items() if path.startswith(f"{folder}/")}
