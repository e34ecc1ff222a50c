"""CLIP: which patches make a picture like "a photo of a dog"."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
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
        self._layers: Any = self._model.vision_model.encoder.layers
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

        text, pixels = self._embed(names), self._pixels(image)
        features = nn.Identity()  # captum reads a module's output, and wants it as ``(B, D, h, w)``

        def lead_through(_layer: nn.Module, _inputs: Any, tokens: Tensor) -> Tensor:
            seen = features(rearrange(tokens[:, 1:], "b (h w) d -> b d h w", h=self.grid))
            return torch.cat([tokens[:, :1], rearrange(seen, "b d h w -> b (h w) d")], dim=1)

        with self._layers[-1].layer_norm1.register_forward_hook(lead_through):
            method = LayerGradCam(lambda shown: self._look(shown, text)[0], features)
            # one name at a time: all at once would take a large CLIP's memory ten times
            found: list[Any] = [method.attribute(pixels, target=index) for index in range(len(names))]
        return torch.cat(found)[:, 0].detach().cpu()

    def attention_gradcam(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """Grad-CAM of the last layer's heads, see `attention.gradcam`. ``(C, grid, grid)`` float32, signed."""
        logits, attentions = self._look(self._pixels(image), self._embed(names))
        slopes = [torch.autograd.grad(logit, attentions[-1], retain_graph=True)[0] for logit in logits[0]]
        return torch.stack([gradcam(attentions[-1][0].detach(), slope[0], self.grid) for slope in slopes]).cpu()

    def relevance(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """Chefer et al. 2021 through all layers, see `attention.relevance`. ``(C, grid, grid)`` float32, 0 or more."""
        logits, attentions = self._look(self._pixels(image), self._embed(names))
        layers = [attention[0].detach() for attention in attentions]
        found = []
        for logit in logits[0]:
            slopes = torch.autograd.grad(logit, attentions, retain_graph=True)
            found.append(relevance(layers, [slope[0] for slope in slopes]))
        return patches(torch.stack(found), self.grid).cpu()

    @torch.no_grad()
    def rollout(self, image: np.ndarray, names: Sequence[str]) -> Tensor:
        """Attention rollout, which knows no names: one map ``(grid, grid)`` float32, repeated for each of C."""
        _, attentions = self._look(self._pixels(image), self._embed(names))
        reached = patches(rollout([attention[0] for attention in attentions]), self.grid)
        return reached.cpu().expand(len(names), -1, -1)

    def _look(self, pixels: Tensor, text: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, 3, side, side)``, ``(C, D)`` -> CLIP's own logits ``(B, C)`` and attentions ``(B, heads, T, T)``."""
        attentions: list[Tensor] = []
        with ExitStack() as stack:  # not by output_attentions: the vision model of transformers 5.0 does not know it
            for layer in self._layers:
                keep = layer.self_attn.register_forward_hook(lambda _layer, _inputs, made: attentions.append(made[1]))
                stack.enter_context(keep)
            seen = self._model.vision_model(pixels)
        picture = torch.nn.functional.normalize(self._model.visual_projection(seen.pooler_output), dim=-1)
        return self._model.logit_scale.exp() * picture @ text.T, attentions

    @torch.no_grad()
    def _embed(self, names: Sequence[str]) -> Tensor:
        """``(C, D)``, of length 1: each name as "a photo of a NAME"."""
        texts = [f"a photo of a {name}" for name in names]
        ids = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self._device)
        read = self._model.text_model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
        return torch.nn.functional.normalize(self._model.text_projection(read.pooler_output), dim=-1)

    def _pixels(self, image: np.ndarray) -> Tensor:
        """``(1, 3, side, side)``, of which gradients are wanted: the weights are frozen."""
        return to_pixels(image, self.side, *self._mean_std).to(self._device).requires_grad_()
