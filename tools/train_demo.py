"""Reproduce the demo model's weights: `python tools/train_demo.py --comfyui PATH`.

Stages: autoencoder, latents of many scenes, flow model with its text encoders, a better decoder, export into
`demo_model/`. Two CPU cores need under 3 h, a GPU minutes. An interrupted run goes on from its checkpoints when started
again with the same `--work` folder. ComfyUI is needed for its tokenizers only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.demo import train_flow, train_vae  # noqa: E402
from tools.demo.export import export  # noqa: E402
from tools.demo.latents import latent_set  # noqa: E402
from tools.demo.text import Tokenizers  # noqa: E402

SMALL, FULL = 128, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--work", type=Path, default=ROOT / "output" / "train_demo", help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT / "demo_model", help="folder for the finished files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae-steps", type=int, default=1200)
    parser.add_argument("--decoder-steps", type=int, default=800)
    parser.add_argument("--small-scenes", type=int, default=8000)
    parser.add_argument("--small-steps", type=int, default=2500, help="flow steps on half-size scenes")
    parser.add_argument("--small-batch", type=int, default=32)
    parser.add_argument("--full-scenes", type=int, default=4000)
    parser.add_argument("--full-steps", type=int, default=1500, help="flow steps on full-size scenes")
    parser.add_argument("--full-batch", type=int, default=12)
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")

    vae = train_vae.train(options.work, options.vae_steps, options.seed)
    tokenizers = Tokenizers(options.comfyui)
    small = latent_set(options.work, vae, SMALL, options.small_scenes)
    full = latent_set(options.work, vae, FULL, options.full_scenes)
    vocabulary = train_flow.vocabulary_of(small, tokenizers, options.seed)
    phases = [
        train_flow.Phase(small, options.small_steps, options.small_batch),
        train_flow.Phase(full, options.full_steps, options.full_batch),
    ]
    model, loss = train_flow.train(options.work, phases, tokenizers, vocabulary, options.seed)
    quality = train_vae.finish_decoder(options.work, vae, options.decoder_steps, options.seed)
    recipe = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
    record = {"command": "python tools/train_demo.py", "recipe": recipe, "flow_loss": loss, "vae_psnr_db": quality}
    size = export(options.out, vae, model, vocabulary, record)
    print(f"{size / 1e6:.2f} MB in {options.out}")


if __name__ == "__main__":
    main()
