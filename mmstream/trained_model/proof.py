"""Verifying a model: its results for the golden records are compared with those in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmstream.errors import MmstreamError
from mmstream.preprocessing import golden
from mmstream.preprocessing.preprocessor import PRESENT
from mmstream.records.media import Media
from mmstream.records.record import Record
from mmstream.trained_model.compiled_step import Step
from mmstream.trained_model.fingerprints import what_differs
from mmstream.trained_model.model_description import MOST_SHOWN
from mmstream.trained_model.model_directory import ModelDirectory
from mmstream.trained_model.protocol import Model


def expected_arrays(
    model: Model,
    records: Sequence[Record],
    media: Media,
    step: Step | None = None,
    kept: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Tensors and outputs of golden records by name, such as "tensors/image/pixels" or "outputs/heads/group/logits".

    The ids that an autoregressive head generates may flip on a near tie, but not its logits along the ids that training
    kept; so the logits are compared.

    Args:
        model: the model whose preprocessing and network the records go through.
        records: golden records.
        media: where their media lie.
        step: the compiled network, {field: {tensor [B, …]}} → named outputs; the model's own by default.
        kept: the arrays that training kept; None in training itself.
    """
    from mmstream.models.network import readings_of

    preprocessor, batch, step = model.preprocessor, model.batch, step or model.predict
    chunks: dict[str, list[np.ndarray]] = {}
    readings = readings_of(model.network, model.heads, preprocessor.fields)
    for start in range(0, len(records), batch):
        chunk = records[start : start + batch]
        tensors = preprocessor.tensors([preprocessor.decode(preprocessor.load(r, media).values) for r in chunk], batch)
        arrays = {f"tensors/{name}": value for name, value in golden.flatten(tensors)}
        arrays |= {f"outputs/{name}": value for name, value in golden.flatten(step(tensors))}
        for name, reading in (readings(tensors) if readings else {}).items():
            ids = arrays.pop(f"outputs/heads/{name}/ids")
            for key in ("score", "match"):
                arrays.pop(f"outputs/heads/{name}/{key}", None)
            key = f"outputs/heads/{name}/generated"
            if kept is not None:
                ids = np.zeros_like(ids)
                ids[: len(chunk)] = kept[key][start : start + len(chunk)]
            arrays[key] = ids
            teacher_forced = model.head(name)(reading, {"ids": ids, PRESENT: np.ones(batch, np.float32)})
            arrays[f"outputs/heads/{name}/logits"] = np.asarray(teacher_forced["logits"])
        for name, value in arrays.items():
            chunks.setdefault(name, []).append(value[: len(chunk)])
    return {name: np.concatenate(values) for name, values in chunks.items()}


def compare_golden(model: Model, directory: ModelDirectory, step: Step) -> list[golden.Difference]:
    """Run the golden records through preprocessing and network, and compare the results with those in training.

    Args:
        model: the model whose preprocessing and network the records go through.
        directory: the directory of the model.
        step: the compiled network.

    Raises:
        MmstreamError: there are arrays that training did not keep.
    """
    records = directory.golden_records()
    if not records:
        return []
    expected = golden.parse_expected(directory.files.read("golden/expected.npz"))
    arrays = expected_arrays(model, records, golden.golden_media(directory.path), step, expected)
    unproven = set() if directory.is_weakly_bound and expected else arrays.keys() - expected.keys()
    if unproven:
        raise MmstreamError(
            f"the golden records of {directory.path} are incomplete, so it cannot be verified: training saved no "
            f"{min(unproven)[:MOST_SHOWN]}"
        )
    return golden.compare(expected, arrays)


def check_reproduced(differences: Sequence[golden.Difference], directory: ModelDirectory) -> None:
    """Check that the golden records have the same results as in training.

    Raises:
        MmstreamError: they do not.
    """
    wrong = [difference for difference in differences if not difference.within]
    if wrong:
        lines = [f"  {d.name}: differs by {d.largest:.3g} (allowed: {d.allowed:.3g})" for d in wrong]
        raise MmstreamError(
            f"the golden records of {directory.path} produce different results here than in training, so its labels "
            "cannot be trusted:\n" + "\n".join(lines) + f"\n{_version_hint(directory)}"
        )


def _version_hint(directory: ModelDirectory) -> str:
    then = directory.about["fingerprints"] if directory.is_weakly_bound else directory.about
    now = {"versions": directory.fingerprints["versions"]}
    changed = what_differs({"versions": then["versions"]}, now)
    return f"Changed since training: {', '.join(changed)}." if changed else "No package version changed."
