"""The command `ggt100k`: it parses options, calls a stage, and prints the result. Only this package prints.

Each verb has a module here: `arguments(parser)` adds its options, `run(options)` does the work and returns the exit
status, and --help shows its EXAMPLE. Only the module of the verb that is called is imported, so that the command starts
quickly.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import os
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import ggt_format
from ggt_tools.cli.options import add_flag, add_number
from ggt_tools.cli.show import complain
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
    "view": "Open a local page on which to look at a release, a folder or URL, and filter it.",
    "card": "Write the README, licences, figures and Croissant file of a release.",
    "site": "Write a static web page about a release, with sliders over its pairs.",
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
    *("review", "report", "validate", "view", "card", "site", "diff", "export-ledger", "evaluate", "status", "reasons"),
    "demo",
    "weights",  # without --fetch it is its own dry run
)
WHOLE = ("push", "export", "train-classes")  # these have no --limit, since a part of their work is of no use


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0 done; 1 there are findings, or there was something to do and nothing was made; 2 wrong input
        or set-up; 130 stopped by Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "_ARGCOMPLETE" in os.environ:  # set by the shell alone, while it completes a line
        _complete()
    verb = next((word for word in argv if not word.startswith("-")), "")
    if verb and verb not in VERBS:
        complain("", f"{verb}: is not a command. {_suggest(verb, VERBS)}List all commands: ggt100k --help")
        return 2
    parser = _parser(verb)
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        names = [name for action in _verb_parser(parser, verb)._actions for name in action.option_strings]
        word = unknown[0].partition("=")[0]
        what = "is not an option" if word.startswith("-") else "is one argument too many"
        complain(verb, f"{word}: {what}. {_suggest(word, names)}List all options: ggt100k {verb} --help")
        return 2
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return int(options.run(options))
    except GGTError as fault:
        complain(options.verb, str(fault))
        return 2
    except BrokenPipeError:  # the program that reads the output has ended, which is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except sqlite3.Error as fault:  # outside a transaction, whose errors name the file
        file = getattr(options, "workspace", None) or Path()
        complain(options.verb, str(translated(file / "ledger.sqlite", fault)))
        return 2
    except OSError as fault:  # such as a full disk or a read-only folder
        complain(options.verb, f"{fault}. Solve this and run the command again: it continues.")
        return 2
    except KeyboardInterrupt:
        complain(options.verb, "stopped. Run the command again: it continues.")
        return 130


def _complete() -> None:
    """Print what may follow the line that the shell completes, and exit; do nothing without argcomplete."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(_parser())


def verb_module(verb: str) -> Any:
    """Import the module of a verb."""
    return importlib.import_module(f"{__name__}.{verb.replace('-', '_')}")


def _suggest(word: str, names: Iterable[str]) -> str:
    """Return a sentence that names the most similar name; "" if none is similar."""
    near = difflib.get_close_matches(word, names, n=1)
    return f"Did you mean {near[0]}? " if near else ""


def _verb_parser(parser: argparse.ArgumentParser, verb: str) -> argparse.ArgumentParser:
    """Return the parser of one verb."""
    (verbs,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return cast(argparse.ArgumentParser, verbs.choices[verb])


def _parser(only: str | None = None) -> argparse.ArgumentParser:
    """Build the parser.

    Args:
        only: The verb whose options are added, "" for none; the others get their name and summary. None for all verbs.
    """
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
            add_flag(sub, "--dry-run", "Report what would be done, and change nothing")
        if verb not in (*READING, *WHOLE):
            add_number(sub, "--limit", "Work on at most N photographs, candidates or pairs", default=None)
    return parser
