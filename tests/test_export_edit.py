"""Exports for projects that train image editing models: each is read back by the project's loader or a copy of it.

DiffSynth-Studio and `datasets` (as the scripts of diffusers use it) read with their own code. ai-toolkit, musubi-tuner
and kohya's sd-scripts are no packages that can be installed: the readers of this file were written from their
documentation, and say so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ggt100k
from ggt_tools.errors import ConfigError
from ggt_tools.events import Recorded
from ggt_tools.stages.export import EDIT_FORMATS, ExportConfig, export, read_prompt_texts
from ggt_tools.stages.export.run import run
from ggt_tools.stages.pack import PackConfig, pack
from ggt_tools.stages.prompt import fixed_text

from .making import GATE, Store, make_dataset, make_pairs
from .test_cli import ggt, well

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN = "Remove the rain."  # the prompt of each pair of `make_dataset`
TEXTS = {"rain": "No rain,\nplease.", "snow": 'A "clear" day: 晴れ'}
Examples = dict[str, tuple[np.ndarray, np.ndarray, str]]  # by key: input, target, caption


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("release") / "ggt-100k", count=8)


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_diffsynth(out: Path, split: str) -> Examples:
    """Read with DiffSynth-Studio's own dataset, as its training script of Qwen-Image-Edit sets it up."""
    module = pytest.importorskip("diffsynth.core.data.unified_dataset")
    folder = out / split
    dataset = module.UnifiedDataset(
        base_path=str(folder),
        metadata_path=str(folder / "metadata.jsonl"),
        data_file_keys=("image", "edit_image"),
        main_data_operator=module.UnifiedDataset.default_image_operator(
            base_path=str(folder), height_division_factor=1, width_division_factor=1
        ),
    )
    rows = [dataset[number] for number in range(len(dataset))]
    keys = [Path(json.loads(line)["image"]).stem for line in (folder / "metadata.jsonl").read_text().splitlines()]
    return {
        key: (np.asarray(row["edit_image"]), np.asarray(row["image"]), row["prompt"])
        for key, row in zip(keys, rows, strict=True)
    }


def read_diffusers(out: Path, split: str) -> Examples:
    """Read as train_instruct_pix2pix.py does with --train_data_dir: an imagefolder, and its default column names."""
    import datasets

    rows = datasets.load_dataset("imagefolder", data_files={"train": str(out / split / "**")})["train"]
    return {
        row["key"]: (
            np.asarray(row["input_image"].convert("RGB")),
            np.asarray(row["edited_image"].convert("RGB")),
            row["edit_prompt"],
        )
        for row in rows
    }


def read_musubi(out: Path, split: str) -> Examples:
    """Written from musubi-tuner's docs/dataset_config.md: paths stand as they are, and each line needs a caption."""
    config = tomllib.loads((out / f"{split}.toml").read_text(encoding="utf-8"))
    assert len(config["general"]["resolution"]) == 2
    (dataset,) = config["datasets"]
    assert dataset["cache_directory"]  # required with a JSON lines file
    lines = Path(dataset["image_jsonl_file"]).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(Path(row[name]).is_absolute() for row in rows for name in ("image_path", "control_path"))
    return {
        Path(row["image_path"]).stem: (pixels(row["control_path"]), pixels(row["image_path"]), row["caption"])
        for row in rows
    }


def read_captioned(targets: Path, controls: Path) -> Examples:
    """Written from the READMEs of ai-toolkit and sd-scripts: equal names in two folders, captions beside the targets.

    The caption is the first line, as in sd-scripts.
    """
    examples = {}
    for target in sorted(path for path in targets.iterdir() if path.suffix in (".png", ".jpg")):
        control = next(path for end in (".jpg", ".png") if (path := controls / f"{target.stem}{end}").exists())
        text = target.with_suffix(".txt")
        caption = text.read_text(encoding="utf-8").splitlines()[0] if text.exists() else ""
        examples[target.stem] = pixels(control), pixels(target), caption
    return examples


