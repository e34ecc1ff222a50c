"""Concept Attention: where is each named concept in a picture that a Flux model makes?

The method of "ConceptAttention: Diffusion Transformers Learn Highly Interpretable Features" (arXiv 2502.04320) in pure
torch. Data flows one way; read the files in this order::

    concepts -> stream -> scores -> record -> maps -> mask / heatmap

Nothing here imports ComfyUI or diffusers, except the files in ``adapters/``, one for each host.
"""
