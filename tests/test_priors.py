"""Visual priors of a release: in shards and an index of their own, and never in train or test."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.errors import ShardError
from ggt_tools.records import Adopted, Aligned, Candidate, Decision, HeldOutPair, Pair, Score, Verdict, Withdrawal
from ggt_tools.stages.card import card, short_readme
from ggt_tools.stages.diff import diff
from ggt_tools.stages.diff.changelog import changelog_entry
from ggt_tools.stages.pack import PackConfig
from ggt_tools.stages.pack import pack as repack
from ggt_tools.stages.pack.priors import priors
from ggt_tools.stages.validate import validate
from ggt_tools.stages.validate.evidence import evidence_faults, prior_faults, read_gate
from ggt_tools.workspace.ledger import Ledger

from .making import GATE, Store, evidence, lines_of, make_pairs, picture

FRAMED = GATE.replace("[gain", 'shift = { max = 1.0, reason = "shifted", why = "It lies pixel on pixel." }\n[gain', 1)
ID = "0" * 16


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def judged(ledger: Ledger, candidate: Candidate, stage: str, reason: str, *lines: str) -> None:
    verdict = Verdict(
        candidate=candidate.id, gate=ID, decision="reject", stage=stage, reason=reason, evidence=evidence(*lines)
    )  # fmt: skip
    ledger.judge(ID, FRAMED, [verdict])


def add_misaligned(
    ledger: Ledger, pair: Pair, name: str, reply: bytes, reason: str = "misaligned", **more: object
) -> None:
    """One more output of a pair's photograph, which align could not bring into its frame."""
    facts = {"id": name, "restorer": "drifter-1", "image": ledger.put_image(reply)} | more
    candidate = dataclasses.replace(pair.candidate, **facts)  # type: ignore[arg-type]
    ledger.add(candidate, Aligned(candidate=name, version="1", image="", reason=reason))
    judged(ledger, candidate, "align", reason)