def read_ai_toolkit(out: Path, split: str) -> Examples:
    return read_captioned(out / split / "target", out / split / "control")


def read_kohya(out: Path, split: str) -> Examples:
    """Written from sd-scripts' docs/train_lllite_README.md."""
    config = tomllib.loads((out / f"{split}.toml").read_text(encoding="utf-8"))
    assert config["general"]["caption_extension"] == ".txt"
    (dataset,) = config["datasets"]
    (subset,) = dataset["subsets"]
    return read_captioned(Path(subset["image_dir"]), Path(subset["conditioning_data_dir"]))


READERS = {
    "ai-toolkit": read_ai_toolkit,
    "diffsynth": read_diffsynth,
    "diffusers": read_diffusers,
    "kohya": read_kohya,
    "musubi": read_musubi,
}


def test_each_layout_has_a_reader() -> None:
    assert set(READERS) == set(EDIT_FORMATS)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("to", READERS)
def test_the_project_reads_input_target_and_prompt(to: str, root: Path, tmp_path: Path) -> None:
    counts = export(root, tmp_path / "x", ExportConfig(to=to))
    for split in ggt100k.SPLITS:
        expected = {item["key"]: item for item in ggt100k.PairDataset(root, split)}
        examples = READERS[to](tmp_path / "x", split)
        assert sorted(examples) == sorted(expected) and counts[split] == len(expected) > 0
        for key, (given, target, prompt) in examples.items():
            assert np.array_equal(given, expected[key]["lq"]) and np.array_equal(target, expected[key]["gt"])
            assert prompt == OWN


@pytest.mark.parametrize("to", EDIT_FORMATS)
def test_images_keep_their_bytes(to: str, root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "x", ExportConfig(to=to, splits=("train",)))
    sides = ("control", "target") if to in ("ai-toolkit", "kohya") else ("lq", "gt")
    for item in ggt100k.PairDataset(root, "train", decode=False):
        for side, folder in zip(("lq", "gt"), sides, strict=True):
            assert (tmp_path / "x" / "train" / folder / f"{item['key']}.png").read_bytes() == item[side]


@pytest.mark.parametrize("to", [name for name in READERS if name not in ("diffsynth", "diffusers")])
def test_fixed_prompts_are_those_of_the_class(to: str, root: Path, tmp_path: Path) -> None:
    classes = dict(ggt100k.index(root, columns=["key", "degradation"]).to_pandas().itertuples(index=False))
    assert set(classes.values()) == {"rain", "snow"}
    export(root, tmp_path / "x", ExportConfig(to=to, prompt="fixed", prompt_texts=TEXTS))
    one_line = to in ("ai-toolkit", "kohya")
    for key, (_, _, prompt) in READERS[to](tmp_path / "x", "train").items():
        text = TEXTS[classes[key]]
        assert prompt == (" ".join(text.split()) if one_line else text)
    export(root, tmp_path / "y", ExportConfig(to=to, prompt="fixed", prompt_texts={"snow": "Clear."}))
    for key, (_, _, prompt) in READERS[to](tmp_path / "y", "train").items():
        text = "Clear." if classes[key] == "snow" else fixed_text("rain")
        assert prompt == (" ".join(text.split()) if one_line else text)


@pytest.mark.slow
@pytest.mark.parametrize("to", READERS)
def test_without_prompts_each_caption_is_empty(to: str, root: Path, tmp_path: Path) -> None:
    """Empty and a text: DiffSynth-Studio reads CSV with pandas, which would make it the number NaN."""
    export(root, tmp_path / "x", ExportConfig(to=to, prompt="none"))
    assert {prompt for _, _, prompt in READERS[to](tmp_path / "x", "train").values()} == {""}
    assert not list((tmp_path / "x" / "train").rglob("*.txt"))


