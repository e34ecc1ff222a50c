"""The pack's own socket types."""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "conceptattention"

ConceptAttentionType = io.Custom("CONCEPT_ATTENTION")
"""A `conceptattention_core.record.RunStore`: the runs of one patched model, found by the LATENT that they made."""

ConceptAttentionMapsType = io.Custom("CONCEPT_ATTENTION_MAPS")
"""A `conceptattention_core.maps.ConceptAttentionMaps`, immutable. Its fields:

scores            float32 CPU tensor (steps, blocks, batch, concepts, h, w): raw dot products, background concepts last;
                  of videos (steps, blocks, batch, concepts, frames, h, w), in the model's own frames
concepts          tuple of names, in the order of that axis
background_count  how many of the last names only compete
blocks            absolute block indices of the second axis
sigmas            noise level of each recorded step, by the model's own measure
image_size        (H, W) of the picture in pixels
token_pixels      side of a token in pixels
projection        "output", "cross_attention" or "value": the space that the scores were taken in
family            the model family, for people
default_blocks    first and last block to average unless told otherwise, inclusive, negative from the end
temperature       the family's own; a reader's temperature multiplies it
times             of a video, where each decoded picture lies on the axis of frames; empty for pictures
softness          what the explorer's temperature has multiplied every reader's temperature by
features          float16 CPU tensor (blocks, batch, 16, h, w): what the model makes of each token, or None
"""
