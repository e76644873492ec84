"""The preview of a release: its columns, that it is checked against the release, and that it is published like one."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi
from PIL import Image

import ggt100k
from ggt_format.roots import Root, open_root
from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.imaging.previews import make_preview, preview_size
from ggt_tools.stages.card.run import CardConfig
from ggt_tools.stages.card.run import run as write_card
from ggt_tools.stages.preview import RECORD, PreviewConfig, read_record, write_preview
from ggt_tools.stages.preview.check import check_preview
from ggt_tools.stages.push import PushConfig, plan_push
from ggt_tools.stages.push.run import run as push
from ggt_tools.stages.validate.run import ValidateConfig
from ggt_tools.stages.validate.run import run as validate

from .hub import Hub
from .making import make_dataset, picture

REPO, PREVIEW, TOKEN = "some-org/ggt-100k", "some-org/ggt-100k-preview", "hf_aVeryLongSecret"
CONFIG = PreviewConfig(repo=PREVIEW, release_repo=REPO, tag="v1.0.0", long_side=32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A release of six pairs, one of them in the test split; every second pair lacks the metric gmsd."""
    return open_root(str(make_dataset(tmp_path_factory.mktemp("release") / "ggt-100k")))


@pytest.fixture(scope="module")
def preview(root: Root, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("preview") / "ggt-100k-preview"
    write_preview(root, out, CONFIG)
    return out


@pytest.mark.parametrize(
    ("size", "small"), [((1024, 512), (256, 128)), ((100, 256), (100, 256)), ((3000, 1), (256, 1))]
)
def test_a_preview_keeps_the_shape_and_never_enlarges(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert preview_size(*size) == small


@pytest.mark.parametrize(("codec", "name"), [("webp", "WEBP"), ("jpeg", "JPEG")])
def test_a_preview_shows_the_image_in_either_format(codec: str, name: str) -> None:
    pixels = picture(1, 200, 300)
    with Image.open(io.BytesIO(make_preview(pixels, long_side=60, codec=codec))) as image:
        assert (image.format, image.size) == (name, (60, 40))
        expected = Image.fromarray(pixels).resize((60, 40), Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(expected, float)).mean() < 12


def test_a_row_has_the_facts_of_its_pair_as_flat_columns(root: Root, preview: Path) -> None:
    index = ggt100k.index(root.url, "train")
    (path,) = (preview / "data").glob("train-*.parquet")
    table = pq.read_table(path)
    assert table["key"].to_pylist() == index["key"].to_pylist()
    assert [DEGRADATIONS[label] for label in table["class"].to_pylist()] == index["degradation"].to_pylist()
    for name in ("licence", "author", "url", "restorer", "prompt", "round", "width", "lq_offset", "gt_size"):
        assert table[name].to_pylist() == index[name].to_pylist()
    assert str(table.schema.field("score_gmsd").type) == "float" and table["score_gmsd"].null_count == 0
    measured = [scores["gmsd"] for scores in index["scores"].to_pylist()]
    assert [math.isnan(value) for value in table["score_gmsd"].to_pylist()] == list(map(math.isnan, measured))
    assert True in map(math.isnan, measured) and False in map(math.isnan, measured)
    prefix = f"https://huggingface.co/datasets/{REPO}/resolve/v1.0.0/"
    assert table["shard_url"].to_pylist() == [prefix + name for name in index["shard"].to_pylist()]


def test_the_small_images_are_those_of_the_pair(root: Root, preview: Path) -> None:
    (path,) = (preview / "data").glob("train-*.parquet")
    rows = pq.read_table(path, columns=["key", "lq", "gt"]).to_pylist()
    for pair, row in zip(ggt100k.PairDataset(root.url), rows, strict=True):
        for name in ("lq", "gt"):
            assert row[name] == {"bytes": make_preview(pair[name], long_side=32), "path": None}


def test_the_files_have_a_page_index_and_do_not_compress_the_images(preview: Path) -> None:
    (path,) = (preview / "data").glob("train-*.parquet")
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    assert columns["key"].has_offset_index and columns["score_gmsd"].has_column_index
    assert columns["lq.bytes"].compression == "UNCOMPRESSED" and columns["prompt"].compression == "ZSTD"


def test_written_twice_it_has_the_same_bytes(root: Root, preview: Path, tmp_path: Path) -> None:
    write_preview(root, tmp_path / "again", CONFIG)
    for path in [path for path in preview.rglob("*") if path.is_file()]:
        assert (tmp_path / "again" / path.relative_to(preview)).read_bytes() == path.read_bytes()


class Killed(Exception):
    pass


def test_a_run_that_was_killed_is_continued_file_by_file(root: Root, preview: Path, tmp_path: Path) -> None:
    out, done = tmp_path / "p", list[int]()

    def kill(count: int) -> None:
        done.append(count)
        if len(done) == 2:
            raise Killed

    with pytest.raises(Killed):
        write_preview(root, out, CONFIG, progress=kill)
    assert [each.reason for each in check_preview(root, out)] == ["preview_incomplete"]
    (first,) = (out / "data").glob("*.parquet")
    inode = first.stat().st_ino
    record = write_preview(root, out, CONFIG)
    assert first.stat().st_ino == inode and record == read_record(preview)
    assert list(check_preview(root, out)) == [] and [*(out / "data").glob("*.part")] == []


def test_the_preview_of_another_version_is_replaced(root: Root, tmp_path: Path) -> None:
    out = tmp_path / "p"
    old = open_root(str(make_dataset(tmp_path / "old", 4, version="0.9.0")))
    write_preview(old, out, CONFIG)
    (out / "data" / "train-00000-of-00007.parquet").write_bytes(b"")
    write_preview(root, out, CONFIG)
    assert list(check_preview(root, out)) == []
    assert len([*(out / "data").iterdir()]) == 2
    assert [each.reason for each in check_preview(old, out)] == ["preview_of_another_release"]


def test_a_folder_of_other_files_stays_as_it_is(root: Root, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError) as fault:
        write_preview(root, tmp_path, CONFIG)
    assert str(fault.value) == f"{tmp_path}: holds something other than a preview. Name another folder."
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def _rewrite(preview: Path, change: Callable[[Any], Any]) -> None:
    """Change the table of a file, and the record with it, so that only the rows are wrong."""
    import hashlib

    (path,) = (preview / "data").glob("train-*.parquet")
    pq.write_table(change(pq.read_table(path)), path)
    record = read_record(preview)
    data = path.read_bytes()
    record["files"][f"data/{path.name}"] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (preview / RECORD).write_text(json.dumps(record))


def _set(name: str, value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def change(table: Any) -> Any:
        import pyarrow as pa

        cells = table[name].to_pylist()
        cells[0] = value(cells[0])
        field = table.schema.field(name)
        return table.set_column(table.schema.get_field_index(name), field, pa.array(cells, field.type))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: (p / RECORD).unlink(), "preview_incomplete"),
        (lambda p: next((p / "data").glob("train*")).unlink(), "preview_incomplete"),
        (lambda p: next((p / "data").glob("train*")).write_bytes(b"PAR1"), "preview_differs"),
        (lambda p: _rewrite(p, lambda table: table.slice(1)), "preview_differs"),
        (lambda p: _rewrite(p, lambda table: table.drop_columns(["licence"])), "preview_differs"),
        (lambda p: _rewrite(p, _set("key", lambda key: key[::-1])), "preview_differs"),
        (lambda p: _rewrite(p, _set("score_structure", lambda value: value + 0.5)), "preview_differs"),
        (lambda p: _rewrite(p, _set("gt", lambda cell: cell | {"bytes": b"no image"})), "preview_image"),
        (lambda p: _rewrite(p, _set("lq", lambda c: c | {"bytes": make_preview(picture(1, 9, 9))})), "preview_image"),
    ],
)
def test_what_differs_from_the_release_is_found(
    root: Root, preview: Path, tmp_path: Path, change: Callable[[Path], object], reason: str
) -> None:
    copy = Path(shutil.copytree(preview, tmp_path / "p"))
    change(copy)
    findings = list(check_preview(root, copy))
    assert [each.reason for each in findings] == [reason]
    validation = validate(root.url, ValidateConfig(quick=True, preview=copy))
    assert [each.reason for each in validation.findings] == [reason] and validation.summary.is_failed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"preview": REPO, "tag": "v1.0.0"},
            f"{REPO}: is the repository of the release itself. Give the preview one of its own, for example "
            f"{REPO}-preview.",
        ),
        (
            {"preview": PREVIEW},
            f"{PREVIEW}: a preview names the shards of the release by its tag. Give --tag, for example v1.0.0.",
        ),
        (
            {"preview_folder": Path("p")},
            "--preview-folder p: there is no preview to write. Name its repository with --preview, for example "
            "ORG/ggt-100k-preview.",
        ),
    ],
)
def test_a_preview_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        PushConfig(repo=REPO, **values)
    assert str(fault.value) == message


