"""The command `ggt100k`: parses, calls the stage, prints. Nothing else prints, and no stage knows of a command line.

A verb is a module here: `arguments(parser)` adds its options, `run(options)` does it and returns the exit status, and
its EXAMPLE is shown by --help. Only the module of the verb that is called is imported, so that the command starts fast.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ggt_format
from ggt_tools.cli.show import complain, count
from ggt_tools.errors import GGTError
from ggt_tools.workspace.database import translated

# each verb's summary, in the order of --help; the module has the verb's name, with _ for -
VERBS = {
    "ingest": "Import photographs into a workspace.",
    "adopt": "Import pairs that were made elsewhere.",
    "prompt": "Write a prompt for each photograph.",
    "restore": "Make candidates: let restorers restore the photographs.",
    "retry": "Retry what restore could not make, by the reason of the failure.",
    "align": "Warp each candidate into the frame of its photograph.",
    "score": "Measure each candidate against its photograph.",
    "weights": "List the weights that metrics need, with licences; check a folder, or download them.",
    "screen": "Let a vision-language model judge each candidate.",
    "verdict": "Apply the gate to every candidate: keep, reject or unsure.",
    "refine": "Restore rejected photographs again, and tell the restorer what was wrong.",
    "review": "Open a local page on which people judge pairs.",
    "study": "Compare restorers and prompts by a plan, and recommend one.",
    "calibrate": "Fit the gate to people's decisions at a stated rate of false accepts.",
    "report": "Write one HTML page about a workspace.",
    "pack": "Write the kept pairs as a release; with --base as the next version of one.",
    "validate": "Check a release, a folder or URL, against the format. Nothing is repaired.",
    "card": "Write the README, licences, figures and Croissant file of a release.",
    "push": "Publish a release on the Hub: one commit, then the tag.",
    "diff": "Show what changed between two versions, and write the change log entry.",
    "yank": "Withdraw pairs: the next version leaves them out, and the ledger keeps the reason.",
    "export": "Write pairs in the layout of other training code.",
    "export-ledger": "Write every table of the ledger as parquet.",
    "evaluate": "Score a model's outputs against the ground truth of a split, by degradation.",
    "status": "Show how many photographs entered and left each stage.",
    "reasons": "Explain a reason code, or list all of them.",
    "train-fidelity": "Train the fidelity model on synthetic faults of clean photographs.",
    "train-classes": "Train the classifier of photographs on synthetic and labelled degradations.",
    "demo": "Run the whole pipeline once on the sample's photographs.",
}
READING = (
    *("review", "report", "validate", "card", "diff", "export-ledger", "evaluate", "status", "reasons", "demo"),
    "weights",  # without --fetch it is its own dry run
)
WHOLE = ("push", "export", "train-classes")  # all or nothing: they have no --limit


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0 where it is done, 1 where it has findings, 2 where input or set-up are wrong."""
    argv = sys.argv[1:] if argv is None else argv
    options = _parser(next((word for word in argv if not word.startswith("-")), "")).parse_args(argv)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return int(options.run(options))
    except GGTError as fault:
        complain(options.verb, str(fault))
        return 2
    except BrokenPipeError:  # the reader of our output has gone: no fault of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except sqlite3.Error as fault:  # where no transaction has named the file
        file = getattr(options, "workspace", None) or Path()
        complain(options.verb, str(translated(file / "ledger.sqlite", fault)))
        return 2
    except OSError as fault:  # a full disk, a folder that may not be written
        complain(options.verb, f"{fault}; mend that and run it again, it goes on")
        return 2
    except KeyboardInterrupt:
        complain(options.verb, "stopped; run it again and it goes on")
        return 130


def verb_module(verb: str) -> Any:
    """Import the module of a verb."""
    return importlib.import_module(f"{__name__}.{verb.replace('-', '_')}")


def _parser(only: str | None = None) -> argparse.ArgumentParser:
    """Build the parser, with the options of every verb, or of `only` one ("" for none) and just the names of others."""
    parser = argparse.ArgumentParser(
        prog="ggt100k", description="Make, judge, publish and use pairs of photographs for image restoration."
    )
    parser.add_argument("--version", action="version", version=f"ggt100k {ggt_format.__version__}")
    parser.add_argument("--verbose", action="store_true", help="Print progress messages of the libraries too.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, summary in VERBS.items():
        if only is not None and verb != only:
            verbs.add_parser(verb, help=summary)
            continue
        module = verb_module(verb)
        sub = verbs.add_parser(
            verb,
            help=summary,
            description=summary,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=module.run)
        module.arguments(sub)
        if verb not in READING:
            sub.add_argument("--dry-run", action="store_true", help="Say what would be done, and change nothing.")
        if verb not in (*READING, *WHOLE):
            sub.add_argument(
                "--limit", type=count, metavar="N", help="Work on at most N photographs, candidates or pairs."
            )
    return parser
