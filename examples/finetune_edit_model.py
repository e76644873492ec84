"""Fine-tune an image editing model on an exported set: LQ image and prompt in, GT image out.

    ggt100k export ggt-100k --to diffusers --out edits --prompt fixed
    python examples/finetune_edit_model.py --set edits --model timbrooks/instruct-pix2pix --out tuned
    python examples/finetune_edit_model.py --set edits --model tiny --steps 40      # a random model, on one core

It imports nothing of this project: it reads the images that `train/metadata.jsonl` names as input_image and
edited_image, and their edit_prompt. The model is one that is built as InstructPix2Pix (Brooks et al., CVPR 2023):
the U-Net sees the noisy latents of the GT image beside those of the LQ image, and learns to tell the noise.
`--model tiny` makes such a model of a few channels with random weights, to see that all runs; it restores nothing.
Run the same command again after a kill: it continues from `OUT/last.pt`. `OUT` is a pipeline, which
`ggt100k restore WORKSPACE --with diffusers:OUT` uses to make candidates.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NAMES = ("input_image_file_name", "edited_image_file_name")


class Edits(Dataset):
    """The rows of a split: a window of both images at the same place, -1 to 1, and the prompt."""

    def __init__(self, folder: Path, crop: int) -> None:
        self.folder, self.crop, self.epoch = folder, crop, 0
        lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").split("\n")
        self.rows = [json.loads(line) for line in lines if line.strip()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict:
        row = self.rows[number]
        lq, gt = (np.asarray(Image.open(self.folder / row[name]).convert("RGB")) for name in NAMES)
        random = np.random.default_rng((self.epoch, number))
        top, left = (int(random.integers(max(1, side - self.crop + 1))) for side in lq.shape[:2])
        window = slice(top, top + self.crop), slice(left, left + self.crop)
        lq, gt = (torch.from_numpy(image[window].copy()).permute(2, 0, 1).float() / 127.5 - 1 for image in (lq, gt))
        return {"lq": lq, "gt": gt, "prompt": row["edit_prompt"]}


def tiny_model(prompts: list[str]) -> StableDiffusionInstructPix2PixPipeline:
    """Return a model of a few channels with random weights, whose tokenizer knows the letters of the prompts."""
    letters = sorted(set("".join(prompts).lower()) - {" "}) or ["a"]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}), encoding="utf-8")
        merges.write_text("#version: 0.2\n", encoding="utf-8")
        tokenizer = CLIPTokenizer(str(vocabulary), str(merges), unk_token="<|endoftext|>", model_max_length=16)
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1,
        projection_dim=16, bos_token_id=0, eos_token_id=1, max_position_embeddings=16,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        in_channels=8, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, norm_num_groups=4, sample_size=16,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4,
    )  # fmt: skip
    return StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=PNDMScheduler(skip_prk_steps=True), safety_checker=None, feature_extractor=None,
        image_encoder=None, requires_safety_checker=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, required=True, help="folder that `ggt100k export --to diffusers` wrote")
    parser.add_argument("--model", default="timbrooks/instruct-pix2pix", help="a name on the Hub, a folder, or tiny")
    parser.add_argument("--out", type=Path, default=Path("tuned"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=256, help="a multiple of 8")
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=200)
    options = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    edits = Edits(options.set / "train", options.crop)
    if options.model == "tiny":
        pipeline = tiny_model([row["edit_prompt"] for row in edits.rows]).to(device)
    else:
        pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(options.model, use_safetensors=True)
        pipeline = pipeline.to(device)
    vae, text, unet = pipeline.vae, pipeline.text_encoder, pipeline.unet
    noising = DDPMScheduler.from_config(pipeline.scheduler.config)
    optimizer = torch.optim.AdamW(unet.train().parameters(), lr=options.rate)
    scaler = torch.amp.GradScaler("cuda", enabled=device == "cuda")
    loader = DataLoader(edits, options.batch, shuffle=True, num_workers=options.workers, drop_last=True)
    if not len(loader):
        raise SystemExit(f"--batch {options.batch}: the set has {len(edits)} pairs. Lower it.")

    options.out.mkdir(parents=True, exist_ok=True)
    parts = {"unet": unet, "optimizer": optimizer, "scaler": scaler}
    last, done, losses = options.out / "last.pt", 0, []
    if last.exists():
        state = torch.load(last, map_location=device)
        done, losses = state["step"], state["losses"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.manual_seed(done)  # other noise than that of the first steps
        print(f"continue after step {done}", flush=True)

    def batches():
        for epoch in itertools.count(done // len(loader)):
            edits.epoch = epoch  # other windows
            yield from loader

    for step, batch in zip(range(done + 1, options.steps + 1), batches(), strict=False):
        lq, gt = batch["lq"].to(device), batch["gt"].to(device)
        # one in ten is trained without its prompt, and one in ten without its image: guidance needs both
        prompts = [prompt if torch.rand(()) > 0.1 else "" for prompt in batch["prompt"]]
        tokens = pipeline.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=pipeline.tokenizer.model_max_length,
            return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            target = vae.encode(gt).latent_dist.sample() * vae.config.scaling_factor
            condition = vae.encode(lq).latent_dist.mode()
            words = text(tokens.input_ids.to(device))[0]
        condition = condition * (torch.rand(len(lq), 1, 1, 1, device=device) > 0.1)
        noise = torch.randn_like(target)
        times = torch.randint(noising.config.num_train_timesteps, (len(lq),), device=device)
        noisy = noising.add_noise(target, noise, times)
        with torch.autocast(device, dtype=torch.float16, enabled=device == "cuda"):
            predicted = unet(torch.cat([noisy, condition], dim=1), times, words).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}: loss {sum(losses[-20:]) / len(losses[-20:]):.4f}", flush=True)
        if step % options.save_every == 0 or step == options.steps:
            unfinished = last.with_suffix(".part")
            state = {"step": step, "losses": losses} | {name: part.state_dict() for name, part in parts.items()}
            torch.save(state, unfinished)
            unfinished.replace(last)  # whole or not at all
    pipeline.save_pretrained(options.out)
    tenth = max(1, len(losses) // 10)
    first, end = (sum(some) / tenth for some in (losses[:tenth], losses[-tenth:]))
    print(f"loss {first:.4f} -> {end:.4f} in {len(losses)} steps")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
