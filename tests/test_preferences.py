"""Preference shards: kept and rejected candidates beside the splits, read, checked and exported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ggt100k
from ggt_format.png import encode_png
from ggt_format.preferences import preference_table
from ggt_format.schema import PREFERENCE_INDEX
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.records import (
    Adopted,
    Aligned,
    Choice,
    Decision,
    HeldOutPair,
    Opinion,
    Pair,
    Score,
    Verdict,
    Withdrawal,
)
from ggt_tools.stages.card import card_texts
from ggt_tools.stages.export import ExportConfig, export
from ggt_tools.stages.pack.judged import judged_photos
from ggt_tools.stages.screen import VERSION
from ggt_tools.stages.validate import validate
from ggt_tools.workspace.ledger import Ledger

from .making import GATE, evidence, make_pair, picture

ID = "0" * 16
WHEN = "2026-01-01T00:00:00Z"
SHARD = "data/rain/preference-00000.tar"


def _reject(ledger: Ledger, pair: Pair, name: str, stage: str, reason: str, *, is_aligned: bool = True) -> str:
    """Add another candidate of a pair's photograph, which the gate rejects; return the name of its image."""
    size = (70, 90) if is_aligned else (60, 140)
    image = ledger.put_image(encode_png(picture(sum(name.encode()), *size)))
    candidate = dataclasses.replace(pair.candidate, id=name, image=image, prompt=f"Prompt of {name}.")
    aligned = Aligned(
        candidate=name, version="1", image=image if is_aligned else "", reason="" if is_aligned else reason
    )
    ledger.add(candidate, aligned, Score(candidate=name, metric="gmsd", metric_version="1", value=0.5))
    lines = evidence("structure 0.100 < 0.300") if is_aligned else ()
    ledger.judge(
        ID, GATE, [Verdict(candidate=name, gate=ID, decision="reject", stage=stage, reason=reason, evidence=lines)]
    )
    return image


