"""card: the README of a dataset folder, out of its manifest alone."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import yaml
from huggingface_hub import DatasetCard

import ggt100k
from ggt_tools.card import card, plain_features

from .making import make_dataset


def test_its_yaml_is_what_the_hub_and_datasets_read(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6)
    data = DatasetCard.load(root / "README.md").data.to_dict()
    assert [config["config_name"] for config in data["configs"]] == ["all", "rain", "snow"]
    assert [config.get("default", False) for config in data["configs"]] == [True, False, False]
    assert data["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/*/train-*.tar"},
        {"split": "test", "path": "data/*/test-*.tar"},
    ]
    assert data["configs"][1]["data_files"] == [{"split": "train", "path": "data/rain/train-*.tar"}]
    infos = {info["config_name"]: info["features"] for info in data["dataset_info"]}
    assert set(infos) == {"all", "rain", "snow"}
    for typed in infos.values():
        assert datasets.Features._from_yaml_list(typed) == plain_features(["gmsd", "structure"])


def test_every_file_that_it_names_is_there_and_every_shard_named(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6)
    configs = yaml.safe_load((root / "README.md").read_text().split("---")[1])["configs"]
    for config in configs:
        matched = [path for files in config["data_files"] for path in root.glob(files["path"])]
        assert matched
        if config["config_name"] == "all":
            assert sorted(matched) == sorted(root.glob("data/*/*.tar"))


def test_its_numbers_are_the_manifests(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6, version="1.2.3")
    text = card(json.loads((root / ggt100k.MANIFEST).read_text()))
    assert text == (root / "README.md").read_text()
    assert "# ggt-100k 1.2.3\n" in text
    assert "| degradation | train | test |\n|---|---|---|\n| rain | 3 | 0 |\n| snow | 2 | 1 |\n" in text
