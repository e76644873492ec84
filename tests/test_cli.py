"""The command line: the whole chain on three photographs, repeated runs, and messages of errors."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.cli.show import complain
from ggt_tools.policy.verdicts import DEFAULT_GATE
from ggt_tools.records import Aligned, Candidate, Photo, Refusal, Score, Verdict
from ggt_tools.stages.align import VERSION
from ggt_tools.workspace.codec import to_row
from ggt_tools.workspace.ledger import Ledger

from .making import change_shard, picture

VERBS = (
    "ingest", "adopt", "prompt", "restore", "retry", "align", "score", "weights", "screen", "verdict", "refine",
    "review", "study", "calibrate", "report", "pack", "validate", "view", "card", "site", "push", "diff", "yank",
    "export",
    "export-ledger", "evaluate", "status", "reasons", "train-fidelity",
    "train-classes", "demo",
)  # fmt: skip
GATE = """
[must]
structure = { min = -1.0, reason = "another_scene", why = "Every photograph passes it." }
[degradation.haze]
structure = { min = 2.0 }
[gain.other]
reason = "no_gain"
why = "Every photograph passes it."
any = { structure = { min = -1.0 } }
[best]
by = ["structure"]
"""


@dataclass(frozen=True)
class Done:
    """What a run of the command left: its exit status, and what it wrote."""

    code: int
    out: str
    err: str


BAR = re.compile(r"\r[^\r\n]*\n?")  # comes where a stage takes long, as on a machine that others keep busy


def ggt(*argv: str | Path) -> Done:
    """Runs the command in this process. Progress is left out."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(arg) for arg in argv])
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), BAR.sub("", err.getvalue()))


def well(*argv: str | Path) -> str:
    """Run the command, which must succeed with an empty stderr, and return its stdout."""
    done = ggt(*argv)
    assert (done.code, done.err) == (0, ""), done
    return done.out


def crop(index: int) -> Image.Image:
    """512 x 512 out of a photograph of the sample."""
    path = sorted(ggt100k.sample_folder().glob("*.jpg"))[index]
    return Image.open(path).convert("RGB").crop((0, 0, 512, 512))


def photographs(folder: Path, count: int = 3) -> Path:
    """`count` photographs with credits: rain, snow, and the rest haze."""
    folder.mkdir()
    lines = ["file,licence,author,degradation"]
    for index in range(count):
        crop(index).save(folder / f"{index}.png")
        lines.append(f"{index}.png,CC0-1.0,Zoë,{('rain', 'snow', 'haze')[min(index, 2)]}")
    (folder / "credits.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def facts(workspace: Path) -> dict[str, list[str]]:
    """Every row of the ledger, as text, so that NaN equals NaN."""
    with Ledger(workspace) as ledger:
        kinds = (Photo, Refusal, Candidate, Aligned, Score, Verdict)
        return {kind.__name__: [str(to_row(record)) for record in ledger.all(kind)] for kind in kinds}


@dataclass(frozen=True)
class Chain:
    """Run the chain once; return the output of each command, and the workspace after each."""

    photos: Path
    gate: Path
    workspace: Path
    out: Path
    said: dict[str, str]
    after: dict[str, Path]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    home = tmp_path_factory.mktemp("chain")
    photos, gate, workspace, out = photographs(home / "photos"), home / "gate.toml", home / "workspace", home / "out"
    gate.write_text(GATE, encoding="utf-8")
    said, after = {}, {}
    verbs: list[tuple[str | Path, ...]] = [
        ("ingest", photos, workspace),
        ("restore", workspace),
        ("align", workspace),
        ("score", workspace, "--metrics", "core"),
        ("verdict", workspace, "--gate", gate),
        ("pack", workspace, out, "--test", "0.5"),
        ("validate", out),
        ("status", workspace),
    ]
    for argv in verbs:
        verb = str(argv[0])
        said[verb] = well(*argv)
        after[verb] = home / f"after-{verb}"
        shutil.copytree(workspace, after[verb])
    return Chain(photos, gate, workspace, out, said, after)


@pytest.fixture
def copy(chain: Chain, tmp_path: Path) -> Callable[[str], Path]:
    """A workspace of one's own, as a verb left it."""
    return lambda verb: Path(shutil.copytree(chain.after[verb], tmp_path / "w"))


# --- help -----------------------------------------------------------------------------------------------------------


def test_help_names_every_verb() -> None:
    said = well("--help")
    assert re.findall(r"^    ([\w-]+)\b", said, re.M) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb: str) -> None:
    said = well(verb, "--help")
    assert said.startswith(f"usage: ggt100k {verb} ")
    reading = (
        *("review", "report", "validate", "view", "card", "site", "diff", "export-ledger", "evaluate", "status"),
        *("reasons", "demo", "weights"),
    )
    whole = ("push", "export", "train-classes")
    assert ("--dry-run" in said, "--limit N" in said) == (verb not in reading, verb not in (*reading, *whole))


