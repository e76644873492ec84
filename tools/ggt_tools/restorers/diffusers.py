"""Image-editing models on this machine, run by diffusers: Qwen-Image-Edit, FLUX.2, InstructPix2Pix and others.

--with diffusers:MODEL, where MODEL is a name on the Hub or a folder with a pipeline. Options:

device    cuda, mps or cpu (default: the first that is available)
dtype     float32, bfloat16 or float16 (default: bfloat16, on a CPU float32)
offload   none, model or sequential: the later ones need less memory and are slower (default: none)
steps     number of inference steps
guidance  true_cfg_scale if the pipeline has it, else guidance_scale
strength  strength of the change
revision  branch, tag or commit on the Hub

Other options have the pipeline's own defaults. Weights are read from safetensors alone, and no code of a model is run.
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
from ggt_tools.providers.protocol import Restored, Setting, read_options

INSTALL = "pip install 'ggt100k[diffusers]'"
DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "sequential")
LESS = "Use less: --option offload=model, or offload=sequential, or --option dtype=bfloat16."


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusers:
    """The restorer. It loads the model with the first photograph, and restores one photograph at a time."""

    model: str
    version: str
    source: str  # a name on the Hub, or a folder
    device: str
    options: dict[str, str]
    arguments: dict[str, float]  # arguments of the pipeline's call, by the names of our options
    loaded: list[Callable[..., Any]] = field(default_factory=list, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    name: str = "diffusers"
    is_remote: bool = False
    needs_square: bool = True
    takes_prompt: bool = True

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """See Restorer.restore().

        Raises:
            ConfigError: The model cannot be loaded, or there is too little memory.
            PairError: The model failed.
        """
        import torch

        with self.lock:
            try:
                if not self.loaded:
                    self.loaded.append(self._load())
                pipeline = self.loaded[0]
                arguments = _arguments(pipeline, self.arguments, self.model)
                generator = torch.Generator("cpu").manual_seed(seed)  # the same noise on every device
                output = pipeline(image=Pillow.fromarray(image), prompt=prompt, generator=generator, **arguments)
            except (torch.OutOfMemoryError, MemoryError) as fault:
                raise ConfigError(f"{self.model}: {self.device} has too little memory. {LESS}") from fault
            except RuntimeError as fault:
                if "not enough memory" in str(fault) or "can't allocate" in str(fault):  # messages on a CPU
                    raise ConfigError(f"{self.model}: {self.device} has too little memory. {LESS}") from fault
                raise PairError("model_failed", f"{self.model}: {_line(fault)}") from fault
        if (getattr(output, "nsfw_content_detected", None) or [False])[0]:
            return Restored(reason="refused", detail="the safety checker of the pipeline removed the image")
        return Restored(image=np.asarray(output.images[0].convert("RGB")))

    def _load(self) -> Callable[..., Any]:
        import torch

        package = import_module("diffusers")  # it has few type stubs
        settings = {"dtype": getattr(torch, self.options["dtype"]), "use_safetensors": True}
        if self.options["revision"]:
            settings["revision"] = self.options["revision"]
        try:
            pipeline = package.DiffusionPipeline.from_pretrained(self.source, **settings)
            if "image" not in inspect.signature(pipeline.__call__).parameters:
                pipeline = package.AutoPipelineForImage2Image.from_pipe(pipeline)
        except (OSError, ValueError, AttributeError, ImportError) as fault:
            raise ConfigError(
                f"{self.source}: cannot be loaded: {_line(fault)}. Name a pipeline that edits images."
            ) from fault
        pipeline.set_progress_bar_config(disable=True)
        if self.options["offload"] == "model":
            pipeline.enable_model_cpu_offload(device=self.device)
        elif self.options["offload"] == "sequential":
            pipeline.enable_sequential_cpu_offload(device=self.device)
        else:
            pipeline.to(self.device)
        loaded: Callable[..., Any] = pipeline
        return loaded


def diffusers(setting: Setting) -> Diffusers:
    """Return the restorer; the model is not loaded yet.

    Raises:
        ConfigError: A package is not installed, no model is named, or an option is wrong.
    """
    names = ("device", "dtype", "offload", "steps", "guidance", "strength", "revision")
    chosen = read_options("diffusers", setting, **{name: "" for name in names})
    missing = [package for package in ("diffusers", "transformers", "torch") if find_spec(package) is None]
    if missing:
        raise ConfigError(f"diffusers: {', '.join(missing)} not installed. Install it: {INSTALL}")
    if not setting.model:
        raise ConfigError(
            "diffusers: the model is missing. Name it: --with diffusers:MODEL, such as Qwen/Qwen-Image-Edit-2511"
        )
    device = chosen["device"] or _device()
    chosen["offload"] = chosen["offload"] or "none"
    chosen["dtype"] = chosen["dtype"] or ("float32" if device == "cpu" else "bfloat16")
    for option, choices in (("dtype", DTYPES), ("offload", OFFLOADS)):
        if chosen[option] not in choices:
            raise ConfigError(
                f"diffusers: --option {option}={chosen[option]}: is not known. Choose one of: {', '.join(choices)}."
            )
    if device == "cpu" and chosen["offload"] != "none":
        raise ConfigError(f"diffusers: --option offload={chosen['offload']}: needs a GPU. Leave it out on a CPU.")
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
        raise ConfigError(f"diffusers: --option {name}={text}: is not a number above 0.")
    return value


def _arguments(pipeline: Callable[..., Any], values: dict[str, float], model: str) -> dict[str, Any]:
    """Return the values of our options by the names that this pipeline uses."""
    parameters = inspect.signature(pipeline.__call__).parameters  # type: ignore[operator]
    guidance = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"
    names = {"steps": "num_inference_steps", "guidance": guidance, "strength": "strength"}
    for option in values:
        if names[option] not in parameters:
            raise ConfigError(
                f"{model}: --option {option}: its pipeline has no parameter {names[option]}. Leave the option out."
            )
    arguments: dict[str, Any] = {names[option]: value for option, value in values.items()}
    if "true_cfg_scale" in parameters and "negative_prompt" in parameters:
        arguments["negative_prompt"] = " "  # without a negative prompt, the scale has no effect
    return arguments


def _line(fault: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:300]