def framed(ledger: Ledger, pair: Pair, name: str, reason: str = "shifted", *lines: str, **scores: float) -> None:
    """One more output, in the frame, which the gate rejects."""
    image = ledger.put_image(encode_png(picture(hash(name) % 1000)))
    candidate = dataclasses.replace(pair.candidate, id=name, image=image)
    of = (Score(candidate=name, metric=metric, metric_version="1", value=value) for metric, value in scores.items())
    ledger.add(candidate, Aligned(candidate=name, version="1", image=image, reason=""), *of)
    judged(ledger, candidate, "score", reason, *lines)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Ten photographs with a pair that is kept, the last of which is held for test; then eight without."""
    with Ledger(tmp_path / "workspace", create=True) as ledger:
        pairs = make_pairs(ledger.images, 18, ["rain"])
        for pair in pairs:
            ledger.add(pair.photo)
        kept, alone = pairs[:10], pairs[10:]
        for pair in kept:
            score = Score(candidate=pair.candidate.id, metric="shift", metric_version="1", value=0.25)
            aligned = Aligned(candidate=pair.candidate.id, version="1", image=pair.image, reason="")
            ledger.add(pair.candidate, aligned, *pair.scores, score)
        said = "shift 0.250 <= 1.000"
        verdicts = [dataclasses.replace(p.verdict, evidence=(*p.verdict.evidence, *evidence(said))) for p in kept]
        ledger.judge(ID, FRAMED, verdicts)
        ledger.add(HeldOutPair(key=kept[9].photo.key, version="1.0.0"))
        wide = picture(99, 60, 140)
        for at, pair in enumerate((*kept[:3], kept[9])):  # of three in train, and of the one in test
            add_misaligned(ledger, pair, f"away-{at}", png(wide))
        add_misaligned(ledger, kept[0], "away-later", png(wide), created="2026-02-01T00:00:00Z")
        add_misaligned(ledger, alone[0], "alone", png(picture(98, 140, 180)), frame=(90, 90, 0, 10, 90, 70))
        add_misaligned(ledger, alone[1], "stretched", png(wide), reason="aspect_changed")
        add_misaligned(ledger, alone[2], "withdrawn", png(wide))
        ledger.add(
            Withdrawal(key=alone[2].photo.key, reason="asked", withdrawn_by="Ann", created="2026-01-01T00:00:00Z")
        )
        high, low = "shift 3.000 > 1.000", "structure 0.100 < 0.300"
        framed(ledger, alone[3], "moved", "shifted", "structure 0.500 >= 0.300", high, structure=0.5, shift=3.0)
        framed(ledger, alone[4], "both", "another_scene", low, high, structure=0.1, shift=3.0)
        framed(ledger, alone[5], "other", "another_scene", low, "shift 0.1 <= 1.000", structure=0.1, shift=0.1)
        framed(
            ledger, alone[6], "people", "shifted", "structure 0.500 >= 0.300", high,
            "people: 0 keep, 1 reject; the rules say reject", structure=0.5, shift=3.0,
        )  # fmt: skip
        framed(ledger, alone[7], "best", "not_the_best", "the best is x", structure=0.5, shift=0.1)
    return tmp_path / "workspace"


def pack(workspace: Path, out: Path, *argv: str) -> Path:
    assert main(["pack", str(workspace), str(out), *argv]) == 0
    return out


def files(root: Path, *without: str) -> dict[str, bytes]:
    names = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not any(part in name for part in without)}


def findings(root: Path, **options: object) -> list[str]:
    return [str(finding) for finding in validate(str(root), **options)]  # type: ignore[arg-type]


def keys(root: Path, name: str) -> list[str]:
    return list(pq.read_table(root / "index" / f"{name}.parquet")["key"].to_pylist())


def by_id(workspace: Path) -> dict[str, Pair]:
    with Ledger(workspace) as ledger:
        return {pair.candidate.id: pair for pair in priors(ledger)}


def test_which_outputs_are_priors_and_why(workspace: Path) -> None:
    found = by_id(workspace)
    assert set(found) == {"away-0", "away-1", "away-2", "away-3", "alone", "moved"}
    assert lines_of(found["alone"].verdict) == ("prior: misaligned",)
    assert lines_of(found["moved"].verdict) == ("prior: shifted", "structure 0.500 >= 0.300", "shift 3.000 > 1.000")
    assert [pair.photo.key for pair in found.values()] == sorted(pair.photo.key for pair in found.values())


def test_rejected_outputs_are_not_priors_after_align_runs_again(workspace: Path) -> None:
    facts = {
        "candidate": "moved", "reviewer": "Ann", "decision": "reject", "reason": "shifted", "seconds": 2.0,
        "queue": "gallery", "gate_decision": "reject", "known_answer": "", "undoes": "",
        "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    with Ledger(workspace) as ledger:
        [image] = [each.image for each in ledger.all(Aligned) if each.candidate == "moved"]
        ledger.add(Decision(id="0", image=image, **facts | {"known_answer": "another_photograph"}))
        ledger.add(Decision(id="1", image=image, **facts | {"candidate": "alone", "decision": "keep", "reason": ""}))
    assert {"moved", "alone"} <= set(by_id(workspace)), "for a known answer another image was judged"
    with Ledger(workspace) as ledger:
        ledger.add(Decision(id="2", image=image, **facts))
        ledger.add(Aligned(candidate="moved", version="2", image="", reason="misaligned"))
        [candidate] = [each for each in ledger.all(Candidate) if each.id == "moved"]
        judged(ledger, candidate, "align", "misaligned")
    assert "moved" not in by_id(workspace), "the rules' own verdict speaks of no person"
    with Ledger(workspace) as ledger:
        ledger.add(Decision(id="3", image=image, **facts | {"decision": "undone", "reason": "", "undoes": "2"}))
    assert lines_of(by_id(workspace)["moved"].verdict) == ("prior: misaligned",)


def test_train_and_test_are_the_same_bytes_with_priors_and_without(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = pack(workspace, tmp_path / "bare")
    capsys.readouterr()
    dry = ("--priors", "--dry-run")
    said = "10 pairs and 5 priors"
    assert main(["pack", str(workspace), str(tmp_path / "out"), *dry]) == 0 and said in capsys.readouterr().out
    out = pack(workspace, tmp_path / "out", "--priors")
    held = by_id(workspace)["away-3"].photo.key
    printed = capsys.readouterr()
    said = f"ggt100k pack: prior_in_test: key {held}: is in the test split, so none of its outputs is packed\n"
    assert said in printed.err
    assert printed.out == ("pack: 9 train, 1 test, 5 prior, 3 shards\n  refused      1  prior_in_test\n")
    beside = ("prior", "README", "manifest")
    assert files(out, *beside) == files(bare, *beside) and len(files(out, *beside)) == 4
    assert set(files(out)) - set(files(bare)) == {"data/rain/prior-00000.tar", "index/prior.parquet"}
    one, other = (json.loads((root / ggt100k.MANIFEST).read_bytes()) for root in (bare, out))
    assert one["splits"] == other["splits"] and "prior" not in one and other["prior"]["pairs"] == 5
    wanted = {pair.photo.key for name, pair in by_id(workspace).items() if name != "away-3"}
    assert set(keys(out, "prior")) == wanted and held in keys(out, "test")
    assert len(wanted & {*keys(out, "train")}) == 3 and not wanted & {*keys(out, "test")}
    assert findings(out) == findings(out, quick=True) == findings(out, against=workspace) == []
    assert main(["validate", str(out)]) == 0
    assert capsys.readouterr().out == "validate: 10 pairs, 5 priors, 0 findings\n"


def test_readers_return_priors_only_on_request(workspace: Path, tmp_path: Path) -> None:
    out = pack(workspace, tmp_path / "out", "--priors")
    made = ggt100k.load_dataset("ggt-100k", data_dir=str(out))
    assert {name: len(rows) for name, rows in made.items()} == {"train": 9, "test": 1}
    for config in ("all", "rain"):
        plain = datasets.load_dataset(str(out), config, cache_dir=str(tmp_path / "cache"))
        assert {name: len(rows) for name, rows in plain.items()} == {"train": 9, "test": 1}
        assert not any("drifter" in row["json"]["restorer"] for rows in plain.values() for row in rows)
    assert len(ggt100k.PairDataset(str(out))) == 9
    beside = {item["key"]: item for item in ggt100k.PairDataset(str(out), "prior", columns=["restorer", "evidence"])}
    found = {name: pair.photo.key for name, pair in by_id(workspace).items()}
    away, padded, moved = (beside[found[name]] for name in ("away-0", "alone", "moved"))
    lq = {item["key"]: item["lq"] for item in ggt100k.PairDataset(str(out))}
    assert np.array_equal(away["lq"], lq[found["away-0"]]) and away["restorer"] == "drifter-1"
    for name, (image, box) in {
        "away-0": (picture(99, 60, 140), None),
        "alone": (picture(98, 140, 180), (0, 140 / 9, 180, 140 / 9 + 140 * 7 / 9)),  # without what was padded
    }.items():
        brought = np.asarray(Image.fromarray(image).resize((90, 70), Image.Resampling.LANCZOS, box=box))
        assert np.array_equal(beside[found[name]]["gt"], brought), name
    assert padded["evidence"] == ["prior: misaligned"] and np.isnan(padded["scores"]["structure"])
    assert moved["evidence"][0] == "prior: shifted" and moved["scores"]["shift"] == 3
    with pytest.raises(ggt100k.ConfigError, match="no split 'prior'; there are: train, test"):
        ggt100k.PairDataset(str(pack(workspace, tmp_path / "bare")), "prior")


def test_the_next_version(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = pack(workspace, tmp_path / "1", "--priors")
    again = pack(workspace, tmp_path / "2", "--priors", "--base", str(first), "--version", "1.1.0")
    assert (
        "since the base: 0 new, 0 changed, 0 gone, 10 unchanged, 0 shards written, 3 shards unchanged\n"
        "priors since the base: 0 new, 0 changed, 0 gone, 5 unchanged\n"
    ) in capsys.readouterr().out
    assert files(again, "README", "manifest") == files(first, "README", "manifest")
    with Ledger(workspace) as ledger:
        gone, other = (by_id(workspace)[name].photo.key for name in ("alone", "away-1"))
        ledger.add(Withdrawal(key=gone, reason="asked", withdrawn_by="Ann", created="2026-01-01T00:00:00Z"))
    less = pack(workspace, tmp_path / "3", "--priors", "--base", str(first), "--version", "1.1.0")
    assert set(keys(less, "prior")) == {*keys(first, "prior")} - {gone} and other in keys(less, "prior")
    assert files(less, "README", "manifest", "prior") == files(first, "README", "manifest", "prior")
    said = "priors since the base: 0 new, 0 changed, 1 gone, 4 unchanged\n"
    assert capsys.readouterr().out.endswith(f"2 shards unchanged\n{said}")
    upon = ("--base", str(first), "--version", "1.1.0")
    assert main(["pack", str(workspace), str(tmp_path / "4"), *upon, "--dry-run"]) == 0
    said = ": 0 new, 0 changed, 0 gone, 10 unchanged; priors: 0 new, 0 changed, 5 gone, 0 unchanged; 0 shards written"
    assert said in capsys.readouterr().out
    none = pack(workspace, tmp_path / "4", *upon)
    assert capsys.readouterr().out.endswith(
        "since the base: 0 new, 0 changed, 0 gone, 10 unchanged, 0 shards written, 2 shards unchanged\n"
        "priors since the base: 0 new, 0 changed, 5 gone, 0 unchanged\n"
        "The prior split of the base was removed. Pack with --priors to keep it.\n"
    )
    assert "prior" not in " ".join(files(none)) and findings(less) == findings(none) == []
    with Ledger(workspace) as ledger:
        assert [each for each in findings(less, against=workspace)] == []
    roots = [ggt100k.open_root(str(root)) for root in (first, less, none)]
    told = "\n- Visual priors, which are no pairs: 0 added, 1 withdrawn, 0 changed; 4 in all.\n"
    assert changelog_entry(diff(*roots[:2]), "2026-01-02").endswith(told)
    told = "\n- Visual priors, which are no pairs: 0 added, 5 withdrawn, 0 changed; 0 in all.\n"
    assert changelog_entry(diff(roots[0], roots[2]), "2026-01-02").endswith(told)
    assert "0 pairs added, 0 withdrawn, 0 changed" in changelog_entry(diff(roots[0], roots[2]), "2026-01-02")
    assert diff(roots[0], roots[2]).added == () == diff(roots[0], roots[2]).withdrawn
    assert findings(first, against=workspace) == [
        f"data/rain/prior-00000.tar: key {gone}: is withdrawn: asked. Pack the release again.",
    ]


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_another_output_with_equal_facts_is_written_again(workspace: Path, tmp_path: Path, codec: str) -> None:
    first = pack(workspace, tmp_path / "1", "--priors", "--codec", codec)
    with Ledger(workspace) as ledger:
        pairs, beside = list(ledger.pairs()), list(priors(ledger))
        reply, aligned = ledger.put_image(png(picture(55, 60, 140))), ledger.put_image(encode_png(picture(56)))
        images, held = ledger.images, {each.key for each in ledger.all(HeldOutPair)}
    changed = {"alone": (reply, reply), "moved": (aligned, "0" * 64)}
    others = [
        dataclasses.replace(pair, image=image, candidate=dataclasses.replace(pair.candidate, image=of))
        for pair in beside
        for image, of in [changed.get(pair.candidate.id, (pair.image, pair.candidate.image))]
    ]
    out = tmp_path / "2"
    config = PackConfig(version="1.1.0", base=str(first), codec=codec)
    repack(pairs, images, out, config, gate=FRAMED, priors=others, test_keys=held)
    assert findings(out) == []
    old, new = ({item["key"]: item["gt"] for item in ggt100k.PairDataset(str(root), "prior")} for root in (first, out))
    keys_of = {pair.candidate.id: pair.photo.key for pair in beside}
    assert {key for key in old if not np.array_equal(old[key], new[key])} == {keys_of["alone"], keys_of["moved"]}
    near = np.abs(new[keys_of["moved"]].astype(int) - picture(56)).mean()
    assert near == 0 if codec == "png" else near < 12
    told = changelog_entry(diff(ggt100k.open_root(str(first)), ggt100k.open_root(str(out))), "2026-01-02")
    assert told.endswith("which are no pairs: 0 added, 0 withdrawn, 2 changed; 5 in all.\n")


def test_the_limit_applies_to_priors(workspace: Path, tmp_path: Path) -> None:
    with Ledger(workspace) as ledger:
        first = [pair for pair in priors(ledger)][:3]
    out = pack(workspace, tmp_path / "out", "--priors", "--limit", "3")
    wanted = [pair.photo.key for pair in first if pair.candidate.id != "away-3"]
    assert sorted(keys(out, "prior")) == wanted and len(wanted) >= 2


def test_a_shard_holds_no_more_bytes_of_replies_than_it_may(tmp_path: Path) -> None:
    """A reply is a small JPEG, and a PNG of it is none."""
    store = Store()
    random = np.random.default_rng(0)
    pairs, beside = make_pairs(store, 12, ["rain"]), []
    for number, pair in enumerate(pairs):
        reply = io.BytesIO()
        noise = random.integers(0, 256, (70, 90, 3), np.uint8)
        Image.fromarray(noise).save(reply, "JPEG" if number % 2 else "PNG", quality=30)
        image = store.put(reply.getvalue())
        said = dataclasses.replace(pair.verdict, decision="reject", evidence=("prior: misaligned",))
        candidate = dataclasses.replace(pair.candidate, image=image)
        beside.append(dataclasses.replace(pair, image=image, candidate=candidate, verdict=said))
    most = 70_000
    repack(pairs, store, tmp_path / "out", PackConfig(test=0, shard_bytes=most), gate=GATE, priors=beside)
    assert findings(tmp_path / "out") == []
    rows = pq.read_table(tmp_path / "out/index/prior.parquet").to_pylist()
    sizes = Counter[str]()
    for row in rows:
        sizes[row["shard"]] += row["lq_size"] + row["gt_size"]
        assert row["gt_size"] > 16_000
    assert len(rows) == 12 and max(sizes.values()) <= most and len(sizes) <= 6


def test_a_prior_that_becomes_a_pair_is_removed(workspace: Path, tmp_path: Path) -> None:
    first = pack(workspace, tmp_path / "1", "--priors")
    with Ledger(workspace) as ledger:
        moved = by_id(workspace)["moved"]
        ledger.judge(
            ID, FRAMED, [dataclasses.replace(moved.verdict, decision="keep", stage="", reason="", evidence=())]
        )
    assert "moved" not in by_id(workspace)
    # its evidence is the gate's own affair: here only where it goes is asked
    out = pack(workspace, tmp_path / "2", "--priors", "--base", str(first), "--version", "1.1.0")
    key = moved.photo.key
    assert key in keys(out, "train") and key not in keys(out, "prior") and key in keys(first, "prior")


def test_no_prior_is_a_near_duplicate_of_the_test_split(workspace: Path, tmp_path: Path) -> None:
    with Ledger(workspace) as ledger:
        (held,) = ledger.all(HeldOutPair)
        test = next(pair for pair in ledger.pairs() if pair.photo.key == held.key)
        pixels = ggt100k.decode_image(ledger.image(test.photo.image)).copy()
        pixels[0, 0] ^= 1
        key, image = ggt100k.pair_key(pixels), ledger.put_image(encode_png(pixels))
        photo = dataclasses.replace(test.photo, key=key, image=image, file="like.jpg")
        ledger.add(photo)
        like = dataclasses.replace(test, photo=photo, candidate=dataclasses.replace(test.candidate, key=key))
        add_misaligned(ledger, like, "like", png(picture(97, 60, 140)))
    assert "like" in by_id(workspace)
    out = pack(workspace, tmp_path / "out", "--priors")
    assert key not in keys(out, "prior") and findings(out) == []


def test_a_set_that_must_not_be_redistributed_makes_the_release_local(workspace: Path, tmp_path: Path) -> None:
    key = by_id(workspace)["alone"].photo.key
    with Ledger(workspace) as ledger:
        adopted = {"output": "1.png", "width": 90, "height": 70, "reference": "", "local_only": "CC-BY-ND-4.0"}
        ledger.add(Adopted(candidate="alone", key=key, set="x/rain", **adopted))  # type: ignore[arg-type]
    of = [json.loads((pack(workspace, tmp_path / name, *argv) / ggt100k.MANIFEST).read_bytes()).get("local_only")
          for name, argv in (("1", ()), ("2", ("--priors",)))]  # fmt: skip
    assert of == [None, "CC-BY-ND-4.0 of set x/rain"]


# --- validate ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def release(workspace: Path, tmp_path: Path) -> Iterator[Path]:
    yield pack(workspace, tmp_path / "release", "--priors")


def move(root: Path, old: str, new: str) -> None:
    """Names the shards and the index of one split as another's, in the manifest and on disk alike."""
    manifest = json.loads((root / ggt100k.MANIFEST).read_bytes())
    about = manifest.pop(old) if old == "prior" else manifest["splits"].pop(old)
    manifest["splits"][new] = about
    for name in [name for name in manifest["shards"] if f"/{old}-" in name]:
        other = name.replace(f"/{old}-", f"/{new}-")
        manifest["shards"][other] = manifest["shards"].pop(name)
        shutil.move(root / name, root / other)
    shutil.move(root / f"index/{old}.parquet", root / f"index/{new}.parquet")
    (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))


