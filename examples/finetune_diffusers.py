"""Fine-tune a diffusion model that edits images on the pairs: lq and its prompt in, gt out.

    python examples/finetune_diffusers.py --model timbrooks/instruct-pix2pix --data-dir /data/ggt-100k --out tuned

It is for models with the structure of InstructPix2Pix (Brooks et al., CVPR 2023). The U-Net gets the noisy latents of
gt and the latents of lq, and learns to predict the noise; all other weights are fixed. `columns` reads the prompt from
the index. The program writes a pipeline to --out, which `ggt100k restore WORKSPACE --with diffusers:tuned` uses.
"""

import argparse
import itertools

import torch
from diffusers import DDPMScheduler, StableDiffusionInstructPix2PixPipeline
from torch.utils.data import DataLoader

import ggt100k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="timbrooks/instruct-pix2pix", help="Name on the Hub, or a folder.")
    parser.add_argument("--data-dir", default=ggt100k.sample_folder() / "packed")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--out", default="tuned")
    options = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(options.model, use_safetensors=True).to(device)
    vae, text, unet = pipeline.vae, pipeline.text_encoder, pipeline.unet
    noising = DDPMScheduler.from_config(pipeline.scheduler.config)
    pairs = ggt100k.PairDataset(options.data_dir, crop=options.crop, columns=["prompt"])
    loader = DataLoader(pairs, options.batch, shuffle=True)
    optimizer = torch.optim.AdamW(unet.train().parameters(), lr=options.rate)

    def batches():
        for epoch in itertools.count():
            pairs.set_epoch(epoch)
            yield from loader

    losses = []
    for step, batch in zip(range(1, options.steps + 1), batches(), strict=False):
        lq, gt = (batch[name].to(device).permute(0, 3, 1, 2).float() / 127.5 - 1 for name in ("lq", "gt"))
        # one pair in ten is trained without its prompt, for classifier-free guidance
        prompts = [prompt if torch.rand(()) > 0.1 else "" for prompt in batch["prompt"]]
        tokens = pipeline.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            target = vae.encode(gt).latent_dist.sample() * vae.config.scaling_factor
            condition = vae.encode(lq).latent_dist.mode()
            embedding = text(tokens.to(device))[0]
        noise = torch.randn_like(target)
        timesteps = torch.randint(noising.config.num_train_timesteps, (len(lq),), device=device)
        noisy = noising.add_noise(target, noise, timesteps)
        predicted = unet(torch.cat([noisy, condition], dim=1), timesteps, embedding).sample
        loss = torch.nn.functional.mse_loss(predicted, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}: loss {sum(losses[-20:]) / 20:.4f}")
    pipeline.save_pretrained(options.out)
    tenth = -(-options.steps // 10)
    print(f"loss {sum(losses[:tenth]) / tenth:.4f} -> {sum(losses[-tenth:]) / tenth:.4f} in {options.steps} steps")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
