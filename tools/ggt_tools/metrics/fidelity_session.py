"""Where the fidelity model runs: on the CPU, or on a GPU by onnxruntime's provider where that gives the same values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

CPU, GPU = "CPUExecutionProvider", "CUDAExecutionProvider"
TOLERANCE = 0.05  # of log-odds, between processors; a GPU whose values differ more from the CPU's is not used
MAX_FAILURES = 3  # pairs in a row that a GPU fails over, before the CPU takes all others, too
MEMORY_LIMIT = 1 << 30  # bytes of a GPU for each process: several share it
Provider = str | tuple[str, dict[str, str]]
Feed = Mapping[str, npt.NDArray[np.float32]]
Outputs = list[npt.NDArray[np.float32]]


@dataclass(slots=True)
class Session:
    """Runs the network on a GPU if there is one, and on the CPU what the GPU fails over or answers with NaN.

    Attributes:
        cpu: Session of onnxruntime on the CPU.
        gpu: Session on a GPU, or None.
    """

    cpu: Any
    gpu: Any = None
    _failures: int = field(default=0, init=False)

    def run(self, feed: Feed) -> Outputs:
        """Return the outputs of the network, all finite unless the CPU's are not."""
        if self.gpu is not None:
            outputs = _run(self.gpu, feed)
            if outputs is not None:
                self._failures = 0
                return outputs
            self._failures += 1
            if self._failures == MAX_FAILURES:
                self.gpu = None
        return list(self.cpu.run(None, feed))


def open_session(
    device: str, providers: Sequence[str], make: Callable[[Provider], Any], example: Callable[[], Feed]
) -> Session:
    """Return a session on a GPU if the device may be one, onnxruntime can use it, and it agrees with the CPU.

    Args:
        device: As torch names it: "cpu" never is a GPU.
        providers: Providers that onnxruntime was built with.
        make: Returns onnxruntime's session of a provider, or raises.
        example: Returns inputs of the network, with which both are compared.
    """
    cpu = make(CPU)
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cuda") or GPU not in providers:
        return Session(cpu)
    options = {
        "device_id": index or "0",
        "use_tf32": "0",  # TF32 has 10 bits for what float32 has 23
        "gpu_mem_limit": str(MEMORY_LIMIT),
        "arena_extend_strategy": "kSameAsRequested",
    }
    try:
        gpu = make((GPU, options))
    except Exception:  # no driver, no GPU, no memory: onnxruntime raises many kinds of errors
        return Session(cpu)
    if GPU not in gpu.get_providers():  # without CUDA's libraries it takes the CPU and says so in a log alone
        return Session(cpu)
    feed = example()
    outputs, expected = _run(gpu, feed), cpu.run(None, feed)
    is_equal = outputs is not None and all(
        np.abs(output - other).max() <= TOLERANCE for output, other in zip(outputs, expected, strict=True)
    )
    return Session(cpu, gpu if is_equal else None)


def _run(session: Any, feed: Feed) -> Outputs | None:
    """Return the outputs; None where the GPU fails or one of them is not finite."""
    try:
        outputs = list(session.run(None, feed))
    except Exception:  # out of memory, or an error of CUDA; the CPU answers instead
        return None
    return outputs if all(np.isfinite(output).all() for output in outputs) else None
