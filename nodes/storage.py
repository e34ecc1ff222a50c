"""Save and Load Concept Attention Maps: one `.safetensors` file each."""

from __future__ import annotations

import hashlib

from comfy_api.latest import io, ui

from ..conceptattention_core.adapters.comfy.files import find_maps_file, list_maps_files, new_maps_file
from ..conceptattention_core.letters import quoted
from ..conceptattention_core.maps import ConceptAttentionMaps
from ..conceptattention_core.storage import load_maps, save_maps
from .checked import checked
from .types import CATEGORY, ConceptAttentionMapsType


@checked
class ConceptAttentionSave(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionSave",
            display_name="Save Concept Attention Maps",
            category=CATEGORY,
            description=(
                "Saves the raw scores of all concepts as one .safetensors file in ComfyUI's output folder. Load "
                "Concept Attention Maps and scripts read it back exactly."
            ),
            search_aliases=["export maps", "save attention", "save saliency", "safetensors"],
            is_output_node=True,
            inputs=[
                ConceptAttentionMapsType.Input("maps", tooltip="What to save, from Concept Attention."),
                io.String.Input(
                    "filename_prefix",
                    default="concept_attention/maps",
                    tooltip="What the file's name begins with; a counter follows. A path makes subfolders of the "
                    "output folder, and %year%, %month%, %day% ... are filled in, as in Save Image.",
                ),
            ],
            outputs=[ConceptAttentionMapsType.Output(display_name="maps", tooltip="The same maps, to go on with.")],
        )

    @classmethod
    def execute(cls, maps: ConceptAttentionMaps, filename_prefix: str) -> io.NodeOutput:
        try:
            file, subfolder = new_maps_file(filename_prefix)
            save_maps(maps, file)
        except OSError as error:  # a name that is too long, a full disk, a folder that is somebody else's
            raise ValueError(f"The maps could not be saved as {quoted(filename_prefix)}: {error.strerror}.") from error
        saved = ui.SavedResult(file.name, subfolder, io.FolderType.output)
        text = f"Saved to {'/'.join(part for part in ('output', subfolder, file.name) if part)}"
        return io.NodeOutput(maps, ui={"text": (text,), "maps": [saved]})


@checked
class ConceptAttentionLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionLoad",
            display_name="Load Concept Attention Maps",
            category=CATEGORY,
            description=(
                "Loads maps that Save Concept Attention Maps or a script has written, from ComfyUI's input or output "
                "folder. Masks and pictures can be made of them without the model."
            ),
            search_aliases=["import maps", "open maps", "load attention", "load saliency", "safetensors"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_maps_files(),
                    tooltip="A .safetensors file in ComfyUI's input folder, or, marked [output], in its output folder. "
                    "Press R in the canvas to look for new files.",
                ),
            ],
            outputs=[
                ConceptAttentionMapsType.Output(
                    display_name="maps", tooltip="For Concept Segmentation and the other nodes that take maps."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        """Any name that can be loaded, so also one that was saved after the list was made."""
        try:
            return bool(find_maps_file(file))
        except (ValueError, FileNotFoundError) as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        """The file's contents: other maps under the same name are read again."""
        digest = hashlib.sha256()
        with find_maps_file(file).open("rb") as opened:
            while part := opened.read(2**20):
                digest.update(part)
        return digest.hexdigest()

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(load_maps(find_maps_file(file)))