@pytest.mark.parametrize("verb", VERBS)
def test_each_help_is_whole_sentences_with_one_example_that_parses(verb: str) -> None:
    from ggt_tools.cli import _parser, verb_module

    module = verb_module(verb)
    parser = _parser()
    assert _parser().parse_args(shlex.split(module.EXAMPLE)[1:]).verb == verb
    (verbs,) = (action for action in parser._actions if action.dest == "verb")
    assert isinstance(verbs.choices, dict)
    sub = verbs.choices[verb]
    assert sub.epilog == f"example:\n  {module.EXAMPLE}"
    assert re.fullmatch(r"[A-Z].*\.", sub.description)
    for action in sub._actions[1:]:  # without argparse's own --help
        text = str(action.help)
        assert re.fullmatch(r"[A-Z].*\.", text), (action.dest, text)
        if "=" not in text and action.option_strings and action.nargs != 0 and action.default and not action.required:
            assert "(default: " in text or action.default == [], (action.dest, text)


def test_the_help_of_score_names_every_set() -> None:
    from ggt_tools.metrics.scorer import SETS

    assert f"Sets ({', '.join(SETS)}) or names of metrics" in " ".join(well("score", "--help").split())


def run_module(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ggt_tools.cli", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_reasons_explains_a_code_and_suggests_one_that_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reasons", "unmeasured_lpips"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "unmeasured_METRIC (verdict)" and len(lines) == 3
    assert main(["reasons"]) == 0
    assert len(capsys.readouterr().out.splitlines()) % 3 == 0
    assert main(["reasons", "near_duplicat"]) == 2
    assert capsys.readouterr().err.endswith("near_duplicat: is not a reason code. Did you mean near_duplicate?\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["restor"], "ggt100k: restor: is not a command. Did you mean restore? List all commands: ggt100k --help"),
        (["qqq"], "ggt100k: qqq: is not a command. List all commands: ggt100k --help"),
        (
            ["ingest", "a", "b", "--license", "MIT"],
            "ggt100k ingest: --license: is not an option. Did you mean --licence? "
            "List all options: ggt100k ingest --help",
        ),
        (
            ["ingest", "a", "b", "c"],
            "ggt100k ingest: c: is one argument too many. List all options: ggt100k ingest --help",
        ),
    ],
)
def test_what_is_misspelt_is_named(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err == f"{message}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "completions"),
    [("ggt100k ing", {"ingest "}), ("ggt100k ingest a b --lic", {"--licence "}), ("ggt100k reas", {"reasons "})],
)
def test_the_shell_completes_commands_and_options(line: str, completions: set[str], tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    answer = {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"), "_ARGCOMPLETE_IFS": "|", "_ARGCOMPLETE": "1"}
    environment = os.environ | answer | {"COMP_LINE": line, "COMP_POINT": str(len(line)), "PROGNAME": "ggt100k"}
    subprocess.run([sys.executable, "-m", "ggt_tools.cli"], env=environment, check=True)
    assert set((tmp_path / "out").read_text().split("|")) == completions


def test_the_version() -> None:
    done = run_module("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ggt100k {ggt100k.__version__}\n", "")


def test_help_waits_for_no_heavy_import() -> None:
    code = """
import sys
from ggt_tools.cli import main
from ggt_tools.cli.show import complain
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"torch", "cv2", "pyiqa", "ncnn", "datasets", "pandas", "pyarrow", "numpy", "PIL", "openai", "google.genai"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "[]", "")


@pytest.mark.slow
def test_status_waits_for_no_heavy_import(tmp_path: Path) -> None:
    with Ledger(tmp_path / "w", create=True):
        pass
    code = f"""
import sys
from ggt_tools.cli import main
from ggt_tools.cli.show import complain
print(main(["status", {str(tmp_path / "w")!r}]))
heavy = {{"torch", "cv2", "pyiqa", "ncnn", "datasets", "pandas", "openai", "google.genai", "httpx"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines()[-2:], done.stderr) == (["0", "[]"], "")


# --- the chain ------------------------------------------------------------------------------------------------------


def test_each_verb_prints_its_summary(chain: Chain) -> None:
    with Ledger(chain.workspace) as ledger:
        metrics = len({score.metric for score in ledger.all(Score)})
    assert metrics > 5
    assert chain.said["ingest"] == "ingest: 3 imported, 0 already done\n"
    assert chain.said["restore"] == "restore: 3 made, 0 already done\n"
    assert chain.said["align"].splitlines()[0] == "align: 3 aligned, 0 already done"
    assert chain.said["score"] == f"score: {3 * metrics} scores, 3 candidates, 0 already done\n"
    assert chain.said["verdict"] == "verdict: 2 kept\n  rejected      1  another_scene\n"
    assert chain.said["validate"] == "validate: 2 pairs, 0 findings\n"
    pairs = {split: int(count) for count, split in re.findall(r"(\d+) (train|test)", chain.said["pack"])}
    assert sum(pairs.values()) == 2
    assert chain.said["pack"].startswith("pack: ")
    assert chain.said["pack"].endswith(", 2 shards\n")


def test_status_prints_the_funnel(chain: Chain) -> None:
    assert chain.said["status"].splitlines() == [
        "stage       entered   left   why the others did not",
        "ingest            3      3   ",
        "restore           3      3   ",
        "align             3      3   ",
        "verdict           3      2   1 another_scene",
        "",
        "degradation  photographs  made  kept  rejected  unsure",
        "haze                   1     1     0         1       0",
        "rain                   1     1     1         0       0",
        "snow                   1     1     1         0       0",
        "",
        "restorer     prompt  degradation  candidates  made  failed  in_flight  kept  rejected  unsure   usd",
        "classical-1  none    haze                  1     1       0          0     0         1       0  0.00",
        "classical-1  none    rain                  1     1       0          0     1         0       0  0.00",
        "classical-1  none    snow                  1     1       0          0     1         0       0  0.00",
    ]


def test_pairs_round_trip_through_the_chain(chain: Chain) -> None:
    manifest = json.loads((chain.out / "index" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["gate"] == GATE
    assert [stage["left"] for stage in manifest["funnel"]] == [3, 3, 3, 2]
    pairs = [
        pair
        for split in manifest["splits"]
        for pair in ggt100k.load_dataset(data_dir=str(chain.out), split=split, streaming=True)
    ]
    originals = {ggt100k.pair_key(np.asarray(crop(index))): index for index in range(3)}
    assert sorted(originals[pair["key"]] for pair in pairs) == [0, 1]
    for pair in pairs:
        assert np.array_equal(np.asarray(pair["lq"]), np.asarray(crop(originals[pair["key"]])))
        assert ggt100k.DEGRADATIONS[pair["degradation"]] == ("rain", "snow")[originals[pair["key"]]]
        assert (pair["author"], pair["licence"]) == ("Zoë", "CC0-1.0")


@pytest.mark.slow
def test_a_second_run_repeats_nothing(chain: Chain, copy: Callable[[str], Path], tmp_path: Path) -> None:
    workspace = copy("status")
    before, images = facts(workspace), files(workspace / "images")
    assert well("ingest", chain.photos, workspace) == "ingest: 0 imported, 3 already done\n"
    assert well("restore", workspace) == "restore: 0 made, 3 already done\n"
    assert well("align", workspace) == "align: 0 aligned, 3 already done\n"
    assert well("score", workspace, "--metrics", "core") == "score: 0 scores, 0 candidates, 3 already done\n"
    assert well("verdict", workspace, "--gate", chain.gate) == chain.said["verdict"]
    assert facts(workspace) == before
    assert files(workspace / "images") == images
    out = Path(shutil.copytree(chain.out, tmp_path / "out"))
    assert well("pack", workspace, out, "--test", "0.5") == chain.said["pack"]
    assert files(out) == files(chain.out)


@pytest.mark.parametrize(
    ("verb", "after", "said"),
    [
        ("restore", "ingest", "would restore 3 photographs with classical\n"),
        ("align", "restore", "would align 3 candidates\n"),
        ("score", "align", r"would measure \d+ scores of 3 candidates\n"),
        ("verdict", "score", "verdict: 2 kept\n  rejected      1  another_scene\n"),
        ("pack", "verdict", "would pack 2 pairs into .*\nAll 2 pairs would be in the train split, .*\n"),
    ],
)
def test_a_dry_run_changes_nothing(
    chain: Chain, copy: Callable[[str], Path], tmp_path: Path, verb: str, after: str, said: str
) -> None:
    workspace = copy(after)
    before = files(tmp_path)
    more: dict[str, tuple[str | Path, ...]] = {"verdict": ("--gate", chain.gate), "pack": (tmp_path / "out",)}
    more["score"] = ("--metrics", "core")  # the set text may be missing
    assert re.fullmatch(said, well(verb, workspace, *more.get(verb, ()), "--dry-run"))
    assert files(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_align_undoes_colours_on_request_and_keeps_what_it_undid(tmp_path: Path) -> None:
    """Three photographs, rain, snow and haze; of the last the colours are no target."""
    workspace = tmp_path / "w"
    well("ingest", photographs(tmp_path / "photos"), workspace)
    with Ledger(workspace) as ledger:
        photos = {photo.degradation: photo for photo in ledger.all(Photo)}
        for number, photo in enumerate(photos.values()):
            lq = np.asarray(Image.open(io.BytesIO(ledger.image(photo.image))).convert("RGB"))
            reply = io.BytesIO()
            Image.fromarray(np.asarray(lq * [0.94, 1.0, 0.9], np.uint8)).save(reply, "PNG")
            made = {"restorer": "model", "strategy": "none", "prompt": "", "round": 0, "seed": 0}
            image = ledger.put_image(reply.getvalue())
            candidate = Candidate(
                id=str(number) * 16, key=photo.key, created="2026-01-01T00:00:00Z", image=image, reason="", **made
            )  # type: ignore[arg-type]
            ledger.add(candidate)

    def told() -> dict[str, tuple[str, bool, bool]]:
        with Ledger(workspace) as ledger:
            keys = {candidate.id: candidate.key for candidate in ledger.all(Candidate)}
            classes = {photo.key: photo.degradation for photo in ledger.all(Photo)}
            scored = {score.candidate for score in ledger.all(Score) if score.metric == "uncorrected_colour_cast"}
            return {
                classes[keys[a.candidate]]: (a.version[len(VERSION) :], len(a.colour) == 9, a.candidate in scored)
                for a in ledger.all(Aligned)
            }

    plain = dict.fromkeys(("rain", "snow", "haze"), ("", False, False))
    mapped = plain | dict.fromkeys(("rain", "snow"), ("-colour", True, True))
    well("align", workspace)
    assert told() == plain
    assert well("align", workspace, "--colour").startswith("align: 2 aligned, 1 already done")
    assert told() == mapped
    with Ledger(workspace) as ledger:
        for scores in ledger.scores().values():
            assert (
                math.isnan(scores["align_colour_after"]) or scores["align_colour_after"] < scores["align_colour_before"]
            )
    assert well("align", workspace).startswith("align: 0 aligned, 3 already done")
    assert well("align", workspace, "--no-colour").startswith("align: 2 aligned, 1 already done")
    assert told() == plain


def test_a_dry_run_of_ingest_makes_no_workspace(chain: Chain, tmp_path: Path) -> None:
    assert well("ingest", chain.photos, tmp_path / "w", "--dry-run") == "would look at 3 files\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_limit_is_kept_and_the_next_run_takes_the_next(chain: Chain, tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    assert well("ingest", chain.photos, workspace, "--limit", "2").startswith("ingest: 2 imported, ")
    assert well("restore", workspace, "--limit", "1").startswith("restore: 1 made, ")
    assert well("align", workspace).splitlines()[0] == "align: 1 aligned, 0 already done"
    assert well("score", workspace, "--limit", "1", "--metrics", "structure").startswith(
        "score: 1 scores, 1 candidates"
    )
    assert [len(facts(workspace)[kind]) for kind in ("Photo", "Candidate", "Score")] == [2, 1, 1]
    assert well("ingest", chain.photos, workspace, "--limit", "2") == "ingest: 1 imported, 2 already done\n"
    assert well("restore", workspace, "--limit", "1", "--dry-run") == "would restore 1 photographs with classical\n"
    assert len(facts(workspace)["Photo"]) == 3


def test_two_folders_may_have_equal_file_names(chain: Chain, tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    for which, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        crop(which).save(tmp_path / folder / "IMG_1.png")
    for folder in ("one", "two"):
        said = well("ingest", tmp_path / folder, workspace, "--licence", "CC0-1.0")
        assert said == "ingest: 1 imported, 0 already done\n"
    assert len(facts(workspace)["Photo"]) == 2
    assert well("ingest", tmp_path / "two", workspace, "--licence", "CC0-1.0") == "ingest: 0 imported, 1 already done\n"


def test_a_part_judged_by_another_gate_is_not_packed(copy: Callable[[str], Path], tmp_path: Path) -> None:
    workspace = copy("verdict")
    gate = tmp_path / "gate.toml"
    gate.write_text(DEFAULT_GATE.read_text(encoding="utf-8") + "# another\n", encoding="utf-8")
    well("verdict", workspace, "--gate", gate, "--limit", "1")
    assert len(facts(workspace)["Verdict"]) == 3
    done = ggt("pack", workspace, tmp_path / "out")
    said = (
        f"ggt100k pack: {workspace}: the candidates were judged by more than one gate. "
        f"Judge all by one: ggt100k verdict {workspace} --gate GATE\n"
    )
    assert (done.code, done.err) == (2, said)


def test_a_candidate_that_cannot_be_measured_does_not_stop_the_others(copy: Callable[[str], Path]) -> None:
    workspace = copy("align")
    with Ledger(workspace) as ledger:
        odd = next(ledger.all(Candidate))
        small = ledger.put_image(encode_png(picture(1)))
        ledger.add(
            dataclasses.replace(odd, id="f" * 16, image=small),
            Aligned(candidate="f" * 16, version="align-2", image=small, reason=""),
        )
    done = ggt("score", workspace, "--metrics", "structure")
    lines = ["score: 3 scores, 4 candidates, 0 already done", "  failed      1  size_differs"]
    assert (done.code, done.out.splitlines()) == (0, lines)
    assert "Align the candidate first." in done.err
    assert ggt("score", workspace, "--metrics", "structure").code == 0, "the others were measured before"


@pytest.mark.parametrize("seed", ["-1", str(2**63)])
def test_a_seed_that_the_ledger_cannot_hold(seed: str, tmp_path: Path) -> None:
    done = ggt("restore", tmp_path, "--seed", seed)
    assert done.code == 2
    assert f"argument --seed: {seed} is not between 0 and 2**63 - 1" in done.err


def test_what_is_not_aligned_is_not_measured(copy: Callable[[str], Path]) -> None:
    workspace = copy("restore")
    done = ggt("score", workspace, "--metrics", "core")
    said = f"ggt100k score: {workspace}: nothing is aligned. Run: ggt100k align {workspace}\n"
    assert (done.code, done.err) == (2, said)


def test_only_missing_scores_are_measured(copy: Callable[[str], Path]) -> None:
    workspace = copy("align")
    assert well("score", workspace, "--metrics", "structure").startswith("score: 3 scores, 3 candidates, ")
    assert well("score", workspace, "--metrics", "structure,shift").startswith("score: 3 scores, 3 candidates, ")
    with Ledger(workspace) as ledger:
        assert sorted(score.metric for score in ledger.all(Score)) == ["shift"] * 3 + ["structure"] * 3


def test_another_seed_is_another_candidate(copy: Callable[[str], Path]) -> None:
    workspace = copy("restore")
    assert well("restore", workspace, "--seed", "1", "--limit", "1").startswith("restore: 1 made, ")
    assert len(facts(workspace)["Candidate"]) == 4


def test_the_packages_own_gate_judges_too(copy: Callable[[str], Path]) -> None:
    workspace = copy("score")
    said = well("verdict", workspace)
    with Ledger(workspace) as ledger:
        verdicts = list(ledger.all(Verdict))
        assert "[must]" in ledger.gate_text(verdicts[0].gate)
    assert len(verdicts) == 3
    assert all(verdict.evidence for verdict in verdicts)
    assert said.startswith(f"verdict: {sum(v.decision == 'keep' for v in verdicts)} kept\n")


def test_rejected_files_are_counted_by_reason(chain: Chain, tmp_path: Path) -> None:
    folder, workspace = Path(shutil.copytree(chain.photos, tmp_path / "photos")), tmp_path / "w"
    crop(0).save(folder / "again.bmp")
    crop(3).resize((300, 300)).save(folder / "small.png")
    (folder / "text.png").write_text("no image")
    crop(3).save(folder / "unlicensed.png")
    with (folder / "credits.csv").open("a", encoding="utf-8") as credits:
        credits.write("\nagain.bmp,MIT\nsmall.png,MIT\ntext.png,MIT\n../x,MIT\n")
    reasons = ["duplicate", "no_licence", "not_an_image", "too_small"]
    lines = [f"  rejected      1  {reason}" for reason in reasons]
    for taken in ("3 imported, 0 already done", "0 imported, 3 already done"):
        done = ggt("ingest", folder, workspace)
        assert (done.code, done.out.splitlines()) == (0, [f"ingest: {taken}", *lines])
        warnings = [line.split(": ")[1] for line in done.err.splitlines()]
        assert sorted(warnings) == reasons
    with Ledger(workspace) as ledger:
        refused = {refusal.file: refusal for refusal in ledger.all(Refusal)}
    assert sorted(refusal.reason for refusal in refused.values()) == reasons
    assert refused["again.bmp"].detail == "again.bmp: 0.png has the same pixels. Leave one of them out."
    assert refused["small.png"].detail.startswith("small.png: the image is 300 x 300, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "w"]
    said = ggt("ingest", folder, workspace, "--licence", "CC0-1.0").out.splitlines()
    assert said == ["ingest: 1 imported, 3 already done", lines[0], *lines[2:]], "what was corrected is imported"
    funnel = "ingest            7      4   1 duplicate, 1 not_an_image, 1 too_small"
    assert well("status", workspace).splitlines()[1] == funnel


# --- faults ---------------------------------------------------------------------------------------------------------


def fails(*argv: str | Path) -> str:
    """Runs the command, which cannot do its work: exit 2, nothing on stdout, one line on stderr. The line."""
    done = ggt(*argv)
    assert (done.code, done.out) == (2, ""), done
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith(f"ggt100k {argv[0]}: ")
    return done.err.removeprefix(f"ggt100k {argv[0]}: ").rstrip("\n")


@pytest.mark.parametrize("verb", ["restore", "score", "screen", "verdict", "refine", "pack", "status"])
def test_an_unknown_workspace(tmp_path: Path, verb: str) -> None:
    w = tmp_path / "nowhere"
    said = f"{w}: has no ledger.sqlite, so it is not a workspace. Create one: ggt100k ingest PHOTOS {w}"
    assert fails(verb, w, *([tmp_path / "out"] if verb == "pack" else [])) == said
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_restorer(copy: Callable[[str], Path]) -> None:
    said = fails("restore", copy("ingest"), "--with", "clasical")
    assert said.startswith("no restorer is named 'clasical'. Did you mean classical? The restorers are: classical, ")


def test_an_unknown_metric(copy: Callable[[str], Path]) -> None:
    assert "'strukture'" in fails("score", copy("restore"), "--metrics", "strukture")


def test_a_missing_gate_is_an_error(copy: Callable[[str], Path], tmp_path: Path) -> None:
    assert fails("verdict", copy("score"), "--gate", tmp_path / "no.toml").startswith(f"{tmp_path / 'no.toml'}: ")


def test_no_folder_of_photographs(tmp_path: Path) -> None:
    said = f"{tmp_path / 'no'}: there is no such folder or file. Name the folder that holds the photographs."
    assert fails("ingest", tmp_path / "no", tmp_path / "w") == said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_photographs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = fails("ingest", tmp_path / "empty", tmp_path / "w")
    kinds = ".jpg, .jpeg, .jpe, .jfif, .mpo, .png, .webp, .tif, .tiff, .bmp, .avif, .heic, .heif"
    assert said == f"{tmp_path / 'empty'}: no photograph is in it. ingest reads {kinds}."
    assert not (tmp_path / "w").exists()


def test_pack_before_verdict(copy: Callable[[str], Path], tmp_path: Path) -> None:
    w = copy("score")
    assert fails("pack", w, tmp_path / "out") == f"{w}: nothing has been judged. Run: ggt100k verdict {w}"


def test_nothing_to_pack(copy: Callable[[str], Path], tmp_path: Path) -> None:
    w, gate, out = copy("score"), tmp_path / "gate.toml", tmp_path / "out"
    gate.write_text(GATE.replace("min = -1.0", "min = 2.0"), encoding="utf-8")
    assert well("verdict", w, "--gate", gate) == "verdict: 0 kept\n  rejected      3  another_scene\n"
    said = f"{out}: the gate keeps no pair, so there is nothing to pack. See why: ggt100k verdict WORKSPACE"
    assert fails("pack", w, out) == said
    assert not out.exists()


def test_pack_refuses_a_folder_with_other_files(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    said = f"{tmp_path}: holds other files than a release. Name another folder."
    assert fails("pack", chain.workspace, tmp_path) == said
    assert files(tmp_path) == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--version", "1.0", "--version 1.0: is not a version. Give three numbers, for example 1.1.0."),
        ("--test", "1.5", "--test 1.5: is neither a number of pairs nor a share. Give 500, or 0.1."),
    ],
)
def test_wrong_options_of_pack_are_errors(chain: Chain, tmp_path: Path, option: str, value: str, said: str) -> None:
    assert fails("pack", chain.workspace, tmp_path / "out", option, value) == said


def test_a_lost_image_is_named(copy: Callable[[str], Path]) -> None:
    workspace = copy("ingest")
    with Ledger(workspace) as ledger:
        name = next(ledger.all(Photo)).image
    path = workspace / "images" / name[:2] / name
    path.unlink()
    said = f"{path}: the ledger names it, but it is missing. Restore the workspace from its backup."
    assert fails("restore", workspace) == said


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_must_be_a_number(tmp_path: Path, limit: str) -> None:
    done = ggt("restore", tmp_path, "--limit", limit)
    assert done.code == 2
    assert "argument --limit: " in done.err.splitlines()[-1]


def test_the_exit_status_of_a_process(tmp_path: Path) -> None:
    done = run_module("status", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# --- validate -------------------------------------------------------------------------------------------------------


def test_validate_prints_and_writes_its_findings(chain: Chain, tmp_path: Path) -> None:
    out = Path(shutil.copytree(chain.out, tmp_path / "out"))
    (out / "data" / "rain" / "stray.txt").write_text("stray")
    shard = change_shard(out, lambda data: data.replace(b"CC0-1.0", b"CC0-9.9", 1))
    done = ggt("validate", out, "--findings", tmp_path / "findings.jsonl")
    assert (done.code, done.err) == (1, "")
    rows: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()]
    assert [(row["reason"], row["shard"]) for row in rows] == [
        ("unknown_file", "data/rain/stray.txt"),
        ("json_differs", shard),
    ]
    assert all(list(row) == ["shard", "key", "offset", "reason", "detail", "fix"] for row in rows)
    lines = done.out.splitlines()
    said = "the manifest does not name it. Delete it, or pack the release again."
    assert lines[0] == f"unknown_file: data/rain/stray.txt: {said}"
    assert lines[1].startswith(f"json_differs: {shard}: key {rows[1]['key']}: byte {rows[1]['offset']}: ")
    assert lines[2:] == [
        "validate: 2 pairs, 2 findings",
        "  found      1  json_differs",
        "  found      1  unknown_file",
    ]


def test_validate_without_findings_writes_an_empty_list(chain: Chain, tmp_path: Path) -> None:
    assert well("validate", chain.out, "--findings", tmp_path / "findings.jsonl") == chain.said["validate"]
    assert (tmp_path / "findings.jsonl").read_bytes() == b""


def test_validate_refuses_a_folder_without_a_dataset(tmp_path: Path) -> None:
    said = "the folder has no index/manifest.json. Name a folder that `ggt100k pack` has written, or its URL."
    assert fails("validate", tmp_path) == f"{tmp_path}: {said}"


@pytest.mark.slow
def test_metrics_are_listed() -> None:
    said = well("score", "--list")
    assert re.search(r"^structure +runs here$", said, re.M)


# --- stopped in the middle ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="wants kill -9")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_restore_continues_without_repetition(tmp_path: Path, how: signal.Signals, code: int) -> None:
    count = 3
    workspace = tmp_path / "w"
    well("ingest", photographs(tmp_path / "photos", count), workspace)
    process = subprocess.Popen(
        [sys.executable, "-m", "ggt_tools.cli", "restore", workspace],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    try:
        with Ledger(workspace) as ledger:
            while not (made := list(ledger.all(Candidate))):
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert err == ("" if code < 0 else "ggt100k restore: stopped. Run the command again: it continues.\n")
    with Ledger(workspace) as ledger:
        made = list(ledger.all(Candidate))
    assert 0 < len(made) < count, "it was stopped in the middle"
    images = {path: path.stat().st_mtime_ns for path in (workspace / "images").glob("*/*") if path.suffix != ".part"}
    said = well("restore", workspace)
    assert said == f"restore: {count - len(made)} made, {len(made)} already done\n"
    with Ledger(workspace) as ledger:
        photos, candidates = list(ledger.all(Photo)), list(ledger.all(Candidate))
        assert sorted(c.key for c in candidates) == [photo.key for photo in photos]
        assert [c for c in candidates if c in made] == made, "what was made stays as it was"
        named = {c.image for c in candidates} | {photo.image for photo in photos}
        assert all(ledger.image(name) for name in named)
    assert {path.name for path in (workspace / "images").glob("*/*") if path.suffix != ".part"} == named
    assert all(path.stat().st_mtime_ns == when for path, when in images.items()), "no image is written twice"


def test_a_message_of_several_lines_is_indented_and_shows_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    complain("evaluate", "nothing was found:\n  a\x1b[31m\nggt100k evaluate: fine")
    assert capsys.readouterr().err == (
        "ggt100k evaluate: nothing was found:\n    a\\x1b[31m\n  ggt100k evaluate: fine\n"
    )
