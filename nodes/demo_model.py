"""Load Demo Flux: a small Flux that runs anywhere."""

from __future__ import annotations

from comfy_api.latest import io

from ..conceptattention_core.adapters.comfy.demo import load_demo_flux
from .types import CATEGORY


class ConceptAttentionDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionDemoModel",
            display_name="Load Demo Flux",
            category=CATEGORY,
            description=(
                "Loads the small Flux that comes with this pack: no download, no GPU needed. It draws 256 x 256 "
                "cartoon scenes from captions such as 'a house and a palm tree on the sand under a sunset'. It knows: "
                "sky, sunset, night sky, grass, sand, snow, road, sea, sun, moon, cloud, balloon, bird, mountain, "
                "tree, palm tree, house, lighthouse, windmill, snowman, car, boat, flower, ball."
            ),
            search_aliases=["tiny flux", "demo model", "example model", "cartoon", "load flux", "small flux"],
            inputs=[],
            outputs=[
                io.Model.Output(
                    tooltip="A Flux of 4.7 million parameters, of schnell's kind. Sample 256 x 256 pixels "
                    "with euler and the simple scheduler, 20 steps, cfg 7 and an empty negative prompt."
                ),
                io.Clip.Output(tooltip="Flux's own tokenizers with a small T5 and a small CLIP-L."),
                io.Vae.Output(tooltip="A small autoencoder in Flux's latent format."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_flux())