def _opinion(candidate: str, image: str, number: int, **more: Any) -> Opinion:
    facts: dict[str, Any] = {
        "id": f"opinion-{number}", "candidate": candidate, "image": image, "model": "vlm-1", "version": VERSION,
        "order": "lq_first", "vote": 0, "fidelity": 30.1, "quality": 80.0, "mode": "over-reach", "redo": 1,
        "instruction": "Keep the car.", "defects": ('{"kind": "object_removed"}',), "fault": "", "created": WHEN,
    }  # fmt: skip
    return Opinion(**facts | more)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photographs with a kept and a rejected candidate each, of which four may be among the preferences."""
    folder = tmp_path_factory.mktemp("preferences") / "workspace"
    with Ledger(folder, create=True) as ledger:
        licences = {5: "CC-BY-ND-4.0"}
        pairs = [make_pair(ledger.images, n, "rain", licence=licences.get(n, "CC0-1.0")) for n in range(8)]
        for pair in pairs:
            aligned = Aligned(candidate=pair.candidate.id, version="1", image=pair.image, reason="")
            ledger.add(pair.photo, pair.candidate, aligned, *pair.scores)
        ledger.judge(ID, GATE, [pair.verdict for pair in pairs])
        images = [_reject(ledger, pair, f"bad-{n}", "score", "another_scene") for n, pair in enumerate(pairs[:7])]
        _reject(ledger, pairs[0], "away", "align", "misaligned", is_aligned=False)
        ledger.add(
            HeldOutPair(key=pairs[3].photo.key, version="1.0.0"),
            Withdrawal(key=pairs[4].photo.key, reason="asked", withdrawn_by="Bob", created=WHEN),
            Adopted(
                candidate="candidate-6", key=pairs[6].photo.key, set="x", output="6.png", width=90, height=70,
                reference="", local_only="CC-BY-NC-ND-4.0",
            ),
        )  # fmt: skip
        decision = Decision(
            id="d", candidate="bad-0", image=images[0], reviewer="Ann Example", decision="reject",
            reason="another_scene", seconds=2.0, queue="gallery", gate_decision="reject",
            known_answer="", undoes="", created=WHEN,
        )  # fmt: skip
        shown = ("candidate-0", "bad-0")
        choice = Choice(
            id="c", study="s", key=pairs[0].photo.key, shown=shown, best="candidate-0", reviewer="Ann Example",
            seconds=2.0, undoes="", created=WHEN,
        )  # fmt: skip
        undone = dataclasses.replace(choice, id="u", best="bad-0")
        ledger.add(decision, choice, undone, dataclasses.replace(choice, id="v", best="", undoes="u"))
        ledger.add(
            _opinion("bad-0", images[0], 0),
            _opinion("bad-0", images[0], 1, fault="not_json: x", fidelity=float("nan")),
            _opinion("bad-0", images[1], 2),
            _opinion("bad-0", images[0], 3, version="older"),
        )
    return folder


@pytest.fixture(scope="module")
def release(workspace: Path) -> Path:
    """The release without the pair that keeps it on this machine."""
    out = workspace.with_name("ggt-100k")
    assert main(["pack", str(workspace), str(out), "--preferences"]) == 0
    return out


def _files(root: Path, *without: str) -> dict[str, bytes]:
    names = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in names.items() if not any(part in name for part in (*without, ".validated"))}


def test_which_photographs_have_preferences(workspace: Path, release: Path) -> None:
    with Ledger(workspace) as ledger:
        photos = list(judged_photos(ledger))
        test_key = next(iter(ledger.all(HeldOutPair))).key
    names = {photo.candidates[-1].candidate.id for photo in photos}
    assert names == {"bad-0", "bad-1", "bad-2", "bad-3"} or names == {"away", "bad-1", "bad-2", "bad-3"}
    table = preference_table(ggt100k.open_root(str(release)))
    assert test_key not in table["key"].to_pylist()
    assert set(table["candidate"].to_pylist()) == {
        "candidate-0", "bad-0", "away", "candidate-1", "bad-1", "candidate-2", "bad-2",
    }  # fmt: skip
    manifest = json.loads((release / ggt100k.MANIFEST).read_text())
    about = manifest["preferences"]
    assert (about["photographs"], about["candidates"], list(about["shards"])) == (3, 7, [SHARD])
    assert SHARD not in manifest["shards"] and "preference" not in manifest["splits"]


def test_pairs_are_the_same_bytes_with_preferences_and_without(
    workspace: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(workspace), str(tmp_path / "bare")]) == 0
    assert "photographs with preferences" not in capsys.readouterr().out
    assert _files(release, "preference", "manifest") == _files(tmp_path / "bare", "manifest")
    assert main(["pack", str(workspace), str(tmp_path / "again"), "--preferences"]) == 0
    assert _files(tmp_path / "again") == _files(release)
    assert "3 photographs with preferences" in capsys.readouterr().out


def test_a_row_holds_votes_and_opinions_without_names(release: Path) -> None:
    rows = {row["candidate"]: row for row in preference_table(ggt100k.open_root(str(release))).to_pylist()}
    kept, bad, away = rows["candidate-0"], rows["bad-0"], rows["away"]
    assert [row["rank"] for row in (kept, away, bad)] in ([0, 1, 2], [0, 2, 1])
    assert (kept["decision"], kept["reason"], kept["is_aligned"]) == ("keep", "", True)
    assert (bad["decision"], bad["stage"], bad["reason"]) == ("reject", "score", "another_scene")
    assert bad["evidence"] == ["structure 0.100 < 0.300"] and bad["scores"]["gmsd"] == 0.5
    assert np.isnan(bad["scores"]["structure"])
    assert (away["is_aligned"], away["reason"]) == (False, "misaligned")
    assert (bad["votes_keep"], bad["votes_reject"], bad["preferred"], bad["compared"]) == (0, 1, 0, 1)
    assert (kept["preferred"], kept["compared"]) == (1, 1)
    (opinion,) = bad["opinions"]
    assert opinion == {
        "model": "vlm-1", "version": VERSION, "order": "lq_first", "fidelity": np.float32(30.1), "quality": 80.0,
        "mode": "over-reach", "redo": True, "instruction": "Keep the car.", "defects": ['{"kind": "object_removed"}'],
    }  # fmt: skip
    assert not any(b"Ann Example" in data for data in _files(release).values())


def test_a_pair_of_a_kept_and_a_rejected_candidate_is_read(workspace: Path, release: Path) -> None:
    pairs = ggt100k.PreferencePairs(release)
    assert len(pairs) == 4 and len(ggt100k.PreferencePairs(release, is_aligned=True)) == 3
    by_rejected = {pairs[n]["facts"]["rejected"]["candidate"]: pairs[n] for n in range(len(pairs))}
    item = by_rejected["bad-0"]
    assert (item["lq"] == picture(0)).all() and (item["chosen"] == picture(0) // 2 + 60).all()
    assert (item["rejected"] == picture(sum(b"bad-0"))).all()
    assert (item["prompt"], item["degradation"]) == ("Remove the rain.", "rain")
    assert by_rejected["away"]["rejected"].shape == item["lq"].shape, "scaled to the photograph"
    only = ggt100k.PreferencePairs(release, where={"reason": "misaligned"}, decode=False)
    assert len(only) == 1 and only[0]["rejected"].startswith(b"\x89PNG")


def test_no_split_and_no_config_holds_them(release: Path) -> None:
    import yaml

    keys = {pair["key"] for split in ("train", "test") for pair in ggt100k.PairDataset(release, split)}
    assert len(keys) == 7
    read = yaml.safe_load((release / "README.md").read_text().split("---\n")[1])
    patterns = [file["path"] for config in read["configs"] for file in config["data_files"]]
    matched = {path.relative_to(release).as_posix() for pattern in patterns for path in release.glob(pattern)}
    assert matched and not any("preference" in path for path in matched)


def test_the_example_of_the_docs_runs(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "loading.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(example.replace("/data/ggt-100k", str(release)), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("3 Remove the rain. (70, 90, 3)") and second.startswith("another_scene ")


def test_the_card_counts_them_and_credits_their_authors(release: Path) -> None:
    texts = card_texts(ggt100k.open_root(str(release)), "some-org/ggt-100k")
    assert "candidates of 3 photographs, 7 in all" in " ".join(texts["README.md"].decode().split())
    part = texts["LICENSE"].decode().partition("preference-*.tar, by photograph:")[2]
    assert "CC0-1.0: 3 photographs" in part and "Zoë «the author»: 3 photographs" in part
    names = {file["name"] for file in json.loads(texts["croissant.json"])["distribution"] if "name" in file}
    assert {SHARD, PREFERENCE_INDEX} <= names


def test_a_release_without_them_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        ggt100k.PreferencePairs(ggt100k.sample_folder() / "packed")
    assert str(fault.value).endswith(
        ": the release has no preference shards. Pack it with --preferences, or open another release."
    )
    with pytest.raises(ConfigError):
        export(ggt100k.sample_folder() / "packed", tmp_path / "out", ExportConfig(to="preference"))


def test_a_release_with_preferences_passes(release: Path) -> None:
    assert list(validate(str(release))) == [] and list(validate(str(release), quick=True)) == []


def test_in_the_jpeg_flavour_they_are_jpegs_and_pass(workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "light"
    assert main(["pack", str(workspace), str(out), "--preferences", "--codec", "jpeg"]) == 0
    assert list(validate(str(out))) == []
    pairs = ggt100k.PreferencePairs(out, where={"candidate": "bad-0"})
    assert np.abs(pairs[0]["rejected"].astype(int) - picture(sum(b"bad-0"))).mean() < 8
    assert ggt100k.PreferencePairs(out, decode=False)[0]["chosen"][:2] == b"\xff\xd8"


def _edit_rows(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change rows of the index, and the manifest with it, so that only the rows are wrong."""
    table = pq.read_table(root / PREFERENCE_INDEX)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), root / PREFERENCE_INDEX)
    _edit_manifest(root, PREFERENCE_INDEX)