@pytest.mark.slow
def test_the_preview_of_103_707_pairs_stays_under_5_gb(tmp_path: Path) -> None:
    """Measured on the sample, whose photographs are real: the larger of its two files a pair."""
    sample = open_root(str(ggt100k.sample_folder() / "packed"))
    record = write_preview(sample, tmp_path / "p", PreviewConfig(repo=PREVIEW, release_repo=REPO, tag="v1.0.0"))
    assert max(about["bytes"] / about["rows"] for about in record["files"].values()) * 103_707 < 5e9


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(token=TOKEN, block=8192) as hub:
        yield hub


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that has passed validate, whose card links the preview."""
    out = make_dataset(tmp_path_factory.mktemp("pushed") / "ggt-100k")
    assert validate(str(out), ValidateConfig()).is_valid
    write_card(out, CardConfig(repo=REPO, preview=PREVIEW, gated_prompt='I agree: "yes"\nand no.'))
    return out


def _pushed(hub: Hub, release: Path, folder: Path) -> Any:
    api = HfApi(endpoint=hub.url, token=TOKEN)
    config = PushConfig(repo=REPO, tag="v1.0.0", preview=PREVIEW, preview_folder=folder, pause=0.0)
    return push(release, config, api=api)


@pytest.mark.slow
def test_push_publishes_the_release_and_then_its_preview_with_the_same_tag(
    hub: Hub, released: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "p"
    _pushed(hub, released, folder)
    main, preview = hub.repo(REPO), hub.repo(PREVIEW)
    assert [preview.commits[sha].title for sha in preview.history] == ["initial commit", "Version 1.0.0"]
    assert preview.tags == {"v1.0.0": preview.branches["main"]} and main.tags.keys() == preview.tags.keys()
    files = {name: file.data for name, file in preview.at("v1.0.0").files.items() if name != ".gitattributes"}
    assert files == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    link = f"[Search, filter and chart the pairs](https://huggingface.co/datasets/{PREVIEW})"
    assert link in main.at("v1.0.0").files["README.md"].data.decode()

    again = _pushed(hub, released, folder)
    assert again.counts["sent"] == 0 and len(preview.history) == 2

    program = (
        "from datasets import load_dataset\n"
        f"pairs = load_dataset({PREVIEW!r}, revision='v1.0.0')\n"
        "train = pairs['train']\n"
        "print({name: len(split) for name, split in pairs.items()})\n"
        "print(train.features['class'].names[1], train.features['score_structure'].dtype, train[0]['lq'].size)\n"
        "print(train.with_format('arrow')[0]['lq'].to_pylist()[0]['path'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=hub.env(tmp_path / "home"), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["{'train': 5, 'test': 1}", "rain float32 (90, 70)", "None"], done.stderr


@pytest.mark.slow
def test_a_preview_that_is_not_of_the_release_is_not_pushed(hub: Hub, released: Path, tmp_path: Path) -> None:
    """The release is published first, so a second run after the repair only adds the preview."""
    from ggt_tools.stages.push import plan_preview_push

    config = PushConfig(repo=REPO, tag="v1.0.0", preview=PREVIEW, pause=0.0)
    write_preview(open_root(str(released)), tmp_path / "p", config.of_preview)
    (tmp_path / "p" / RECORD).write_text("{}")
    with pytest.raises(ShardError):
        plan_preview_push(released, tmp_path / "p", config, HfApi(endpoint=hub.url, token=TOKEN))
    assert PREVIEW not in hub.repos


def test_a_card_that_does_not_link_the_preview_is_refused(hub: Hub, released: Path) -> None:
    other = "some-org/another-preview"
    config = PushConfig(repo=REPO, tag="v1.0.0", preview=other, pause=0.0)
    with pytest.raises(ConfigError) as fault:
        plan_push(released, config, HfApi(endpoint=hub.url, token=TOKEN))
    assert str(fault.value) == (
        f"{released / 'README.md'}: does not link the preview {other}. "
        f"Run: ggt100k card {released} --repo {REPO} --preview {other}"
    )
