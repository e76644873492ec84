"""The restorer `diffusers`, through a real pipeline with random weights: its inputs and its messages."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.providers.protocol import Restored, Setting
from ggt_tools.restorers import restorer

from .making import picture

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
LESS = "Use less: --option offload=model, or offload=sequential, or --option dtype=bfloat16."


def tokenizer(folder: Path) -> Any:
    """CLIP's, with no word longer than a letter."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz.,"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """InstructPix2Pix with layers of a few channels."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    words = tokenizer(folder / "words")
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=16,
        in_channels=8,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=1,
            vocab_size=len(words),
            projection_dim=16,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
        )
    )
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=words,
        unet=unet,
        scheduler=PNDMScheduler(skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "tiny-pix2pix")
    return folder / "tiny-pix2pix"


def restored(model: Path, prompt: str = "haze away", seed: int = 0, **options: str) -> np.ndarray[Any, Any]:
    options = {"device": "cpu", "steps": "2"} | options
    result = restorer(f"diffusers:{model}", Setting(options=options)).restore(picture(1, 64, 64), prompt, seed=seed)
    assert result.reason == ""
    assert result.image is not None
    assert result.image.dtype == np.uint8
    return result.image


@pytest.mark.slow
def test_prompt_seed_and_options_change_the_result(model: Path) -> None:
    first = restored(model)
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, restored(model)), "equal photograph, prompt and seed give an equal image"
    assert not np.array_equal(first, restored(model, seed=1))
    assert not np.array_equal(first, restored(model, prompt="more rain"))
    assert not np.array_equal(first, restored(model, guidance="20"))
    assert not np.array_equal(first, restored(model, steps="3"))


def test_name_model_and_version(model: Path) -> None:
    maker = restorer(f"diffusers:{model}", Setting(options={"device": "cpu", "steps": "2", "guidance": "4"}))
    assert (maker.name, maker.model, maker.version) == (
        "diffusers",
        "tiny-pix2pix",
        "1 dtype=float32 steps=2 guidance=4",
    )
    assert (maker.is_remote, maker.needs_square, maker.takes_prompt) == (False, True, True)
    assert (
        restorer("diffusers:Qwen/Qwen-Image-Edit", Setting(options={"device": "cpu"})).model == "Qwen/Qwen-Image-Edit"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": "0"}, "diffusers: --option steps=0: is not a number above 0."),
        ({"guidance": "much"}, "diffusers: --option guidance=much: is not a number above 0."),
        ({"dtype": "int8"}, "diffusers: --option dtype=int8: is not known. Choose one of: float32, bfloat16, float16."),
        (
            {"offload": "disk"},
            "diffusers: --option offload=disk: is not known. Choose one of: none, model, sequential.",
        ),
        ({"offload": "model"}, "diffusers: --option offload=model: needs a GPU. Leave it out on a CPU."),
        (
            {"step": "2"},
            "diffusers: has no option 'step'. Its options are: device, dtype, guidance, offload, "
            "revision, steps, strength.",
        ),
    ],
)
def test_wrong_options_are_errors(options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        restorer("diffusers:a/b", Setting(options={"device": "cpu"} | options))
    assert str(fault.value) == said


def test_an_option_that_the_pipeline_lacks_is_an_error(model: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        restored(model, strength="0.5")
    assert str(fault.value) == (
        "tiny-pix2pix: --option strength: its pipeline has no parameter strength. Leave the option out."
    )


def test_without_a_model() -> None:
    with pytest.raises(ConfigError) as fault:
        restorer("diffusers")
    assert str(fault.value) == (
        "diffusers: the model is missing. Name it: --with diffusers:MODEL, such as Qwen/Qwen-Image-Edit-2511"
    )


def test_a_folder_without_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        restored(tmp_path)
    assert str(fault.value).startswith(f"{tmp_path}: cannot be loaded: ")
    assert str(fault.value).endswith(". Name a pipeline that edits images.")


def test_pickled_weights_are_not_loaded(model: Path, tmp_path: Path) -> None:
    import torch

    copy = tmp_path / "pickled"
    shutil.copytree(model, copy)
    (weights,) = (copy / "unet").glob("*.safetensors")
    weights.unlink()
    torch.save({}, copy / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        restored(copy)


@pytest.mark.parametrize(("part", "module"), [("_class_name", "evil.py"), ("unet", "unet/evil.py")])
def test_code_of_a_model_is_not_run(model: Path, tmp_path: Path, part: str, module: str) -> None:
    copy = tmp_path / "evil"
    shutil.copytree(model, copy)
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {part: ["evil", "Evil"]}))
    (copy / module).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(ConfigError, match="contains custom code"):
        restored(copy)
    assert not (tmp_path / "ran").exists()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError) as fault:
        restorer("diffusers:a/b", Setting(options={"device": "cpu"}))
    assert str(fault.value) == "diffusers: diffusers not installed. Install it: pip install 'ggt100k[diffusers]'"


class Pipeline:
    """A pipeline as far as this restorer calls it, which does what it is told."""

    def __init__(self, does: Any) -> None:
        self.does, self.given = does, {}

    def __call__(
        self, image: Any, prompt: str, generator: Any, true_cfg_scale: float = 4.0, negative_prompt: str | None = None
    ) -> Any:
        self.given = {"true_cfg_scale": true_cfg_scale, "negative_prompt": negative_prompt, "size": image.size}
        if isinstance(self.does, Exception):
            raise self.does
        return self.does


def through(pipeline: Pipeline, **options: str) -> Restored:
    maker: Any = restorer("diffusers:a/b", Setting(options={"device": "cpu"} | options))
    maker.loaded.append(pipeline)
    result: Restored = maker.restore(picture(1, 64, 48), "", seed=0)
    return result


def test_too_little_memory_is_an_error_with_a_remedy() -> None:
    import torch

    faults = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    ]
    for fault in faults:
        with pytest.raises(ConfigError) as caught:
            through(Pipeline(fault))
        assert str(caught.value) == f"a/b: cpu has too little memory. {LESS}"


def test_a_model_that_fails_on_one_photograph() -> None:
    with pytest.raises(PairError) as caught:
        through(Pipeline(RuntimeError("The size of tensor a (48) must match\nmore")))
    assert (caught.value.reason, str(caught.value)) == ("model_failed", "a/b: The size of tensor a (48) must match")


def test_an_image_removed_by_the_safety_checker_is_a_refusal() -> None:
    from types import SimpleNamespace

    made = SimpleNamespace(images=[], nsfw_content_detected=[True])
    assert through(Pipeline(made)) == Restored(
        reason="refused", detail="the safety checker of the pipeline removed the image"
    )


def test_guidance_uses_the_scale_of_the_pipeline() -> None:
    from types import SimpleNamespace

    from PIL import Image

    pipeline = Pipeline(SimpleNamespace(images=[Image.new("RGB", (32, 32))]))
    image = through(pipeline, guidance="2.5").image
    assert image is not None
    assert image.shape == (32, 32, 3)
    assert pipeline.given == {"true_cfg_scale": 2.5, "negative_prompt": " ", "size": (48, 64)}
