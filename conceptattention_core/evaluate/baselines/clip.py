"""CLIP: which patches make a picture like "a photo of a dog"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPModel

from .attention import gradcam, patches, relevance, rollout
from .vision import digest, load_weights, normalization, to_pixels


class Clip:
    """A CLIP with a vision transformer. side, grid: of the square that it sees, in pixels and in patches."""

    def __init__(self, name: str, device: str) -> None:
        """name: folder or hub name. Raises OSError or ValueError where there are no such weights."""
        self._model: Any = load_weights(CLIPModel, name, device)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
        self._mean_std = normalization(name)
        self._device = device
        vision = self._model.config.vision_config
        self.side: int = vision.image_size
        self.grid: int = vision.image_size // vision.patch_size
        self.weights = digest(self._model)

    def feature_gradcam(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """Grad-CAM (Selvaraju et al., ICCV 2017, equation 1 and the sum in 2) of the last layer's input, by captum.

        The features are the patches' as the last layer's first norm hands them on: behind it only the class token
        counts. ``(C, grid, grid)`` float32, signed: before the ReLU.
        """
        from captum.attr import LayerGradCam

        text = self._embed(names)
        features = nn.Identity()  # captum reads a module's output, and wants it as ``(B, D, h, w)``

        def lead_through(_layer: nn.Module, _inputs: Any, tokens: Tensor) -> Tensor:
            seen = features(rearrange(tokens[:, 1:], "b (h w) d -> b d h w", h=self.grid))
            return torch.cat([tokens[:, :1], rearrange(seen, "b d h w -> b (h w) d")], dim=1)

        handle = self._model.vision_model.encoder.layers[-1].layer_norm1.register_forward_hook(lead_through)
        try:
            method = LayerGradCam(lambda pixels: self._look(pixels, text)[0], features)
            pixels = self._pixels(image).expand(len(names), -1, -1, -1)
            found: Any = method.attribute(pixels, target=list(range(len(names))))
        finally:
            handle.remove()
        return found[:, 0].detach().cpu()

    def attention_gradcam(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """Grad-CAM of the last layer's heads, see `attention.gradcam`. ``(C, grid, grid)`` float32, signed."""
        attentions, gradients = self._attend(image, names)
        return torch.stack([gradcam(attentions[-1], slopes[-1], self.grid) for slopes in gradients])

    def relevance(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """Chefer et al. 2021 through all layers, see `attention.relevance`. ``(C, grid, grid)`` float32, 0 or more."""
        attentions, gradients = self._attend(image, names)
        return patches(torch.stack([relevance(attentions, slopes) for slopes in gradients]), self.grid)

    @torch.no_grad()
    def rollout(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """Attention rollout, which knows no names: one map ``(grid, grid)`` float32, repeated for each of C."""
        _, attentions = self._look(self._pixels(image), self._embed(names))
        reached = patches(rollout([attention[0].cpu() for attention in attentions]), self.grid)
        return reached.expand(len(names), -1, -1)

    def _attend(self, image: np.ndarray, names: Sequence[str]) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Each layer's attention ``(heads, T, T)``, and for each of C names its logit's gradient by each of them."""
        logits, attentions = self._look(self._pixels(image).requires_grad_(), self._embed(names))
        gradients = [torch.autograd.grad(logit, attentions, retain_graph=True) for logit in logits[0]]
        layers = [attention[0].detach().cpu() for attention in attentions]
        return layers, [[slope[0].cpu() for slope in slopes] for slopes in gradients]

    def _look(self, pixels: Tensor, text: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``(B, 3, side, side)``, ``(C, D)`` -> CLIP's own logits ``(B, C)`` and attentions ``(B, heads, T, T)``."""
        seen = self._model.vision_model(pixels, output_attentions=True)
        picture = torch.nn.functional.normalize(self._model.visual_projection(seen.pooler_output), dim=-1)
        return self._model.logit_scale.exp() * picture @ text.T, seen.attentions

    @torch.no_grad()
    def _embed(self, names: Sequence[str]) -> Tensor:
        """``(C, D)``, of length 1: each name as "a photo of a NAME"."""
        texts = [f"a photo of a {name}" for name in names]
        ids = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self._device)
        read = self._model.text_model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
        return torch.nn.functional.normalize(self._model.text_projection(read.pooler_output), dim=-1)

    def _pixels(self, image: np.ndarray) -> Tensor:
        return to_pixels(image, self.side, *self._mean_std).to(self._device)