def _edit_shard(root: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray((root / SHARD).read_bytes())
    change(data)
    (root / SHARD).write_bytes(data)
    _edit_manifest(root, SHARD)


def _edit_manifest(root: Path, name: str) -> None:
    manifest = json.loads((root / ggt100k.MANIFEST).read_text())
    about = manifest["preferences"]
    data = (root / name).read_bytes()
    entry = about["index"] if name == PREFERENCE_INDEX else about["shards"][name]
    entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))


def _set(candidate: str, **values: Any) -> Callable[[Path], object]:
    def change(rows: list[dict[str, Any]]) -> None:
        (row,) = (row for row in rows if row["candidate"] == candidate)
        row |= values

    return lambda root: _edit_rows(root, change)


def _test_key(root: Path) -> str:
    return str(pq.read_table(root / "index" / "test.parquet")["key"][0].as_py())


def _rename_key(root: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        key = rows[0]["key"]
        for row in rows:
            row["key"] = _test_key(root) if row["key"] == key else row["key"]
        rows.sort(key=lambda row: (row["degradation"], row["key"], row["rank"]))

    _edit_rows(root, change)


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (lambda root: (root / SHARD).unlink(), {"missing_file"}),
        (lambda root: (root / SHARD).write_bytes((root / SHARD).read_bytes() + b"x"), {"wrong_hash"}),
        (lambda root: (root / PREFERENCE_INDEX).write_bytes(b"PAR1"), {"bad_preferences"}),
        (_set("bad-1", reason=""), {"bad_preferences"}),
        (_set("bad-1", decision="maybe"), {"bad_preferences"}),
        (_set("bad-1", rank=7), {"bad_preferences"}),
        (_set("bad-1", author="another"), {"bad_preferences"}),
        (_set("candidate-1", image_offset=0), {"bad_preferences"}),
        (lambda root: _edit_rows(root, lambda rows: rows.reverse()), {"not_sorted"}),
        (
            lambda root: _edit_rows(root, lambda rows: [row.update(licence="CC-BY-ND-4.0") for row in rows]),
            {"must_stay", "bad_preferences"},
        ),
        (lambda root: _edit_rows(root, lambda rows: rows.pop()), {"wrong_count", "bad_preferences"}),
        (_rename_key, {"preference_in_test", "bad_preferences"}),
        (lambda root: _edit_shard(root, lambda data: data.__setitem__(20, 1)), {"bad_preferences"}),
        (lambda root: _edit_shard(root, lambda data: data.extend(bytes(10240))), {"bad_preferences"}),
    ],
)
def test_what_is_wrong_with_them_is_found(
    release: Path, tmp_path: Path, change: Callable[[Path], object], reasons: set[str]
) -> None:
    root = Path(shutil.copytree(release, tmp_path / "r"))
    change(root)
    assert {finding.reason for finding in validate(str(root))} == reasons


