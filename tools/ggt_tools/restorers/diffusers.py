"""Editing models on this machine, by diffusers: Qwen-Image-Edit, FLUX.2, InstructPix2Pix and their like.

--with diffusers:MODEL, a name on the Hub or a folder with a pipeline. Options: device (cuda, mps, cpu; default: the
first that is there), dtype (default: bfloat16, on a CPU float32), offload (none, model, sequential: less memory,
slower), steps, guidance (true_cfg_scale where the pipeline has it, else guidance_scale), strength, revision. What is
not given is the pipeline's own default. Weights are read from safetensors alone, and no code of a model is run.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.providers.protocol import Restored, Setting, options

INSTALL = "pip install 'ggt100k[diffusers]'"
DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "sequential")
LESS = "take less: --option offload=model, then offload=sequential, --option dtype=bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusers:
    """A Restorer. The model is loaded with the first photograph; photographs go through it one at a time."""

    model: str
    version: str
    source: str  # a name on the Hub, or a folder
    device: str
    options: dict[str, str]
    arguments: dict[str, float]  # of the pipeline's call, by our options
    loaded: list[Callable[..., Any]] = field(default_factory=list, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    name: str = "diffusers"
    remote: bool = False
    square: bool = True
    prompted: bool = True

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """As Restorer.restore(). ConfigError: the model cannot be loaded, or the memory does not suffice."""
        import torch

        with self.lock:
            try:
                if not self.loaded:
                    self.loaded.append(self._load())
                pipeline = self.loaded[0]
                arguments = _arguments(pipeline, self.arguments, self.model)
                generator = torch.Generator("cpu").manual_seed(seed)  # the same noise on every device
                made = pipeline(image=Pillow.fromarray(image), prompt=prompt, generator=generator, **arguments)
            except (torch.OutOfMemoryError, MemoryError) as fault:
                raise ConfigError(f"{self.model}: {self.device} has too little memory; {LESS}") from fault
            except RuntimeError as fault:
                if "not enough memory" in str(fault) or "can't allocate" in str(fault):  # what CPUs say
                    raise ConfigError(f"{self.model}: {self.device} has too little memory; {LESS}") from fault
                raise PairError("model_failed", f"{self.model}: {_line(fault)}") from fault
        if (getattr(made, "nsfw_content_detected", None) or [False])[0]:
            return Restored(reason="refused", detail="the pipeline's own safety checker blanked the image")
        return Restored(image=np.asarray(made.images[0].convert("RGB")))

    def _load(self) -> Callable[..., Any]:
        import torch

        package = import_module("diffusers")  # its stubs are few
        settings = {"dtype": getattr(torch, self.options["dtype"]), "use_safetensors": True}
        if self.options["revision"]:
            settings["revision"] = self.options["revision"]
        try:
            pipeline = package.DiffusionPipeline.from_pretrained(self.source, **settings)
            if "image" not in inspect.signature(pipeline.__call__).parameters:
                pipeline = package.AutoPipelineForImage2Image.from_pipe(pipeline)
        except (OSError, ValueError, AttributeError, ImportError) as fault:
            raise ConfigError(f"{self.source}: cannot be loaded: {_line(fault)}; name a pipeline that edits") from fault
        pipeline.set_progress_bar_config(disable=True)
        if self.options["offload"] == "model":
            pipeline.enable_model_cpu_offload(device=self.device)
        elif self.options["offload"] == "sequential":
            pipeline.enable_sequential_cpu_offload(device=self.device)
        else:
            pipeline.to(self.device)
        made: Callable[..., Any] = pipeline
        return made


def diffusers(setting: Setting) -> Diffusers:
    """ConfigError: no package, no model, an option that cannot be."""
    names = ("device", "dtype", "offload", "steps", "guidance", "strength", "revision")
    chosen = options("diffusers", setting, **{name: "" for name in names})
    missing = [package for package in ("diffusers", "transformers", "torch") if find_spec(package) is None]
    if missing:
        raise ConfigError(f"diffusers: {', '.join(missing)} not installed: {INSTALL}")
    if not setting.model:
        raise ConfigError("diffusers: wants a model: --with diffusers:NAME, e.g. diffusers:Qwen/Qwen-Image-Edit-2511")
    device = chosen["device"] or _device()
    chosen["offload"] = chosen["offload"] or "none"
    chosen["dtype"] = chosen["dtype"] or ("float32" if device == "cpu" else "bfloat16")
    for option, known in (("dtype", DTYPES), ("offload", OFFLOADS)):
        if chosen[option] not in known:
            raise ConfigError(f"diffusers: --option {option}={chosen[option]}: is none of {', '.join(known)}")
    if device == "cpu" and chosen["offload"] != "none":
        raise ConfigError(f"diffusers: --option offload={chosen['offload']}: wants a GPU to offload from")
    changing = ("dtype", "steps", "guidance", "strength", "revision")
    return Diffusers(
        model=Path(setting.model).resolve().name if Path(setting.model).is_dir() else setting.model,
        version=" ".join(["1", *(f"{name}={chosen[name]}" for name in changing if chosen[name])]),
        source=setting.model,
        device=device,
        options=chosen,
        arguments={name: _number(name, chosen[name]) for name in ("steps", "guidance", "strength") if chosen[name]},
    )


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _number(name: str, text: str) -> float:
    try:
        value = int(text) if name == "steps" else float(text)
    except ValueError:
        value = -1
    if not 0 < value < 10_000:
        raise ConfigError(f"diffusers: --option {name}={text}: is no number above 0")
    return value


def _arguments(pipeline: Callable[..., Any], wanted: dict[str, float], model: str) -> dict[str, Any]:
    """Our options under the names that this pipeline has for them."""
    known = inspect.signature(pipeline.__call__).parameters  # type: ignore[operator]
    guidance = "true_cfg_scale" if "true_cfg_scale" in known else "guidance_scale"
    names = {"steps": "num_inference_steps", "guidance": guidance, "strength": "strength"}
    for option in wanted:
        if names[option] not in known:
            raise ConfigError(f"{model}: --option {option}: its pipeline takes no {names[option]}; leave it out")
    arguments: dict[str, Any] = {names[option]: value for option, value in wanted.items()}
    if "true_cfg_scale" in known and "negative_prompt" in known:
        arguments["negative_prompt"] = " "  # without one, that scale does nothing
    return arguments


def _line(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:300]
