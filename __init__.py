"""ComfyUI custom nodes: masks and heat maps of named concepts, read from the attention of a Flux model."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

WEB_DIRECTORY = "./web"


class ConceptAttentionExtension(ComfyExtension):
    """The pack, as ComfyUI sees it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, imported when ComfyUI asks for them."""
        from .nodes.apply import ConceptAttentionApply
        from .nodes.demo_model import ConceptAttentionDemoModel
        from .nodes.from_image import ConceptAttentionFromImage
        from .nodes.read import ConceptAttention

        return [ConceptAttentionApply, ConceptAttention, ConceptAttentionFromImage, ConceptAttentionDemoModel]


async def comfy_entrypoint() -> ConceptAttentionExtension:
    """ComfyUI's entry point for V3 nodes."""
    return ConceptAttentionExtension()