def test_another_prompt_is_another_export(root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "x", ExportConfig(to="kohya", prompt="fixed"))
    export(root, tmp_path / "x", ExportConfig(to="kohya", prompt="fixed"))
    for config in (ExportConfig(to="kohya"), ExportConfig(to="kohya", prompt="fixed", prompt_texts=TEXTS)):
        with pytest.raises(ConfigError, match="holds another export"):
            export(root, tmp_path / "x", config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"to": "pairs", "prompt": "none"},
            "--to pairs: this layout has no captions. Leave the prompt options out, or give one of ai-toolkit, "
            "diffsynth, diffusers, kohya, musubi.",
        ),
        ({"to": "kohya", "prompt": "mine"}, "--prompt mine: is not known. Give one of own, fixed, none."),
        (
            {"to": "kohya", "prompt_texts": {"rain": "x"}},
            "--prompt own: the given texts would not be used. Give --prompt fixed.",
        ),
        (
            {"to": "kohya", "prompt": "fixed", "prompt_texts": {"fog": "x"}},
            f"--prompt-texts: 'fog' is not a class of degradation. The classes are {', '.join(ggt100k.DEGRADATIONS)}.",
        ),
    ],
)
def test_prompt_options_that_contradict(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExportConfig(**options)
    assert str(caught.value) == message


def test_a_file_of_fixed_prompts(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.toml"
    file.write_text('rain = "Dry."\nsnow = "Green."\n')
    assert read_prompt_texts(file) == {"rain": "Dry.", "snow": "Green."}
    argv = ("export", root, "--to", "ai-toolkit", "--out", tmp_path / "x", "--prompt", "fixed", "--prompt-texts", file)
    well(*argv)
    prompts = {prompt for _, _, prompt in read_ai_toolkit(tmp_path / "x", "train").values()}
    assert prompts == {"Dry.", "Green."}
    file.write_text("rain = 3\n")
    assert ggt(*argv).err == (
        f'ggt100k export: {file}: rain: is not a text. Write rain = "..." with the prompt of this class.\n'
    )


def test_pairs_without_a_prompt_are_counted(tmp_path: Path) -> None:
    from dataclasses import replace

    store = Store()
    pairs = make_pairs(store, 4)
    pairs = [replace(pairs[0], candidate=replace(pairs[0].candidate, prompt="")), *pairs[1:]]
    pack(pairs, store, tmp_path / "r", PackConfig(test=0), gate=GATE)
    events = Recorded()
    run(tmp_path / "r", tmp_path / "x", ExportConfig(to="musubi"), events=events)
    assert len(events.warnings) == 1
    assert events.warnings[0].endswith(
        ": 1 of 4 pairs have no prompt of their own. Give --prompt fixed for one text for each class."
    )
    events = Recorded()
    run(tmp_path / "r", tmp_path / "y", ExportConfig(to="musubi", prompt="none"), events=events)
    run(tmp_path / "r", tmp_path / "z", ExportConfig(to="basicsr"), events=events)
    assert not events.warnings


@pytest.mark.parametrize("to", ["kohya", "musubi"])
def test_paths_are_absolute_where_the_folder_is_given_relatively(
    to: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export(root, Path("x"), ExportConfig(to=to, splits=("train",)))
    monkeypatch.chdir(tmp_path.parent)
    assert set(READERS[to](tmp_path / "x", "train")) == {item["key"] for item in ggt100k.PairDataset(root)}


def test_musubi_paths_follow_a_folder_that_moved(root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "x", ExportConfig(to="musubi"))
    (tmp_path / "x").rename(tmp_path / "y")
    export(root, tmp_path / "y", ExportConfig(to="musubi"))
    assert set(read_musubi(tmp_path / "y", "train")) == {item["key"] for item in ggt100k.PairDataset(root)}
    assert str(tmp_path / "x") not in (tmp_path / "y" / "train" / "metadata.jsonl").read_text()
