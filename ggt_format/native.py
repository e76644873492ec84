"""The optional C extension `_native`, or None if it is not built.

The environment variable GGT100K_NATIVE=0 disables it. Numpy then gives the same results and takes longer.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

VERSION = 1  # of the interface: the build in a checkout may be older than the Python code

native: Any = None
if os.environ.get("GGT100K_NATIVE") != "0":
    try:
        built = importlib.import_module("ggt_format._native")
    except ImportError:
        pass
    else:
        native = built if built.VERSION == VERSION else None
