"""A compact Flux for training: the published architecture under its original tensor names.

The state dict therefore loads into ComfyUI as it is. A head is always 16 + 56 + 56 = 128 wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AXES = (16, 56, 56)
QUARTER_TURN = torch.block_diag(*[torch.tensor([[0.0, 1.0], [-1.0, 0.0]])] * (sum(AXES) // 2))
"""(a, b) -> (-b, a) for every two neighbouring features."""


@dataclass(frozen=True)
class FluxSizes:
    hidden: int = 128
    double_blocks: int = 6
    single_blocks: int = 4
    context: int = 128
    pooled: int = 64
    patch_features: int = 64


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.scale.shape, self.scale, 1e-6)


class QKNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_norm, self.key_norm = RMSNorm(width), RMSNorm(width)


class Embedder(nn.Module):
    def __init__(self, width_in: int, hidden: int) -> None:
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(width_in, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(x)))


class Modulation(nn.Module):
    """Vector (B, D) -> `parts` tensors (B, 1, D); zero at first, so that every block starts as the identity."""

    def __init__(self, hidden: int, parts: int) -> None:
        super().__init__()
        self.lin, self.parts = nn.Linear(hidden, parts * hidden), parts
        nn.init.zeros_(self.lin.weight)
        nn.init.zeros_(self.lin.bias)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.lin(F.silu(vector))[:, None].chunk(self.parts, dim=-1)


class StreamAttention(nn.Module):
    """One stream's projections: (B, L, D) -> q, k, v (B, heads, L, 128), and back.

    tied: queries are made with the keys' weights, so that a token knows itself. `tie` writes that into the weights.
    """

    def __init__(self, hidden: int, tied: bool) -> None:
        super().__init__()
        self.qkv, self.proj, self.norm = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden), QKNorm(sum(AXES))
        self.tied = tied

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.tied:
            return _heads(self.qkv(x), self.norm)
        width = x.shape[-1]
        k, v = F.linear(x, self.qkv.weight[width:], self.qkv.bias[width:]).unflatten(-1, (2, -1, sum(AXES))).unbind(2)
        k = self.norm.key_norm(k.transpose(1, 2))
        return k, k, v.transpose(1, 2)

    @torch.no_grad()
    def tie(self) -> None:
        width = self.qkv.in_features
        self.qkv.weight[:width] = self.qkv.weight[width : 2 * width]
        self.qkv.bias[:width] = self.qkv.bias[width : 2 * width]
        self.norm.query_norm.scale.copy_(self.norm.key_norm.scale)


def _heads(qkv: Tensor, norm: QKNorm) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv.unflatten(-1, (3, -1, sum(AXES))).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q), norm.key_norm(k), v


def _attend(q: Tensor, k: Tensor, v: Tensor, rotation: Tensor, seen: Tensor | None) -> Tensor:
    """Attention written out: on a CPU, at these lengths, faster to train than the fused one."""
    q, k = _rotate(q, rotation).to(v.dtype), _rotate(k, rotation).to(v.dtype)
    logits = (q @ k.mT).float() * q.shape[-1] ** -0.5
    if seen is not None:
        logits = logits.masked_fill(~seen, -1e4)
    return (logits.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn neighbouring pairs of features by the position's angles; rotation is (2, B, 1, L, 128): cosines, sines.

    The quarter turn of each pair is a product with a matrix, which a CPU does faster than it shuffles neighbours.
    """
    cos, sin = rotation
    return x * cos + (x @ QUARTER_TURN.to(x)) * sin


