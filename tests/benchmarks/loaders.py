"""PairDataset against its peers, in one run: crops, one class, resuming, the first pair, memory, a network.

Every contestant reads the same images, in a process of its own, and they take turns round by round; a ratio is the
median over the rounds of the ratio within each. Before it is timed, each delivers every pair once, and its pixels are
held against what was packed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import crops, material, memory, targets, topics
from .field import Field, Options, table
from .progress import PROGRESS


def bench(options: Options) -> str:
    """The tables as Markdown."""
    with tempfile.TemporaryDirectory(prefix="ggt100k-bench-") as name:
        folder = Path(name)
        PROGRESS.say(f"{options.pairs} pairs are packed")
        material.make(folder, options.pairs)
        with Field(folder, options) as field:
            return tables(field)


def tables(field: Field) -> str:
    """Measures everything, with the material of the field's folder."""
    options = field.options
    field.prepare()
    measured = crops.measure(field)
    one_class, cut_off = topics.one_class(field), topics.cut_off(field)
    parts = [
        f"Loaders: {options.pairs} pairs of {material.SIZE} x {material.SIZE}, batches of {options.batch}",
        crops.report(field, measured),
        _decoders(field),
        one_class.text if one_class else "",
        cut_off.text if cut_off else "",
        topics.first_pair(field),
        topics.network(field),
    ]
    text, taken = memory.report(field)
    parts += [text, targets.report(measured, one_class, cut_off, taken)]
    parts += [f"- {peer}: {why}" for peer, why in field.notes.items()]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _decoders(field: Field) -> str:
    rows = [
        [codec.upper(), ", ".join(f"{name} {times:.1f}" for name, times in speeds.items())]
        for codec, speeds in field.decoders.items()
    ]
    return table(["decoders of whole images", "times as fast as Pillow"], rows) if rows else ""
