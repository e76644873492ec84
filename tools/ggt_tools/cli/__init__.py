"""The command `ggt100k`: parses, calls the stage, prints. Nothing else prints, and no stage knows of a command line."""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import ggt100k
from ggt_tools.errors import ConfigError, GGTError, PairError
from ggt_tools.ledger import Ledger
from ggt_tools.records import Candidate, Photo, Refusal, Score, Verdict

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; 0 where it went well, 1 where it found faults, 2 where it could not do its work."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return int(options.run(options))
    except GGTError as fault:
        print(f"ggt100k {options.verb}: {_printable(str(fault))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone: no fault of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as fault:  # a full disk, a folder that may not be written
        print(f"ggt100k {options.verb}: {fault}; mend that and run it again, it goes on", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ggt100k {options.verb}: stopped; run it again and it goes on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ggt100k", description="Makes, judges and packs pairs for image restoration.")
    parser.add_argument("--version", action="version", version=f"ggt100k {ggt100k.__version__}")
    parser.add_argument("--verbose", action="store_true", help="say more on the way")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Any, about: str, *, changes: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=about, description=about)
        sub.set_defaults(run=run)
        if changes:
            sub.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
            sub.add_argument("--limit", type=_count, metavar="N", help="work on at most N")
        return sub

    sub = verb("ingest", _ingest, "take photographs into a workspace")
    sub.add_argument("folder", type=Path, help="photographs, and beside them credits.csv where there is one")
    sub.add_argument("workspace", type=Path)
    sub.add_argument("--licence", default="", help="of the files that credits.csv names none for")
    sub.add_argument("--source", default="captured", choices=ggt100k.SOURCES)
    sub.add_argument("--source-name", default="")

    sub = verb("restore", _restore, "make a candidate ground truth of each photograph")
    sub.add_argument("workspace", type=Path)
    sub.add_argument("--with", dest="restorer", default="classical", metavar="RESTORER", help="default: classical")
    sub.add_argument("--seed", type=_seed, default=0)

    sub = verb("score", _score, "measure each candidate against its photograph")
    sub.add_argument("workspace", type=Path, nargs="?")
    sub.add_argument("--metrics", default="core", help="core, weight-free, or names with commas between; default: core")
    sub.add_argument("--list", action="store_true", help="list the metrics and what runs here")

    sub = verb("verdict", _verdict, "judge every candidate by the gate: keep, reject or unsure")
    sub.add_argument("workspace", type=Path)
    sub.add_argument("--gate", type=Path, help="a gate file; default: the package's gate.toml")

    sub = verb("pack", _pack, "write what the gate keeps as a dataset folder")
    sub.add_argument("workspace", type=Path)
    sub.add_argument("out", type=Path)
    sub.add_argument("--version", default="1.0.0", help="of the dataset; default: 1.0.0")
    sub.add_argument("--test", type=float, default=0.005, help="share of the test split; default: 0.005")
    sub.add_argument("--codec", default="png", choices=ggt100k.CODECS, help="jpeg: a third of the size; default: png")
    sub.add_argument("--shard-bytes", type=_count, default=500_000_000, help="most bytes a shard; default: 500000000")

    sub = verb("validate", _validate, "hold a dataset folder against the format", changes=False)
    sub.add_argument("root")
    sub.add_argument("--json", type=Path, help="write the findings here, a JSON object a line")

    sub = verb("status", _status, "show the funnel of a workspace", changes=False)
    sub.add_argument("workspace", type=Path)

    sub = verb("demo", _demo, "the whole way once, on the sample's photographs", changes=False)
    sub.add_argument("folder", type=Path)
    return parser


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2**63 - 1")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


# --- the verbs ------------------------------------------------------------------------------------------------------


def _ingest(options: argparse.Namespace) -> int:
    from ggt_tools.ingest import CREDITS, IngestConfig, find_photos, ingest, known, read_credits
    from ggt_tools.png import encode_png

    config = IngestConfig(licence=options.licence, source=options.source, source_name=options.source_name)
    if not options.folder.is_dir():
        raise ConfigError(f"{options.folder}: no such folder; name the one that holds the photographs")
    credits = read_credits(options.folder)
    files = find_photos(options.folder)
    refused: Counter[str] = Counter()
    taken = 0
    if options.dry_run and not (options.workspace / "ledger.sqlite").exists():
        print(f"would look at {len(files)} files")
        return 0
    with Ledger(options.workspace, create=True) as ledger:
        photos = list(ledger.all(Photo))
        names = {photo.original: photo.file for photo in photos}
        keys = {photo.key: photo.file for photo in photos}
        new = [path for path in files if not known(path, path.relative_to(options.folder).as_posix(), names)]
        for photo in photos:  # a fact is not edited, and what it says of the licence goes with each pair
            now = credits.get(photo.file)
            if now and now.licence not in ("", photo.licence):
                said = f"{photo.file}: is in with the licence {photo.licence}, {CREDITS} says {now.licence}"
                print(f"ggt100k ingest: {said}; take it into a new workspace", file=sys.stderr)
        if options.dry_run:
            print(f"would look at {len(new)} files")
            return 0
        for found in _progress(ingest(new, config, root=options.folder, credits=credits), len(new), "ingest"):
            if not isinstance(found, Refusal) and found[0].key in keys:
                name, other = found[0].file, keys[found[0].key]
                found = Refusal(
                    file=name, reason="duplicate", detail=f"{name}: the same pixels as {other}; leave one out"
                )
            if isinstance(found, Refusal):
                ledger.add(found)
                refused[found.reason] += 1
                print(f"ggt100k ingest: {found.reason}: {_printable(found.detail)}", file=sys.stderr)
                continue
            photo, pixels = found
            ledger.add(_named(photo, ledger.put_image(encode_png(pixels))))
            keys[photo.key] = photo.file
            taken += 1
            if taken == options.limit:
                break
    _table("ingest", {"kept": taken, "there already": len(files) - len(new)}, rejected=refused)
    return 0


def _restore(options: argparse.Namespace) -> int:
    from ggt_tools.png import encode_png
    from ggt_tools.restore import candidate_id, restore
    from ggt_tools.restorers import restorer

    maker = restorer(options.restorer)
    with Ledger(options.workspace) as ledger:
        done = {candidate.id for candidate in ledger.all(Candidate)}
        photos = list(ledger.all(Photo))
        new = [photo for photo in photos if candidate_id(photo, maker, seed=options.seed) not in done]
        todo = new[: options.limit]
        if options.dry_run:
            print(f"would restore {len(todo)} photographs with {options.restorer}")
            return 0
        made, empty = 0, Counter[str]()
        work = ((photo, ggt100k.decode_image(ledger.image(photo.image), photo.file)) for photo in todo)
        results = restore(work, maker, clock=_now, seed=options.seed)
        for candidate, pixels in _progress(results, len(todo), "restore"):
            if pixels is None:
                ledger.add(candidate)
                empty[candidate.reason] += 1
            else:
                ledger.add(_named(candidate, ledger.put_image(encode_png(pixels))))
                made += 1
    _table("restore", {"made": made, "there already": len(photos) - len(new)}, rejected=empty)
    return 0


def _score(options: argparse.Namespace) -> int:
    from ggt_tools.score import available, score, versions

    if options.list:
        for name, runs, why in available():
            print(f"{name:<18} {'runs here' if runs else f'not here: {why}'}")
        return 0
    if options.workspace is None:
        raise ConfigError("name a workspace, or give --list")
    metrics = versions(options.metrics.split(","))
    with Ledger(options.workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        done = {(s.candidate, s.metric) for s in ledger.all(Score) if metrics.get(s.metric) == s.metric_version}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.image]
        missing = {c.id: [m for m in metrics if (c.id, m) not in done] for c in candidates}
        new = [candidate for candidate in candidates if missing[candidate.id]]
        todo = new[: options.limit]
        if options.dry_run:
            print(f"would measure {sum(len(missing[c.id]) for c in todo)} scores of {len(todo)} candidates")
            return 0
        measured, failed = 0, Counter[str]()
        for candidate in _progress(todo, len(todo), "score"):
            photo = photos[candidate.key]
            lq, gt = (
                ggt100k.decode_image(ledger.image(name), candidate.key) for name in (photo.image, candidate.image)
            )
            try:
                scores = list(score([(candidate.id, lq, gt)], missing[candidate.id]))
            except PairError as fault:
                print(f"ggt100k score: {fault}", file=sys.stderr)
                failed[fault.reason] += 1
                continue
            ledger.add(*scores)
            measured += len(scores)
    counts = {"scores": measured, "candidates": len(todo), "there already": len(candidates) - len(new)}
    _table("score", counts, failed=failed)
    return 0


def _verdict(options: argparse.Namespace) -> int:
    from ggt_tools.verdict import DEFAULT_GATE, load_gate, verdict

    path = options.gate or DEFAULT_GATE
    gate = load_gate(path)
    with Ledger(options.workspace) as ledger:
        seen = {photo.key: photo.degradations for photo in ledger.all(Photo)}
        judged = {verdict.candidate for verdict in ledger.all(Verdict) if verdict.gate == gate.id}
        candidates = sorted(ledger.all(Candidate), key=lambda candidate: candidate.id in judged)[: options.limit]
        verdicts = list(verdict(candidates, ledger.all(Score), seen, gate))
        if not options.dry_run:
            ledger.judge(gate.id, path.read_text(encoding="utf-8"), verdicts)
    _table(
        "verdict",
        {"kept": sum(v.decision == "keep" for v in verdicts)},
        rejected=Counter(v.reason for v in verdicts if v.decision == "reject"),
        unsure=Counter(v.reason for v in verdicts if v.decision == "unsure"),
    )
    return 0


def _pack(options: argparse.Namespace) -> int:
    from ggt_tools.pack import PackConfig, check_place, pack

    config = PackConfig(
        version=options.version, test=options.test, shard_bytes=options.shard_bytes, codec=options.codec
    )
    with Ledger(options.workspace) as ledger:
        pairs = list(islice(ledger.pairs(), options.limit))
        check_place(options.out)
        if options.dry_run:
            print(f"would pack {len(pairs)} pairs into {options.out}")
            return 0
        gates = {verdict.gate for verdict in ledger.all(Verdict)}
        if len(gates) > 1:
            raise ConfigError(f"{options.workspace}: judged by more than one gate; run verdict without --limit")
        (gate,) = gates
        with _Bar(len(pairs), "pack") as bar:
            manifest = pack(
                pairs, ledger, options.out, config,
                gate=ledger.gate_text(gate), funnel=ledger.funnel(), progress=bar.update,
            )  # fmt: skip
    counts = {split: about["pairs"] for split, about in manifest["splits"].items()}
    _table("pack", {**counts, "shards": len(manifest["shards"])})
    return 0


def _validate(options: argparse.Namespace) -> int:
    from ggt_tools.records import to_row
    from ggt_tools.validate import validate

    total = sum(about["pairs"] for about in ggt100k.open_root(options.root).manifest["splits"].values())
    lines, reasons = [], Counter[str]()
    with _Bar(total, "validate") as bar:
        for finding in validate(options.root, progress=bar.update):
            print(f"{finding.reason}: {_printable(str(finding))}")
            lines.append(json.dumps(to_row(finding)) + "\n")
            reasons[finding.reason] += 1
    if options.json:
        options.json.write_text("".join(lines), encoding="utf-8")
    _table("validate", {"pairs": total, "findings": reasons.total()}, found=reasons)
    return 1 if reasons else 0


def _status(options: argparse.Namespace) -> int:
    with Ledger(options.workspace) as ledger:
        funnel = ledger.funnel()
    print(f"{'stage':<10}{'entered':>9}{'left':>7}   why the others did not")
    for stage in funnel:
        print(f"{stage.stage:<10}{stage.entered:>9}{stage.left:>7}   {_reasons(stage.reasons)}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from ggt_tools.demo import demo

    def run(*argv: str) -> None:
        print(f"\n$ ggt100k {' '.join(argv)}", flush=True)
        if main(argv) != 0:
            raise ConfigError(f"the demo stops here: ggt100k {argv[0]} did not end well")

    for line in demo(options.folder, run):
        print(line, flush=True)
    return 0


# --- what a person sees ---------------------------------------------------------------------------------------------


def _table(verb: str, counts: dict[str, int], **reasons: Counter[str]) -> None:
    print(f"{verb}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    for name, counted in reasons.items():
        for reason, count in sorted(counted.items()):
            print(f"  {name} {count:>6}  {reason}")


def _printable(text: str) -> str:
    """A text from outside, harmless to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _reasons(reasons: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons)


class _Bar:
    """A progress bar on a terminal; elsewhere a line every half minute."""

    def __init__(self, total: int, what: str) -> None:
        from tqdm import tqdm

        every = 0.1 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(total=total, desc=what, file=sys.stderr, mininterval=every, delay=0 if every < 1 else every)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *rest: object) -> None:
        self._bar.close()

    def update(self, done: int) -> None:
        self._bar.update(done)


def _progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    with _Bar(total, what) as bar:
        for item in items:
            yield item
            bar.update(1)


def _named(record: Any, image: str) -> Any:
    import dataclasses

    return dataclasses.replace(record, image=image)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main())