def test_a_damaged_image_is_found(release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "r"))
    rows = preference_table(ggt100k.open_root(str(root))).to_pylist()
    (row,) = (row for row in rows if row["candidate"] == "candidate-1")
    _edit_shard(root, lambda data: data.__setitem__(slice(row["lq_offset"] + 300, row["lq_offset"] + 310), bytes(10)))
    (finding,) = validate(str(root))
    assert (finding.reason, finding.key, finding.shard) == ("bad_preferences", row["key"], SHARD)


def test_a_manifest_that_names_another_file_is_refused(release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "r"))
    manifest = json.loads((root / ggt100k.MANIFEST).read_text())
    manifest["preferences"]["shards"]["../secret"] = manifest["preferences"]["shards"].pop(SHARD)
    (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ConfigError):
        ggt100k.open_root(str(root))


def test_an_index_with_other_bytes_than_the_manifest_names_is_not_read(release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "r"))
    pq.write_table(pq.read_table(root / PREFERENCE_INDEX), root / PREFERENCE_INDEX, compression="none")
    with pytest.raises(ShardError) as fault:
        ggt100k.PreferencePairs(root)
    assert str(fault.value) == (
        f"{root}: {PREFERENCE_INDEX}: its checksum differs from the manifest. Download it again."
    )