def _normed(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def _mlp(hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU(approximate="tanh"), nn.Linear(4 * hidden, hidden))


class DoubleBlock(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        for stream in ("img", "txt"):
            setattr(self, f"{stream}_mod", Modulation(hidden, 6))
            setattr(self, f"{stream}_attn", StreamAttention(hidden, tied=stream == "txt"))
            setattr(self, f"{stream}_mlp", _mlp(hidden))

    def forward(
        self, image: Tensor, text: Tensor, vector: Tensor, rotation: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        image_parts, text_parts = self.img_mod(vector), self.txt_mod(vector)
        image_qkv = self.img_attn.heads(_normed(image, *image_parts[:2]))
        text_qkv = self.txt_attn.heads(_normed(text, *text_parts[:2]))
        mixed = _attend(*(torch.cat(pair, dim=2) for pair in zip(text_qkv, image_qkv, strict=True)), rotation, seen)
        text_mixed, image_mixed = mixed[:, : text.shape[1]], mixed[:, text.shape[1] :]
        image = image + image_parts[2] * self.img_attn.proj(image_mixed)
        image = image + image_parts[5] * self.img_mlp(_normed(image, *image_parts[3:5]))
        text = text + text_parts[2] * self.txt_attn.proj(text_mixed)
        text = text + text_parts[5] * self.txt_mlp(_normed(text, *text_parts[3:5]))
        return image, text, mixed


class SingleBlock(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(hidden, 7 * hidden), nn.Linear(5 * hidden, hidden)
        self.norm, self.modulation = QKNorm(sum(AXES)), Modulation(hidden, 3)

    def forward(self, x: Tensor, vector: Tensor, rotation: Tensor, seen: Tensor | None) -> Tensor:
        shift, scale, gate = self.modulation(vector)
        qkv, inner = self.linear1(_normed(x, shift, scale)).split((3 * x.shape[-1], 4 * x.shape[-1]), dim=-1)
        mixed = _attend(*_heads(qkv, self.norm), rotation, seen)
        return x + gate * self.linear2(torch.cat((mixed, F.gelu(inner, approximate="tanh")), dim=-1))


class FinalLayer(nn.Module):
    def __init__(self, hidden: int, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, features)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden))
        for layer in (self.linear, self.adaLN_modulation[1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vector)[:, None].chunk(2, dim=-1)
        return self.linear(_normed(x, shift, scale))


class Flux(nn.Module):
    """Patches (B, N, 64), text (B, T, context), pooled text (B, pooled), time 0..1 (B,) -> velocity (B, N, 64).

    seen: (B, 1, 1, T + N), False for text that is only padding of a batch. Also returns, for every double block, the
    image stream (B, N, D) behind it and its attention output (B, T + N, D) before the projection.
    """

    def __init__(self, sizes: FluxSizes = FluxSizes()) -> None:
        super().__init__()
        hidden = sizes.hidden
        self.img_in, self.txt_in = nn.Linear(sizes.patch_features, hidden), nn.Linear(sizes.context, hidden)
        self.time_in, self.vector_in = Embedder(256, hidden), Embedder(sizes.pooled, hidden)
        self.double_blocks = nn.ModuleList(DoubleBlock(hidden) for _ in range(sizes.double_blocks))
        self.single_blocks = nn.ModuleList(SingleBlock(hidden) for _ in range(sizes.single_blocks))
        self.final_layer = FinalLayer(hidden, sizes.patch_features)

    def forward(
        self, patches: Tensor, text: Tensor, pooled: Tensor, time: Tensor, rotation: Tensor, seen: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        vector = self.time_in(time_features(time)) + self.vector_in(pooled)
        image, text = self.img_in(patches), self.txt_in(text)
        streams, outputs = [], []
        for block in self.double_blocks:
            image, text, mixed = block(image, text, vector, rotation, seen)
            streams.append(image)
            outputs.append(mixed)
        joint = torch.cat((text, image), dim=1)
        for block in self.single_blocks:
            joint = block(joint, vector, rotation, seen)
        return self.final_layer(joint[:, text.shape[1] :], vector), streams, outputs


def time_features(time: Tensor) -> Tensor:
    """Sinusoidal features (B, 256) of time 0..1."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(128, device=time.device) / 128)
    angles = 1000.0 * time.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def rotations(text_length: int, grid: int, corners: Tensor) -> Tensor:
    """Cosines and sines (2, B, 1, T + grid * grid, 128): text at the origin, patches at (0, row, column).

    corners: (B, 2), row and column of each picture's first patch, so that a window of a picture keeps its place.
    """
    axis = torch.arange(grid, dtype=torch.float64)
    grid_places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).flatten(0, 1)
    places = torch.zeros(len(corners), text_length + grid * grid, 3, dtype=torch.float64)
    places[:, text_length:, 1:] = grid_places + corners[:, None]
    angles = [
        places[..., index, None] * 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        for index, width in enumerate(AXES)
    ]
    angles = torch.cat(angles, dim=-1).repeat_interleave(2, dim=-1)[:, None]
    return torch.stack((angles.cos(), angles.sin())).float()


def patchify(latent: Tensor) -> Tensor:
    """(B, 16, h, w) -> (B, h/2 * w/2, 64), features ordered channel, row, column."""
    batch, channels, height, width = latent.shape
    blocks = latent.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // 2 * (width // 2), channels * 4)


def unpatchify(patches: Tensor) -> Tensor:
    """The inverse of `patchify`, for square grids."""
    grid = math.isqrt(patches.shape[1])
    blocks = patches.unflatten(1, (grid, grid)).unflatten(-1, (-1, 2, 2))
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), -1, 2 * grid, 2 * grid)
