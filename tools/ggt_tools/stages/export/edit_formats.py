"""The layouts of projects that train image editing models: an LQ image is turned into its GT image by a prompt.

Each writer takes the pairs of a split and a folder, as those of formats.py do. The names of files and columns follow
the documentation of the projects:

    diffsynth   DiffSynth-Studio, `--dataset_metadata_path` and `--data_file_keys image,edit_image`
    musubi      musubi-tuner, docs/dataset_config.md, "Sample for Image Dataset with Control Images"
    ai-toolkit  ai-toolkit, `folder_path` and `control_path` of a data set
    kohya       sd-scripts, docs/train_lllite_README.md, `image_dir` and `conditioning_data_dir`
    diffusers   diffusers, examples/instruct_pix2pix, `--train_data_dir`
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ggt_tools.stages.export.formats import (
    FinishedSizes,
    Progress,
    Source,
    Writer,
    split_pattern,
    write_if_different,
    write_images,
)

METADATA = "metadata.jsonl"
RESOLUTION = 1024  # pixels; the side of the images of most releases, and what current edit models are trained at


def _write_diffsynth(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    """Write JSON lines, not CSV: DiffSynth-Studio reads CSV with pandas, which makes a number of an empty prompt."""
    del file_bytes
    folder = _write_sides(source, out, finished_sizes, progress)
    rows = (
        {"image": f"gt/{source.name(row)}", "edit_image": f"lq/{source.name(row)}", "prompt": row.prompt or ""}
        for row in source.rows
    )
    _write_lines(folder / METADATA, rows)


def _write_musubi(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    """Write absolute paths: musubi-tuner looks for relative ones in the folder in which it was started."""
    del file_bytes
    folder = _write_sides(source, out, finished_sizes, progress).resolve()
    rows = (
        {
            "image_path": (folder / "gt" / source.name(row)).as_posix(),
            "control_path": (folder / "lq" / source.name(row)).as_posix(),
            "caption": row.prompt or "",
        }
        for row in source.rows
    )
    _write_lines(folder / METADATA, rows)
    files = {"image_jsonl_file": folder / METADATA, "cache_directory": folder / "cache"}
    text = (
        f"[general]\nresolution = [{RESOLUTION}, {RESOLUTION}]\nbatch_size = 1\nenable_bucket = true\n\n[[datasets]]\n"
    )
    write_if_different(out / f"{source.split}.toml", (text + _toml(files)).encode())


def _write_ai_toolkit(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    del file_bytes
    _write_captioned(source, out, finished_sizes, progress)


def _write_kohya(source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress) -> None:
    """Write the same files as for ai-toolkit, and the dataset config that names them."""
    del file_bytes
    folder = _write_captioned(source, out, finished_sizes, progress).resolve()
    text = (
        f'[general]\ncaption_extension = ".txt"\n\n[[datasets]]\nresolution = {RESOLUTION}\nbatch_size = 1\n'
        "enable_bucket = true\n\n[[datasets.subsets]]\n"
    )
    sides = {"image_dir": folder / "target", "conditioning_data_dir": folder / "control"}
    write_if_different(out / f"{source.split}.toml", (text + _toml(sides)).encode())


def _write_diffusers(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    """Write an imagefolder with the columns that train_instruct_pix2pix.py expects by default, and the key."""
    del file_bytes
    folder = _write_sides(source, out, finished_sizes, progress)
    rows = (
        {
            "input_image_file_name": f"lq/{source.name(row)}",
            "edited_image_file_name": f"gt/{source.name(row)}",
            "edit_prompt": row.prompt or "",
            "key": row.key,
            "degradation": row.facts["degradation"],
        }
        for row in source.rows
    )
    _write_lines(folder / METADATA, rows)


def _write_sides(source: Source, out: Path, finished_sizes: FinishedSizes, progress: Progress) -> Path:
    """Write lq/KEY and gt/KEY in the folder of the split, and return that folder."""
    # datasets ignores the folder of the visual priors where its name begins with two underscores
    folder = out / split_pattern("diffusers", source.split).partition("/")[0]
    write_images(source, [(folder / side, "") for side in ("lq", "gt")], finished_sizes, progress)
    return folder


def _write_captioned(source: Source, out: Path, finished_sizes: FinishedSizes, progress: Progress) -> Path:
    """Write control/KEY, target/KEY and target/KEY.txt in the folder of the split, and return that folder.

    A prompt becomes one line: kohya's sd-scripts reads the first line only, and ai-toolkit puts commas for line ends.
    Without prompts no text is written. These trainers then use the caption that their own configuration states.
    """
    folder = out / source.split
    write_images(source, [(folder / "control", ""), (folder / "target", "")], finished_sizes, progress)
    for row in source.rows:
        if row.prompt is not None:
            write_if_different(folder / "target" / f"{row.key}.txt", f"{' '.join(row.prompt.split())}\n".encode())
    return folder


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    write_if_different(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def _toml(paths: Mapping[str, Path]) -> str:
    # a JSON string is a TOML basic string too
    return "".join(f"{name} = {json.dumps(path.as_posix(), ensure_ascii=False)}\n" for name, path in paths.items())


EDIT_FORMATS: dict[str, Writer] = {
    "ai-toolkit": _write_ai_toolkit,
    "diffsynth": _write_diffsynth,
    "diffusers": _write_diffusers,
    "kohya": _write_kohya,
    "musubi": _write_musubi,
}