def test_an_image_of_another_size_than_its_photograph_is_not_packed(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(workspace, tmp_path / "w"))
    with Ledger(folder) as ledger:
        image = ledger.put_image(encode_png(picture(9, 60, 140)))
        ledger.add(Aligned(candidate="bad-0", version="1", image=image, reason=""))
    assert main(["pack", str(folder), str(tmp_path / "out"), "--preferences"]) == 2
    assert capsys.readouterr().err.endswith(
        ": candidate bad-0: the stored image is 140 x 60 pixels, its photograph 90 x 70. The workspace is "
        "inconsistent: pack without --preferences, or restore the workspace from a backup.\n"
    )


def test_they_are_pushed_like_other_shards(release: Path) -> None:
    files = ggt100k.open_root(str(release)).files
    assert {SHARD, PREFERENCE_INDEX} <= files.keys()
    for name in (SHARD, PREFERENCE_INDEX):
        assert files[name]["sha256"] == hashlib.sha256((release / name).read_bytes()).hexdigest()


def test_the_exported_table_has_the_columns_that_preference_trainers_read(release: Path, tmp_path: Path) -> None:
    import datasets

    out = tmp_path / "out"
    assert main(["export", str(release), "--to", "preference", "--out", str(out)]) == 0
    (path,) = (out / "data").glob("*.parquet")
    table = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert list(table.features)[:4] == ["prompt", "image", "chosen", "rejected"] and len(table) == 4
    row = next(row for row in table if row["rejected_candidate"] == "bad-0")
    assert (np.asarray(row["image"]) == picture(0)).all()
    assert (np.asarray(row["rejected"]) == picture(sum(b"bad-0"))).all()
    assert (row["rejected_stage"], row["rejected_reason"], row["chosen_preferred"]) == ("score", "another_scene", 1)
    assert row["rejected_scores"]["gmsd"] == 0.5 and np.isnan(row["rejected_scores"]["structure"])
    assert len((out / "credits.csv").read_text().splitlines()) == 1 + 3
    before = path.stat().st_mtime_ns
    assert main(["export", str(release), "--to", "preference", "--out", str(out)]) == 0
    assert path.stat().st_mtime_ns == before, "a finished file is not written again"
    where = ("--where", "reason=misaligned", "--file-bytes", "1")
    assert main(["export", str(release), "--to", "preference", "--out", str(tmp_path / "one"), *where]) == 0
    assert len(datasets.Dataset.from_parquet(str(next((tmp_path / "one" / "data").iterdir())))) == 1


def test_preferences_belong_to_no_split() -> None:
    with pytest.raises(ConfigError) as fault:
        ExportConfig(to="preference", splits=("train",))
    assert str(fault.value) == "--to preference: preference shards belong to no split. Leave --split out."


def test_a_killed_pack_keeps_finished_preference_shards(workspace: Path, release: Path, tmp_path: Path) -> None:
    from ggt_tools.stages.pack.preferences import plan_preferences, write_preferences

    with Ledger(workspace) as ledger:
        photos = [photo for photo in judged_photos(ledger) if photo.candidates[0].candidate.id != "candidate-3"]
        (job,) = plan_preferences(photos, ledger.images, "png", 10**9)
        job = dataclasses.replace(job, part=tmp_path)
        first = write_preferences(job, int)
        inode = (tmp_path / SHARD).stat().st_ino
        again = write_preferences(job, int)
        assert repr(again) == repr(first) and (tmp_path / SHARD).stat().st_ino == inode
        (tmp_path / SHARD).write_bytes(b"damaged")
        assert repr(write_preferences(job, int)) == repr(first)
    assert (tmp_path / SHARD).read_bytes() == (release / SHARD).read_bytes()


def test_a_large_set_is_cut_into_several_shards(workspace: Path) -> None:
    from ggt_tools.stages.pack.preferences import plan_preferences

    with Ledger(workspace) as ledger:
        jobs = plan_preferences(list(judged_photos(ledger)), ledger.images, "png", 1)
    assert [job.name[-9:-4] for job in jobs] == ["00000", "00001", "00002", "00003"]
    assert all(len(job.photos) == 1 for job in jobs)