def test_priors_renamed_to_the_test_split_are_detected(release: Path) -> None:
    (release / "data/rain/test-00000.tar").unlink()
    (release / "index/test.parquet").unlink()
    manifest = json.loads((release / ggt100k.MANIFEST).read_bytes())
    del manifest["splits"]["test"], manifest["shards"]["data/rain/test-00000.tar"]
    (release / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    move(release, "prior", "test")
    table = pq.read_table(release / "index/test.parquet").to_pylist()
    assert len(table) == 5
    assert {"unknown_shard", "not_in_index", "both_splits"} <= {finding.reason for finding in validate(str(release))}


def test_the_required_evidence_of_a_prior(release: Path, workspace: Path) -> None:
    """Its evidence first says why; one that is in its frame passes the rest of the gate."""
    with Ledger(workspace) as ledger:
        of = {pair.candidate.id: pair.photo.key for pair in priors(ledger)}
    row = next(row for row in pq.read_table(release / "index/prior.parquet").to_pylist() if row["key"] == of["moved"])
    gate = read_gate(FRAMED)
    assert list(prior_faults(row, gate)) == []
    for lines, reason in (
        ([], "no_evidence"),
        (row["evidence"][1:], "no_evidence"),
        (["prior: shifted", row["evidence"][2]], "no_evidence"),  # of structure, which the gate asks for
        (["prior: shifted", "structure 0.100 < 0.300"], "evidence_differs"),
    ):
        assert {found for found, _ in prior_faults(row | {"evidence": lines}, gate)} == {reason}, lines
    away = row | {"evidence": ["prior: misaligned"]}
    assert list(prior_faults(away, gate)) == []
    # in train or test neither would pass
    assert {reason for reason, _ in evidence_faults(row, gate)} == {"fails_gate"}
    assert {reason for reason, _ in evidence_faults(away, gate)} == {"no_evidence"}


def test_a_prior_twice_or_of_a_test_photograph(release: Path) -> None:
    test = pq.read_table(release / "index/test.parquet").to_pylist()[0]["key"]
    path = release / "index/prior.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    for key, reason in ((test, "both_splits"), (rows[1]["key"], "duplicate_key")):
        changed = [rows[0] | {"key": key}, *rows[1:]]
        pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), path, compression="zstd")
        assert reason in {finding.reason for finding in validate(str(release))}, key


