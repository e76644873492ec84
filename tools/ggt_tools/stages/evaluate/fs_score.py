"""FS of RealIR-Bench: how much of the degradation is gone, and how close the output stays to the LQ image.

RealIR-Bench (RealRestorer, arXiv 2603.25502) lets a vision-language model rate the degradation of the LQ image and of
the output from 1 (extreme) to 5 (none). With the gain g, the difference of the two and at least 0, and LPIPS between
the LQ image and the output, FS is the mean over images of 0.2 * g * (1 - LPIPS). A copy of the LQ image has FS = 0.

This module asks no model. It reads what an evaluator has written, for example the CSV of RealIR-Bench's evaluate_fs.py;
the columns `fs_gain`, `fs_lpips` and `fs` are our names. Values of different models cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.stages.evaluate.df_score import find_key, read_rows, read_score

FS_METRICS = ("fs_gain", "fs", "fs_lpips")
FS_UNCHANGED = dict.fromkeys(FS_METRICS, 0.0)  # of an output that is a copy of the LQ image
GAINS = ("vlm_score_diff", "gain")  # fields of the gain, 0 to 4
LPIPS = ("lpips_score", "lpips")  # fields of LPIPS, 0 to 1


def read_fs_scores(path: Path, keys: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read the gain and LPIPS of the outputs from a JSON, JSON lines or CSV file, and compute FS.

    Each row has the fields `VLM_Score_Diff` and `LPIPS_Score`, or `gain` and `lpips`, and the key of its pair in
    `ImageName`, `key`, `id`, `output` or `lq`. Rows of other pairs, and rows without a gain or LPIPS, are passed over.

    Returns:
        The values of `FS_METRICS` by key.

    Raises:
        ConfigError: The file cannot be read, a value is out of its range, or a key occurs twice.
    """
    known = set(keys)
    scores: dict[str, dict[str, float]] = {}
    for number, row in enumerate(read_rows(path), start=1):
        fields = {str(name).lower().lstrip("\ufeff"): value for name, value in row.items()}
        if not (key := find_key(fields | {"id": fields.get("imagename", fields.get("id"))}, known)):
            continue
        if key in scores:
            raise ConfigError(f"{path}: row {number}: key {key} occurs twice. Leave one of its rows.")
        values = [_first(fields, names) for names in (GAINS, LPIPS)]
        if None not in values:
            gain = read_score(path, number, "gain", values[0], most=4)
            lpips = read_score(path, number, "lpips", values[1], most=1)
            scores[key] = {"fs_gain": gain, "fs": 0.2 * gain * (1 - lpips), "fs_lpips": lpips}
    return scores


def _first(fields: Mapping[str, object], names: Sequence[str]) -> object:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)
