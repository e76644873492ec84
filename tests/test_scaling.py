"""The same commands at another scale: processes, clusters, remote images, and ledgers of any size."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import yaml
from fsspec.implementations.local import LocalFileSystem

from ggt_tools.cli import _parser
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.evidence import from_struct
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate, verdict
from ggt_tools.records import ALIGN_SCORES, IN_FLIGHT, TABLES, Aligned, Candidate, Opinion, Photo, Score, Verdict
from ggt_tools.stages.verdict import run as verdict_run
from ggt_tools.workspace.codec import to_row
from ggt_tools.workspace.export import export_ledger
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.store import Store

from .benchmarks import ledgers, plans, scaling
from .making import picture
from .models import KEY
from .test_cli import ggt, well
from .test_ledger import candidate, photo
from .test_regenerate import workspace

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "examples" / "cluster"


def rows(folder: Path, *kinds: type[Any]) -> list[str]:
    """As text, so that NaN equals NaN; without the moment at which a candidate was made."""
    with Ledger(folder) as ledger:
        return [str(to_row(each) | {"created": ""}) for kind in kinds for each in ledger.all(kind)]


def measured(folder: Path) -> dict[tuple[str, str, str], float]:
    with Ledger(folder) as ledger:
        return {(each.candidate, each.metric, each.metric_version): each.value for each in ledger.all(Score)}


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small photographs, restored and aligned."""
    folder = workspace(tmp_path_factory.mktemp("scale") / "w", 6, prompts="", size=(96, 128))
    well("restore", folder)
    well("align", folder)
    return folder


@pytest.fixture
def copy(restored: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(restored, tmp_path / name))


METRICS = ("--metrics", "structure,shift,colour_cast")


def test_processes_give_the_scores_of_one_process(copy: Callable[[str], Path]) -> None:
    one, two = copy("one"), copy("two")
    said = well("score", one, *METRICS)
    assert said == "score: 18 scores, 6 candidates, 0 already done\n"
    assert well("score", two, *METRICS, "--workers", "2") == said
    assert measured(two) == pytest.approx(measured(one), abs=1e-6), "sums of floats differ by where they lie in memory"
    assert well("score", two, *METRICS, "--workers", "2") == "score: 0 scores, 0 candidates, 6 already done\n"


