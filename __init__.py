"""ComfyUI custom nodes: masks and heat maps of named concepts, read from the attention of a Flux model."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import ComfyExtension, io

WEB_DIRECTORY = "./web"


class ConceptAttentionExtension(ComfyExtension):
    """The pack, as ComfyUI sees it."""

    async def on_load(self) -> None:
        """Give the server what the explorer's page asks for, and the pictures that the pack's workflows load."""
        from server import PromptServer

        from .conceptattention_core.adapters.comfy.files import offer_pictures
        from .conceptattention_core.adapters.comfy.routes import add_routes

        if getattr(PromptServer, "instance", None) is not None:
            add_routes(PromptServer.instance.app, PromptServer.instance.routes)
            offer_pictures(Path(__file__).parent / "workflows" / "input")

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, imported when ComfyUI asks for them."""
        from .nodes.apply import ConceptAttentionApply
        from .nodes.boxes import ConceptAttentionBoxes
        from .nodes.demo_model import ConceptAttentionDemoModel
        from .nodes.explorer import ConceptAttentionExplorer
        from .nodes.from_image import ConceptAttentionFromImage
        from .nodes.heatmap import ConceptAttentionHeatmap
        from .nodes.mask import ConceptAttentionMask
        from .nodes.read import ConceptAttention
        from .nodes.segment import ConceptAttentionSegmentation
        from .nodes.select import ConceptAttentionSelect
        from .nodes.storage import ConceptAttentionLoad, ConceptAttentionSave

        return [
            ConceptAttentionApply,
            ConceptAttentionFromImage,
            ConceptAttention,
            ConceptAttentionExplorer,
            ConceptAttentionMask,
            ConceptAttentionSegmentation,
            ConceptAttentionHeatmap,
            ConceptAttentionBoxes,
            ConceptAttentionSelect,
            ConceptAttentionSave,
            ConceptAttentionLoad,
            ConceptAttentionDemoModel,
        ]


async def comfy_entrypoint() -> ConceptAttentionExtension:
    """ComfyUI's entry point for V3 nodes."""
    return ConceptAttentionExtension()
