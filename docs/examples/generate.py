"""Make a picture with diffusers and look at where its concepts are.

    python docs/examples/generate.py [FOLDER OR HUB NAME OF A FLUX.1 MODEL]

Without an argument it paints with the demo model that comes with the package, so it runs on any machine; CI executes
it. Writes to output/examples/.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from conceptattention_core.adapters.diffusers import ConceptAttention

OUT = Path("output/examples")
OUT.mkdir(parents=True, exist_ok=True)

if len(sys.argv) > 1:
    from diffusers import FluxPipeline

    pipe = FluxPipeline.from_pretrained(sys.argv[1], torch_dtype=torch.bfloat16)
    pipe.enable_model_cpu_offload()
    size, steps = 1024, 28
else:
    from conceptattention_core.adapters.diffusers.demo import load_demo_pipeline

    pipe, size, steps = load_demo_pipeline(), 256, 8

# --- while a picture is made -----------------------------------------------------------------------------------------
with ConceptAttention(pipe, ["house", "palm tree", "sky"], background=["background"]) as attention:
    image = pipe(
        "a house and a palm tree on the sand under a sunset",
        height=size,
        width=size,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
maps = attention.maps()

image.save(OUT / "picture.png")
maps.overlay(image).save(OUT / "overlay.png")
maps.heatmap("palm tree").save(OUT / "palm tree.png")
maps.mask("house", method="otsu", output="pil").save(OUT / "house.png")
for name, saliency in maps.saliency().items():
    print(f"{name:12} {tuple(saliency.shape)} tokens, largest share {saliency.max():.2f}")

# --- steps, blocks and temperature are chosen afterwards: nothing is sampled again -----------------------------------
early = maps.saliency(first_block=0, last_block=1)["house"]
late = maps.saliency(first_block=-2)["house"]
print(f"house, first blocks and last: correlation {torch.corrcoef(torch.stack([early, late]).flatten(1))[0, 1]:.2f}")
print(f"raw scores: {tuple(maps.raw.scores.shape)} (steps, blocks, pictures, concepts, h, w)")

# --- a picture that exists already -----------------------------------------------------------------------------------
again = ConceptAttention.encode(pipe, image, ["house", "palm tree", "sky"], seeds=range(2))
agreement = (again.mask("house") == maps.mask("house")).float().mean()
print(f"house, found again in the finished picture: {agreement:.0%} of the pixels agree")

# --- keep the scores, for later or for ComfyUI -----------------------------------------------------------------------
maps.save(OUT / "maps.safetensors")
print(f"wrote {', '.join(sorted(path.name for path in OUT.iterdir()))}")
