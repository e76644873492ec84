"""diff: pairs that were added, withdrawn and changed, by index and by bytes, and the entry of the change log."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.errors import ShardError
from ggt_tools.imaging.contact_sheet import GAP, MARGIN, MAX_HEIGHT, SEAM, TITLE, WIDTH
from ggt_tools.records import Pair
from ggt_tools.stages.diff import Diff, diff, draw_sheet
from ggt_tools.stages.diff.changelog import changelog_entry, insert_entry
from ggt_tools.stages.diff.run import DiffConfig, run
from ggt_tools.stages.pack import PackConfig, pack

from .hub import Hub, settings
from .making import GATE, Store, change_shard, make_pair, make_pairs, picture

NAME = "some-org/ggt-100k"
DAY = "2026-11-22"


def packed(
    out: Path, store: Store, pairs: list[Pair], version: str, gone: Sequence[str] = (), **config: Any
) -> ggt100k.Root:
    about = PackConfig(**({"version": version, "test": 0.2} | config))
    pack(pairs, store, out, about, gate=GATE, removed=gone)
    return ggt100k.open_root(str(out))


def with_image(pair: Pair, name: str) -> Pair:
    candidate = dataclasses.replace(pair.candidate, image=name, restorer="classical-2")
    return dataclasses.replace(pair, candidate=candidate, image=name)


def with_score(pair: Pair, metric: str, value: float) -> Pair:
    scores = [dataclasses.replace(s, value=value) if s.metric == metric else s for s in pair.scores]
    return dataclasses.replace(pair, scores=tuple(scores))


@dataclasses.dataclass(frozen=True)
class Versions:
    """1.0.0, and 1.1.0 upon it: three pairs more, one withdrawn, one restored again, one scored otherwise."""

    before: ggt100k.Root
    after: ggt100k.Root
    added: set[str]
    withdrawn: str
    redone: str
    rescored: str

    @property
    def found(self) -> Diff:
        return diff(self.before, self.after)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    home, store = tmp_path_factory.mktemp("versions"), Store()
    old = make_pairs(store, 10)
    before = packed(home / "before", store, old, "1.0.0")
    test = set(ggt100k.index(before.url, "test", columns=["key"])["key"].to_pylist())
    gone, again, scored = [pair for pair in old if pair.photo.key not in test][:3]
    new = [make_pair(store, seed, "rain" if seed < 12 else "haze") for seed in (10, 11, 12)]
    gt = store.put(encode_png((picture(0) // 3 + 70).astype(np.uint8)))
    changed = {again.photo.key: with_image(again, gt), scored.photo.key: with_score(scored, "structure", 0.75)}
    pairs = [changed.get(pair.photo.key, pair) for pair in old if pair is not gone] + new
    after = packed(home / "after", store, pairs, "1.1.0", [gone.photo.key], base=before.url)
    return Versions(before, after, {pair.photo.key for pair in new}, gone.photo.key, again.photo.key, scored.photo.key)


def test_pairs_added_withdrawn_and_changed_are_found(versions: Versions) -> None:
    found = versions.found
    assert (found.before, found.after, found.pairs) == ("1.0.0", "1.1.0", 12)
    assert {place.key for place in found.added} == versions.added
    assert [place.key for place in found.withdrawn] == [versions.withdrawn]
    changes = {change.after.key: change for change in found.changed}
    assert set(changes) == {versions.redone, versions.rescored}
    assert changes[versions.redone].fields == ("restorer", "gt")
    assert changes[versions.redone].scores == ()
    assert changes[versions.rescored].fields == ()
    ((metric, old, new),) = changes[versions.rescored].scores
    assert (metric, round(old, 2), new) == ("structure", 0.5, 0.75)
    assert found.fields() == {"gt": 1, "restorer": 1, "scores.structure": 1}
    assert {name: counts[0] for name, counts in found.counts().items()} == {"rain": 2, "haze": 1} | (
        {"snow": 0} if "snow" in found.counts() else {}
    )
    assert tuple(map(sum, zip(*found.counts().values(), strict=True))) == (3, 1, 2)


def test_equal_versions_do_not_differ_and_no_shard_is_read(versions: Versions) -> None:
    compared: list[int] = []
    found = diff(versions.before, versions.before, progress=compared.append)
    assert (found.added, found.withdrawn, found.changed, compared) == ((), (), (), [])
    assert changelog_entry(found, DAY) == (
        f"## 1.0.0, {DAY}\n\nSince 1.0.0: 0 pairs added, 0 withdrawn, 0 changed; 10 pairs in all.\n"
    )


def test_equal_pixels_in_other_shards_are_not_a_change(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their bytes are compared, and where these differ their pixels."""
    store = Store()
    pairs = make_pairs(store, 10)
    other = Store()
    for pair in pairs:
        for name in (pair.photo.image, pair.image):
            other.put(store.image(name))
    # other files of the same pixels, in the workspace and in the shards
    monkeypatch.setattr("ggt_format.png.PROFILES", {"ledger": (1, 0.0), "shard": (2, 0.0)})
    pairs[0] = dataclasses.replace(pairs[0], image=other.put(encode_png((picture(0) // 2 + 60).astype(np.uint8))))
    with pytest.raises(KeyError):
        store.image(pairs[0].image)
    again = packed(tmp_path / "again", other, pairs, "1.0.1", shard_bytes=30_000)
    compared: list[int] = []
    found = diff(versions.before, again, progress=compared.append)
    assert (found.added, found.withdrawn, found.changed) == ((), (), ())
    assert sum(compared) > 4


def test_scores_of_one_version_only_are_reported_once(tmp_path: Path) -> None:
    store = Store()
    pairs = make_pairs(store, 4)
    before = packed(tmp_path / "a", store, pairs, "1.0.0")
    fewer = [dataclasses.replace(p, scores=tuple(s for s in p.scores if s.metric != "gmsd")) for p in pairs]
    after = packed(tmp_path / "b", store, fewer, "1.1.0")
    found = diff(before, after)
    assert (found.metrics_added, found.metrics_dropped, found.changed) == ((), ("gmsd",), ())
    assert "- Scores no longer given: gmsd.\n" in changelog_entry(found, DAY)
    assert "- New scores: gmsd.\n" in changelog_entry(diff(after, before), DAY)


def test_two_unmeasured_scores_are_not_a_change(versions: Versions) -> None:
    """NaN is unlike itself: half the pairs have no gmsd."""
    assert not [change for change in versions.found.changed for metric, *_ in change.scores if metric == "gmsd"]


def test_pixels_of_different_codecs_are_not_compared(tmp_path: Path) -> None:
    store = Store()
    pairs = make_pairs(store, 3)
    png = packed(tmp_path / "png", store, pairs, "1.0.0")
    jpeg = packed(tmp_path / "jpeg", store, pairs, "1.1.0", codec="jpeg")
    found = diff(png, jpeg)
    assert (found.codec, found.changed) == (("png", "jpeg"), ())
    assert "- Images are jpeg, and were png; their pixels were not compared.\n" in changelog_entry(found, DAY)


def test_a_damaged_ground_truth_is_an_error(tmp_path: Path) -> None:
    store = Store()
    pairs = make_pairs(store, 2, degradations=("rain",))
    before = packed(tmp_path / "a", store, pairs, "1.0.0")
    after = packed(tmp_path / "b", store, pairs, "1.1.0")
    at = ggt100k.index(after.url, "train", columns=["gt_offset"])["gt_offset"][0].as_py() + 4000
    change_shard(Path(after.url), lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(ShardError, match="the checksum is wrong"):
        diff(before, ggt100k.open_root(after.url))


# --- the entry ------------------------------------------------------------------------------------------------------


def test_the_entry_lists_all_changes(versions: Versions) -> None:
    text = changelog_entry(versions.found, DAY)
    assert text.startswith(
        f"## 1.1.0, {DAY}\n\nSince 1.0.0: 3 pairs added, 1 withdrawn, 2 changed; 12 pairs in all.\n\n"
        "| degradation | added | withdrawn | changed |\n| --- | ---: | ---: | ---: |\n| rain | 2 | "
    )
    assert f"\n- Withdrawn: `{versions.withdrawn}`.\n" in text
    assert "\n- Changed in: gt 1, restorer 1, scores.structure 1.\n" in text
    assert f"\n  - `{versions.redone}`: restorer, gt\n" in text
    assert re.search(rf"\n  - `{versions.rescored}`: structure 0\.5\d* -> 0\.75\n", text)


def test_many_changes_are_abbreviated(versions: Versions) -> None:
    found = versions.found
    text = changelog_entry(dataclasses.replace(found, changed=found.changed[:1] * 50), DAY)
    assert text.count(found.changed[0].after.key) == 20
    assert text.endswith("\n  - and 30 more\n")


def test_an_entry_is_first_and_replaces_that_of_the_same_version() -> None:
    first, second = "## 1.0.0, 2026-01-01\n\nThe first.\n", "## 1.1.0, 2026-02-02\n\nMore.\n"
    log = insert_entry("", first)
    assert log == f"# Change log\n\n{first}"
    log = insert_entry(log, second)
    assert log == f"# Change log\n\n{second}\n{first}"
    assert insert_entry(log, second) == log
    corrected = "## 1.0.0, 2026-01-01\n\nThe very first.\n"
    assert insert_entry(log, corrected) == f"# Change log\n\n{second}\n{corrected}"


versions_ = st.tuples(*[st.integers(0, 20)] * 3).map(lambda v: ".".join(map(str, v)))


@given(st.lists(versions_, min_size=1, max_size=6), st.text(alphabet="ab#|- .\n1", max_size=60))
def test_no_entry_of_another_version_is_lost(order: list[str], body: str) -> None:
    body = re.sub(r"^## ", "", body.strip(), flags=re.MULTILINE)
    log = ""
    for number, version in enumerate(order):
        log = insert_entry(log, f"## {version}, {DAY}\n\n{number} {body}\n")
    kept = {version: number for number, version in enumerate(order)}
    assert sorted(re.findall(r"^## (\S+), ", log, re.MULTILINE)) == sorted(kept)
    for version, number in kept.items():
        assert f"## {version}, {DAY}\n\n{number} {body}".rstrip() in log


# --- the sheet ------------------------------------------------------------------------------------------------------


def test_the_sheet_shows_a_changed_pair_before_and_after(versions: Versions) -> None:
    image = draw_sheet(versions.found, versions.before, versions.after, 1)
    assert image.width == WIDTH
    height = min(int((WIDTH - 2 * MARGIN - GAP - 2 * SEAM) / (4 * 90 / 70)), MAX_HEIGHT)
    half = height * 90 / 70
    strips = [(round(MARGIN + number * (2 * half + SEAM + GAP)), MARGIN + TITLE + 36) for number in (0, 1)]
    was, is_ = (np.asarray(image.crop((int(x + half) + 40, y + 20, int(x + half) + 300, y + 200))) for x, y in strips)
    assert abs(was.astype(int) - is_.astype(int)).mean() > 5, "the ground truth, restored again"
    lq = [np.asarray(image.crop((x + 40, y + 20, x + 300, y + 200))).astype(int) for x, y in strips]
    assert abs(lq[0] - lq[1]).mean() < 2


def test_the_sheet_limits_the_number_of_pairs(versions: Versions) -> None:
    heights = [draw_sheet(versions.found, versions.before, versions.after, most).height for most in (1, 2, 3, 6, 99)]
    rows = [1 + round((height - heights[0]) / (heights[1] - heights[0])) for height in heights]
    # two changed pairs take a row each, then three added and one withdrawn take two a row
    assert rows == [1, 2, 3, 4, 4]


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_compares_tags_and_extends_the_change_log(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(versions.before.url) / "CHANGELOG.md").write_text("# Change log\n\n## 1.0.0, 2026-01-01\n\nThe first.\n")
    out = tmp_path / "out"
    out.mkdir()
    argv = ["--changelog", str(out / "CHANGELOG.md"), "--sheet", str(out / "sheet.png"), "--max-pairs", "4"]
    assert main(["diff", versions.before.url, versions.after.url, *argv]) == 0
    local = capsys.readouterr().out
    assert local.splitlines() == changelog_entry(versions.found, re.findall(r"\d{4}-\d\d-\d\d", local)[0]).splitlines()
    log = (out / "CHANGELOG.md").read_text()
    assert log == f"# Change log\n\n{local}\n## 1.0.0, 2026-01-01\n\nThe first.\n"
    with Image.open(out / "sheet.png") as image:
        assert image.format == "PNG"
    with Hub() as hub:
        hub.publish(NAME, Path(versions.before.url), tag="v1.0.0")
        hub.publish(NAME, Path(versions.after.url), tag="v1.1.0")
        for name, value in settings(hub.url).items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        huggingface_hub.HfFileSystem.clear_instance_cache()
        (out / "CHANGELOG.md").unlink()
        assert main(["diff", "v1.0.0", "v1.1.0", "--repo", NAME, *argv]) == 0
        assert capsys.readouterr().out == local
        assert (out / "CHANGELOG.md").read_text() == log
        assert main(["diff", f"hf://datasets/{NAME}@v1.0.0", versions.after.url]) == 0
        assert capsys.readouterr().out == local
        huggingface_hub.HfFileSystem.clear_instance_cache()


def test_a_missing_folder_is_an_error(versions: Versions, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", versions.before.url, str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"ggt100k diff: {tmp_path / 'none'}: it does not exist. ")
    gone = tmp_path / "none" / "CHANGELOG.md"
    assert main(["diff", versions.before.url, versions.after.url, "--changelog", str(gone)]) == 2
    assert capsys.readouterr().err == f"ggt100k diff: {gone}: its folder does not exist. Create the folder first.\n"


def test_the_stage_returns_the_difference_and_its_entry(versions: Versions, tmp_path: Path) -> None:
    log = tmp_path / "CHANGELOG.md"
    result = run(versions.before.url, versions.after.url, DiffConfig(changelog=log))
    assert result.difference == versions.found and result.entry in log.read_text()
    assert result.summary.counts == {"added": 3, "withdrawn": 1, "changed": 2, "pairs": 12}
    assert (result.summary.paths, result.summary.is_failed) == ((str(log),), False)
