"""The command `ggt100k`: parses, calls the stage, prints. Nothing else prints, and no stage knows of a command line.

A verb is a module here: its docstring is its help, `arguments(parser)` adds its options, `run(options)` does it and
gives the exit status. What a verb needs it imports within run(), so that --help needs neither torch nor an SDK.
"""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import sys
from collections.abc import Sequence
from types import ModuleType

import ggt_format
from ggt_tools.cli import (
    adopt,
    align,
    calibrate,
    card,
    demo,
    diff,
    evaluate,
    export,
    export_ledger,
    ingest,
    pack,
    prompt,
    push,
    reasons,
    refine,
    report,
    restore,
    retry,
    review,
    score,
    screen,
    status,
    study,
    train_witness,
    validate,
    verdict,
    yank,
)
from ggt_tools.cli.show import complain, count
from ggt_tools.errors import GGTError

VERBS = (
    ingest, adopt, prompt, restore, retry, align, score, screen, verdict, refine, review, study, calibrate, report,
    pack, validate, card, push, diff, yank, export, export_ledger, evaluate, status, reasons, train_witness, demo,
)  # fmt: skip
# change nothing by themselves: no --dry-run, no --limit
READING = (review, report, validate, card, diff, export_ledger, evaluate, status, reasons, demo)
WHOLE = (push, export)  # all or nothing: no --limit


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; 0 where it went well, 1 where it found faults, 2 where it could not do its work."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return int(options.run(options))
    except GGTError as fault:
        complain(options.verb, str(fault))
        return 2
    except BrokenPipeError:  # the reader of our output has gone: no fault of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except sqlite3.Error as fault:
        complain(options.verb, f"the ledger: {fault}; is the disk full? mend that and run it again, it goes on")
        return 2
    except OSError as fault:  # a full disk, a folder that may not be written
        complain(options.verb, f"{fault}; mend that and run it again, it goes on")
        return 2
    except KeyboardInterrupt:
        complain(options.verb, "stopped; run it again and it goes on")
        return 130


def _name(verb: ModuleType) -> str:
    return verb.__name__.rpartition(".")[2].replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ggt100k", description="Make, judge, publish and use pairs of photographs for image restoration."
    )
    parser.add_argument("--version", action="version", version=f"ggt100k {ggt_format.__version__}")
    parser.add_argument("--verbose", action="store_true", help="Print progress messages of the libraries too.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        about = str(verb.__doc__)
        sub = verbs.add_parser(
            _name(verb),
            help=about,
            description=about,
            epilog=f"example:\n  {verb.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=verb.run)
        verb.arguments(sub)
        if verb not in READING:
            sub.add_argument("--dry-run", action="store_true", help="Say what would be done, and change nothing.")
        if verb not in (*READING, *WHOLE):
            sub.add_argument(
                "--limit", type=count, metavar="N", help="Work on at most N photographs, candidates or pairs."
            )
    return parser
