"""The optional C extension `_native`, or None where it is not built.

The environment variable GGT100K_NATIVE=0 leaves it out: numpy then does the same, slower.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

VERSION = 1  # of the functions: a build that lies in a checkout may be older than the code beside it

native: Any = None
if os.environ.get("GGT100K_NATIVE") != "0":
    try:
        built = importlib.import_module("ggt_format._native")
    except ImportError:
        pass
    else:
        native = built if built.VERSION == VERSION else None
