"""Reproduce the demo model's weights: `python -m tools.demo.train --comfyui PATH`.

Stages: autoencoder on crops, the same on whole scenes, latents of many pictures, flow model with its text encoders,
export into `demo_model/`. Two CPU cores need under 3 h, a GPU minutes. An interrupted run goes on from its checkpoints
when started again with the same `--work` folder. ComfyUI is needed for its tokenizers only.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from conceptattention_core.evaluate.datasets.scenes.scenes import HELD_OUT
from tools.demo import train_flow, train_vae
from tools.demo.export import export
from tools.demo.latents import latent_set
from tools.demo.text import Tokenizers

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help="or set COMFYUI_PATH")
    parser.add_argument("--work", type=Path, default=ROOT / "output" / "train_demo", help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT / "demo_model", help="folder for the finished files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae-steps", type=int, default=1600)
    parser.add_argument("--vae-last-steps", type=int, default=900, help="more of them, on whole scenes")
    parser.add_argument("--scenes", type=int, default=12000)
    parser.add_argument("--window", type=int, default=8, help="side of a window in tokens of 16 pixels")
    parser.add_argument("--window-steps", type=int, default=2000, help="flow steps on windows")
    parser.add_argument("--window-batch", type=int, default=32)
    parser.add_argument("--whole-steps", type=int, default=5000, help="flow steps on whole scenes")
    parser.add_argument("--last-steps", type=int, default=9000, help="more of them, at noisier times")
    parser.add_argument("--all-blocks-steps", type=int, default=1400, help="and more, agreement in every double block")
    parser.add_argument("--whole-batch", type=int, default=16)
    parser.add_argument("--note", default="", help="kept in the files' metadata, beside these options")
    options = parser.parse_args()
    if options.comfyui is None:
        parser.error("say where ComfyUI is: --comfyui PATH, or set COMFYUI_PATH")

    vae = train_vae.train(options.work, options.vae_steps, options.seed)
    vae = train_vae.finish(options.work, vae, options.vae_last_steps, options.seed)
    quality = train_vae.psnr(vae, train_vae.pictures(range(HELD_OUT, HELD_OUT + 32), 256))
    print(f"autoencoder {quality:.2f} dB", flush=True)
    tokenizers = Tokenizers(options.comfyui)
    data = latent_set(options.work, vae, options.scenes)
    vocabulary = train_flow.vocabulary_of(data, tokenizers, options.seed)
    batch = options.whole_batch
    phases = [
        train_flow.Phase(options.window_steps, options.window_batch, 1.1, options.window),
        train_flow.Phase(options.whole_steps, batch, 1.1),
        train_flow.Phase(options.last_steps, batch, 1.5, fall=0.9),
        train_flow.Phase(options.all_blocks_steps, batch, 1.5, rate=0.3, fall=1.0, agreement_blocks=tuple(range(6))),
    ]
    model, loss = train_flow.train(options.work, data, phases, tokenizers, vocabulary, options.seed)
    recipe = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
    record = {"command": "python -m tools.demo.train", "recipe": recipe, "flow_loss": loss, "vae_psnr_db": quality}
    size = export(options.out, vae, model, vocabulary, record)
    print(f"autoencoder {quality:.2f} dB, flow loss {loss:.4f}, {size / 1e6:.2f} MB in {options.out}")


if __name__ == "__main__":
    main()