def test_processes_give_the_candidates_of_one_process(restored: Path, tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", 6, prompts="", size=(96, 128))
    assert well("restore", folder, "--workers", "1") == "restore: 6 made, 0 already done\n"
    assert rows(folder, Candidate) == rows(restored, Candidate)
    assert well("restore", folder, "--workers", "1") == "restore: 0 made, 6 already done\n"
    well("align", folder)
    assert rows(folder, Aligned) == rows(restored, Aligned)


def test_paid_calls_are_made_by_the_process_with_the_ledger(restored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    done = ggt("restore", restored, "--with", "gemini", "--prompt", "fixed", "--workers", "2")
    assert (done.code, done.out) == (2, "")
    well("prompt", restored, "--strategy", "fixed")
    done = ggt("restore", restored, "--with", "gemini", "--workers", "2")
    assert done.code == 2 and "--with gemini: asks a server, and each call is recorded on this machine" in done.err
    done = ggt("screen", restored, "--vlm", "gemini", "--engine", "ray")
    assert done.code == 2 and "--vlm gemini: its calls are paid" in done.err
    own = ("--base-url", "http://127.0.0.1:9/v1")
    done = ggt("screen", restored, "--vlm", "openai-compatible:m", "--workers", "2", "--budget", "1usd", *own)
    assert done.code == 2 and "of your own, without a budget" in done.err


def test_wrong_options_of_engines_are_errors(restored: Path) -> None:
    done = ggt("score", restored, *METRICS, "--cluster", "partition")
    assert done.code == 2 and done.err.endswith("--cluster: partition: = is missing. Write --cluster NAME=VALUE.\n")
    done = ggt("score", restored, *METRICS, "--cluster", "partition=gpu")
    assert (done.code, "--cluster partition: --engine local" in done.err) == (2, True)
    assert "invalid choice: 'spark'" in ggt("score", restored, "--engine", "spark").err


# images elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("place", ["{}/shared", "file://{}/shared"])
def test_images_may_be_elsewhere(place: str, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos" / "rain").mkdir(parents=True)
    for seed in range(2):
        Image.fromarray(picture(seed, 520, 520)).save(tmp_path / "photos" / "rain" / f"{seed}.png")
    home = place.format(tmp_path)
    argv = ("--licence", "CC0-1.0", "--classes", "folder", "--images", home)
    done = ggt("ingest", tmp_path / "photos", tmp_path / "w", *argv)
    assert done.code == 0, done
    with Ledger(tmp_path / "w") as ledger:
        assert ledger.store == Store(home)
        taken = list(ledger.all(Photo))
        for each in taken:
            assert (tmp_path / "shared" / "images" / each.image[:2] / each.image).is_file()
            assert ledger.images.image_size(each.image) == len(ledger.image(each.image))
    assert not (tmp_path / "w" / "images").exists()
    assert len(taken) == 2
    assert well("restore", tmp_path / "w", "--workers", "1").startswith("restore: 2 made")


def test_a_workspace_keeps_the_location_of_its_images(tmp_path: Path) -> None:
    with Ledger(tmp_path / "w", create=True, images="memory://one") as ledger:
        name = ledger.put_image(b"pixels")
        ledger.receive("work", b"others")
        ledger.settle(candidate("work", "k", image="", reason=""))
        (made,) = ledger.all(Candidate)
    with Ledger(tmp_path / "w", images="memory://one") as ledger:
        assert (ledger.image(name), ledger.image(made.image)) == (b"pixels", b"others")
        with pytest.raises(ShardError, match=r"memory://one/images/00/0+: the ledger names it, but it is missing"):
            ledger.image("0" * 64)
    with pytest.raises(ConfigError, match="its images are at memory://one, not at memory://two"):
        Ledger(tmp_path / "w", images="memory://two")
    with Ledger(tmp_path / "v", create=True):
        pass
    with pytest.raises(ConfigError, match="Only a new workspace can have them elsewhere"):
        Ledger(tmp_path / "v", images="memory://two")


class Plain(LocalFileSystem):
    """A file system of which one sees what is not whole yet, as SFTP is; a kill comes in the middle of a file."""

    protocol = "plain"
    dies = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        super().pipe_file(path, value[: len(value) // 2] if Plain.dies else value, mode=mode, **more)
        if Plain.dies:
            raise KeyboardInterrupt


fsspec.register_implementation("plain", Plain, clobber=True)


def test_an_interrupted_file_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"plain://{tmp_path}")
    monkeypatch.setattr(Plain, "dies", True)
    with pytest.raises(KeyboardInterrupt):
        store.write("tasks/a/1", b"facts")
    monkeypatch.setattr(Plain, "dies", False)
    assert [path.stat().st_size for path in (tmp_path / "tasks" / "a").iterdir()] == [2]
    assert not store.has("tasks/a/1") and store.names("tasks/a") == []
    store.write("tasks/a/1", b"facts")
    assert store.read("tasks/a/1") == b"facts" and store.names("tasks/a") == ["tasks/a/1"]


@pytest.mark.parametrize("root", ["{}", "memory://store-{}", "plain://{}", "file://{}/a folder"])
def test_a_store_has_complete_files_only(root: str, tmp_path: Path) -> None:
    store = Store(root.format(tmp_path))
    assert store.names("tasks/a") == [] and not store.has("tasks/a/1")
    store.write("tasks/a/1", b"one")
    store.write("tasks/a/2", b"")
    store.write("tasks/a/b/3", b"three")
    store.write("tasks/a/1", b"uno")
    assert store.names("tasks/a") == ["tasks/a/1", "tasks/a/2"]
    assert (store.read("tasks/a/1"), store.size("tasks/a/1"), store.has("tasks/a/2")) == (b"uno", 3, True)
    store.remove("tasks/a/1")
    store.remove("tasks/a/1")
    assert store.names("tasks/a") == ["tasks/a/2"]
    for fails in (store.read, store.size):
        with pytest.raises(FileNotFoundError):
            fails("tasks/a/1")


def test_facts_that_cannot_be_read_are_named(copy: Callable[[str], Path]) -> None:
    folder = copy("w")
    (folder / "tasks" / "score").mkdir(parents=True)
    (folder / "tasks" / "score" / "t.parquet").write_bytes(b"PAR1 cut off")
    done = ggt("score", folder, *METRICS)
    where = f"ggt100k score: {folder}/tasks/score/t.parquet: cannot be read: "
    assert done.code == 2 and done.err.startswith(where), done
    assert done.err.endswith(" Remove it; its works are done again.\n")


def test_a_workspace_without_a_photograph_has_nothing_to_be_judged(tmp_path: Path) -> None:
    with Ledger(tmp_path / "w", create=True):
        pass
    assert well("verdict", tmp_path / "w") == "verdict: 0 kept\n"
    assert well("verdict", tmp_path / "w", "--dry-run") == "verdict: 0 kept\n"
    assert "0 of 0 would change" in well("verdict", tmp_path / "w", "--what-if", DEFAULT_GATE)


def test_an_unknown_kind_of_store_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nowhere://x: cannot be opened: "):
        Store("nowhere://x").read("a")


# ledgers


def _filled(folder: Path, photographs: int = 8) -> Path:
    """Candidates of every standing, some scores of an older version, some that are NaN."""
    with Ledger(folder, create=True) as ledger:
        for number in range(photographs):
            key = f"{number:016x}"
            ledger.add(photo(key))
            for attempt in range(3):
                name = f"c{(number * 7 + attempt * 5) % (3 * photographs):03d}-{number}-{attempt}"
                lost = "misaligned" if (number + attempt) % 5 == 4 else ""
                empty = (number + attempt) % 7 == 6
                ledger.add(candidate(name, key, **({"image": "", "reason": "refused"} if empty else {})))
                if not empty:
                    facts = {"image": "" if lost else "i" * 64, "reason": lost, "confidence": 0.9,
                             "residual_median": 0.1, "residual_p99": 0.2 + attempt}  # fmt: skip
                    ledger.add(Aligned(candidate=name, version="1", **facts))  # type: ignore[arg-type]
                for version, value in (("2", 0.1), ("1", 0.5 + number / 20)) if attempt else (("1", math.nan),):
                    ledger.add(Score(candidate=name, metric="structure", metric_version=version, value=value))
                ledger.add(Score(candidate=name, metric="shift", metric_version="1", value=attempt / 10))
        ledger.add(candidate("waiting", f"{0:016x}", image="", reason=IN_FLIGHT))
    return folder


def test_candidate_batches_equal_the_ledger(tmp_path: Path) -> None:
    with Ledger(_filled(tmp_path / "w")) as ledger:
        shares = ledger.shares(3)
        assert [first for first, _ in shares] == [f"{number:016x}" for number in (0, 3, 6)]
        parts = [ledger.candidate_batch(*share) for share in shares]
        whole = ledger.scores()
        candidates = [each for each in ledger.all(Candidate) if each.reason != IN_FLIGHT]
        found = {name: key for part in parts for name, key in zip(part.candidates, part.keys, strict=False)}
        assert found == {one.id: one.key for one in candidates}
        assert [len(part.keys) - len(part.candidates) for part in parts] == [1, 0, 0], "one is under way"
        scores = {
            name: {metric: values[place] for metric, values in part.measured.items()}
            for part in parts
            for place, name in enumerate(part.candidates)
        }
        assert str([values.get("structure") for values in whole.values()]).count("nan") == 8
        for name, values in scores.items():
            assert values == pytest.approx(dict.fromkeys(values, math.nan) | whole.get(name, {}), nan_ok=True)
        assert {metric for values in scores.values() for metric in values} == {
            *ALIGN_SCORES, "shift", "structure",
        }  # fmt: skip
        empty = {one.id: ("restore", one.reason) for one in candidates if not one.image}
        assert {name: why for part in parts for name, why in part.lost.items() if name != "waiting"} == empty | {
            each.candidate: ("align", each.reason) for each in ledger.all(Aligned) if not each.image
        }
        assert {k: s for part in parts for k, s in part.degradations.items()} == {
            p.key: p.degradations for p in ledger.all(Photo)
        }


@pytest.mark.slow
def test_the_verdict_by_parts_and_processes_is_that_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, gate = _filled(tmp_path / "w"), load_gate(DEFAULT_GATE)
    with Ledger(folder) as ledger:
        candidates = [each for each in ledger.all(Candidate) if each.reason != IN_FLIGHT]
        seen = {each.key: each.degradations for each in ledger.all(Photo)}
        not_aligned = {each.candidate: each.reason for each in ledger.all(Aligned) if not each.image}
        expected = sorted(
            verdict(candidates, ledger.scores(), seen, gate, not_aligned=not_aligned), key=lambda v: v.candidate
        )
    monkeypatch.setattr(verdict_run, "PHOTOS_PER_PART", 2)
    said = well("verdict", folder)
    assert not list(folder.glob("ledger.sqlite-*")), "every process has closed it"
    with Ledger(folder) as ledger:
        assert list(ledger.all(Verdict)) == expected
        told = ledger._db.execute("SELECT * FROM funnel_count ORDER BY state").fetchall()
        ledger.recount()
        assert ledger._db.execute("SELECT * FROM funnel_count ORDER BY state").fetchall() == told
    rejected = sum(each.decision == "reject" for each in expected)
    assert sum(int(count) for count in re.findall(r"^  rejected +(\d+)", said, re.M)) == rejected > 0


def test_the_export_is_the_ledger_to_every_reader(tmp_path: Path) -> None:
    folder, out = _filled(tmp_path / "w"), tmp_path / "out"
    well("verdict", folder)
    said = well("export-ledger", folder, out)
    assert sorted(path.stem for path in out.iterdir()) == sorted(table.name for table in TABLES.values())
    with Ledger(folder) as ledger:
        for kind in (Photo, Candidate, Aligned, Score, Verdict, Opinion):
            found = pq.read_table(out / f"{kind.__name__.lower()}.parquet").to_pylist()
            there = [{name: getattr(each, name) for name in each.__dataclass_fields__} for each in ledger.all(kind)]
            lists = [{name: list(v) if isinstance(v, tuple) else v for name, v in each.items()} for each in there]
            if kind is Verdict:
                for row in found:
                    row["evidence"] = [from_struct(item) for item in row["evidence"]]
            assert sorted(map(str, found)) == sorted(map(str, lists)), kind
            assert re.search(rf"^{kind.__name__.lower()} +{len(there)}$", said, re.M)
        assert pq.read_table(out / "score.parquet")["value"].null_count == 0, "NaN, never null"
    evidence = pq.read_schema(out / "verdict.parquet").field("evidence").type.value_type
    assert {"type", "metric", "value", "bound", "outcome"} <= {field.name for field in evidence}


def test_duckdb_and_polars_read_the_export(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    polars = pytest.importorskip("polars", reason="polars is not installed")
    with Ledger(_filled(tmp_path / "w")) as ledger:
        assert dict(export_ledger(ledger, str(tmp_path / "out")))["photo"] == 8
        newest = {name: values["shift"] for name, values in ledger.scores().items()}
    out = tmp_path / "out"
    sql = f"""SELECT s.candidate, s.value FROM '{out}/score.parquet' s
        JOIN '{out}/candidate.parquet' c ON c.id = s.candidate JOIN '{out}/photo.parquet' p USING (key)
        WHERE metric = 'shift' AND list_contains(p.degradations, 'rain')"""
    assert dict(duckdb.sql(sql).fetchall()) == newest
    scores = polars.read_parquet(tmp_path / "out" / "score.parquet").filter(polars.col("metric") == "shift")
    assert dict(scores.select("candidate", "value").iter_rows()) == newest
    aligned = polars.read_parquet(tmp_path / "out" / "aligned.parquet")
    assert aligned.schema["transform"] == polars.List(polars.Float64)


# the page


def test_scaling_md_is_generated_from_its_figures() -> None:
    figures = json.loads(scaling.FIGURES.read_text(encoding="utf-8"))
    assert set(figures) <= set(scaling.PARTS)
    assert scaling.PAGE.read_text(encoding="utf-8") == scaling.page(figures)


def test_estimates_are_marked_and_consistent() -> None:
    page = "\n".join(plans.estimate())
    assert all(" (estimated)" in line for line in page.splitlines() if line.startswith("## "))
    assert "| 103,707 | png | 0.27 |" in page and "| 10,000,000 | png | 26.40 | 52,812 |" in page
    assert "| gemini-3.1-flash-image-preview | 103,707 | 12,134 | 6,067 |" in page
    hours = [row.split(" | ") for row in page.splitlines() if row.startswith(("| lpips", "| maniqa", "| all"))]
    assert [row[3] for row in hours[:2]] == ["3", "49"]


def test_a_ledger_of_the_bench_goes_through_the_verbs(tmp_path: Path) -> None:
    made = ledgers.make(tmp_path / "w", 60)
    assert made["bytes"] > 0 and ledgers.adding(tmp_path / "w", 2_000) > 0
    said = well("verdict", tmp_path / "w")
    assert re.match(r"verdict: \d+ kept\n", said)
    with Ledger(tmp_path / "w") as ledger:
        assert len(list(ledger.all(Score))) == 60 * ledgers.CANDIDATES * ledgers.SCORES
        assert len(list(ledger.all(Verdict))) == 60 * ledgers.CANDIDATES


# recipes


def test_the_slurm_recipe_is_valid() -> None:
    recipe = CLUSTER / "slurm.sh"
    subprocess.run(["bash", "-n", str(recipe)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(recipe)], check=True)
    commands = [line for line in recipe.read_text().replace("\\\n", " ").splitlines() if line.startswith("ggt100k ")]
    assert [parse(line).verb for line in commands] == ["score", "verdict"]
    assert known("slurm", parse(commands[0]).executor_options)


def test_the_ray_recipe_is_valid() -> None:
    job = yaml.safe_load((CLUSTER / "ray-kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    asked = parse(job["spec"]["entrypoint"])
    assert (asked.verb, asked.executor_name) == ("score", "ray") and known("ray", asked.executor_options)
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == workers["maxReplicas"] == asked.executor_workers
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    (each,) = workers["template"]["spec"]["containers"]
    assert each["resources"]["limits"]["nvidia.com/gpu"] == "1" and head["image"] == each["image"]
    mounted = {mount["name"] for mount in head["volumeMounts"]}
    assert mounted == {volume["name"] for volume in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}


def parse(line: str) -> Any:
    return _parser().parse_args(shlex.split(line)[1:])


def known(executor: str, options: dict[str, str]) -> bool:
    source = (ROOT / "tools" / "ggt_tools" / "executors" / f"{executor}.py").read_text()
    return bool(options) and all(f"{name}=" in source for name in options)