def test_a_prior_whose_bytes_are_damaged(release: Path) -> None:
    shard = release / "data/rain/prior-00000.tar"
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as members:
        member = next(member for member in members if member.name.endswith(".gt.png"))
    data[member.offset_data + member.size // 2] ^= 1  # in its image data
    shard.write_bytes(data)
    assert any("prior-00000.tar" in line for line in findings(release))
    with pytest.raises(ShardError, match="prior-00000"):
        list(ggt100k.PairDataset(str(release), "prior"))
    assert len(list(ggt100k.PairDataset(str(release)))) == 9
    shard.unlink()
    assert any("prior-00000.tar: the manifest names it" in line for line in findings(release))


def test_a_manifest_with_a_split_prior_is_invalid(release: Path) -> None:
    manifest = json.loads((release / ggt100k.MANIFEST).read_bytes())
    manifest["splits"]["prior"] = manifest.pop("prior")
    (release / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ggt100k.ConfigError, match="an unknown split, 'prior'"):
        ggt100k.open_root(str(release))


# --- card, push, export -----------------------------------------------------------------------------------------------


def test_the_card_counts_them_apart_and_credits_their_photographs(workspace: Path, tmp_path: Path) -> None:
    with Ledger(workspace) as ledger:
        alone = by_id(workspace)["alone"]
        photo = dataclasses.replace(
            alone.photo, key="", author="Solo", licence="CC-BY-4.0", image=ledger.put_image(encode_png(picture(77)))
        )
        photo = dataclasses.replace(photo, key=ggt100k.pair_key(picture(77)))
        ledger.add(photo)
        add_misaligned(
            ledger,
            dataclasses.replace(alone, photo=photo, candidate=dataclasses.replace(alone.candidate, key=photo.key)),
            "solo",
            png(picture(96, 60, 140)),
        )
    bare, out = pack(workspace, tmp_path / "bare"), pack(workspace, tmp_path / "out", "--priors")
    one, other = (card(ggt100k.open_root(str(root)), "org/ggt-100k") for root in (bare, out))
    page = other["README.md"].decode()
    assert page.split("---\n")[1] == one["README.md"].decode().split("---\n")[1], "the YAML knows no prior"
    assert "10 pairs (9 train, 1 test)" in page and "in 2 shards" in page
    assert "Beside the pairs lie visual priors, 6:" in page and "visual priors" not in one["README.md"].decode()
    assert short_readme(json.loads((out / ggt100k.MANIFEST).read_bytes())).count("6 visual priors") == 1
    told = other["LICENSE"].decode()
    assert told.startswith(one["LICENSE"].decode().rstrip("\n")) and "Solo" not in one["LICENSE"].decode()
    assert "CC-BY-4.0: 1 prior\n" in told and "    Solo: 1 prior, https://example.org/1\n" in told
    croissant = json.loads(other["croissant.json"])
    assert croissant["license"] == ["CC0-1.0", "CC-BY-4.0"]
    named = {file["@id"] for file in croissant["distribution"] if file["@type"] == "cr:FileObject"}
    assert {"index/prior.parquet", "data/rain/prior-00000.tar"} < named
    assert [records["@id"] for records in croissant["recordSet"] if records["@id"].startswith("prior")] == []


def test_a_class_that_has_priors_only_is_named(tmp_path: Path) -> None:
    """Plain `datasets` makes train of whatever lies in the one folder that it is given."""
    store = Store()
    pairs = make_pairs(store, 4)
    beside = [
        dataclasses.replace(pair, verdict=dataclasses.replace(pair.verdict, evidence=("prior: misaligned",)))
        for pair in pairs
    ]
    for name, those in (("both", pairs), ("rain", pairs[::2])):
        out = tmp_path / name
        repack(those, store, out, PackConfig(test=0), gate=GATE, priors=beside)
        made = [(out / "README.md").read_text(), card(ggt100k.open_root(str(out)), "o/g")["README.md"].decode()]
        said = [" ".join(text.split()) for text in made]
        assert all(("there are priors only" in text) == (name == "rain") for text in said)
    assert 'Of snow there are priors only: with `data_dir="data/snow"` plain `datasets` gives them' in said[0]
    assert "Of `snow` there are priors only: plain `datasets` with `data_dir=`" in said[1]


@pytest.mark.parametrize("to", ["imagefolder", "webdataset"])
def test_an_export_of_priors_never_has_a_train_split(release: Path, tmp_path: Path, to: str) -> None:
    for splits in (("prior",), ("prior", "train")):
        out = tmp_path / "-".join(splits)
        argv = [each for split in splits for each in ("--split", split)]
        assert main(["export", str(release), "--to", to, "--out", str(out), *argv]) == 0
        for config in splits:
            name = "default" if config == "train" else config
            read = datasets.load_dataset(str(out), name, cache_dir=str(tmp_path / f"cache-{len(splits)}"))
            assert {split: len(rows) for split, rows in read.items()} == {config: 5 if config == "prior" else 9}
    if to == "imagefolder":
        with pytest.raises(ValueError, match="corresponds to no data"):
            datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "prior"))
        read = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache-3"))
        assert {name: len(rows) for name, rows in read.items()} == {"train": 9}
    assert "which are no ground truth" in (out / "README.md").read_text()


def test_export_includes_priors_only_on_request(release: Path, tmp_path: Path) -> None:
    argv = ["export", str(release), "--to", "pairs", "--out"]
    assert main([*argv, str(tmp_path / "x")]) == 0
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["credits.csv", "export.json", "test", "train"]
    assert main([*argv, str(tmp_path / "y"), "--split", "prior"]) == 0
    assert len(list((tmp_path / "y" / "prior").glob("*_gt.png"))) == 5
