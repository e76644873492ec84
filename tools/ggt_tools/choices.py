"""Words that options of the command line and fields of Configs take. It imports nothing, so that --help is fast."""

from __future__ import annotations

EXECUTORS = ("local", "slurm", "ray")
CLASS_METHODS = ("classifier", "measured", "folder", "vlm")  # how ingest finds the class of a photograph
FITS = ("crop", "resize", "pad")  # how a photograph becomes at most 1024 x 1024
STRATEGIES = ("fixed", "measured", "vlm")  # of prompts
EXPORTED_PROMPTS = ("own", "fixed", "none")  # which prompts the layouts of edit trainers get
