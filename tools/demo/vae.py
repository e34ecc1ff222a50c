"""A small convolutional autoencoder under the names that ComfyUI's AutoencoderKL family uses.

It differs from the full-size one in widths only, and in leaving out the attention of the middle block and the 1x1
convolutions round the latent: `full_state` adds them so that they do nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LATENT_CHANNELS = 16
SCALE, SHIFT = 0.3611, 0.1159
"""Flux's latent format: the model sees `(z - SHIFT) * SCALE`."""

ENCODER = {"ch": 64, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 0}
DECODER = {"ch": 32, "ch_mult": [1, 1, 2, 2], "num_res_blocks": 0}
SHARED = {
    "double_z": True,
    "z_channels": LATENT_CHANNELS,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "attn_resolutions": [],
    "dropout": 0.0,
}
CONSTANT_LOGVAR = -20.0


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResBlock(nn.Module):
    """norm, SiLU, conv, twice, beside a shortcut."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width_in), nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2, self.conv2 = norm(width_out), nn.Conv2d(width_out, width_out, 3, padding=1)
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


def _middle(width: int) -> nn.Module:
    middle = nn.Module()
    middle.block_1, middle.block_2 = ResBlock(width, width), ResBlock(width, width)
    return middle


def _level(resampler: str, width: int) -> nn.Module:
    level, inner = nn.Module(), nn.Module()
    inner.conv = nn.Conv2d(
        width, width, 3, stride=2 if resampler == "downsample" else 1, padding=0 if resampler == "downsample" else 1
    )
    setattr(level, resampler, inner)
    return level


class Encoder(nn.Module):
    """(B, 3, H, W) in -1..1 -> (B, 2 * 16, H/8, W/8): strided convolutions of one width, then the middle."""

    def __init__(self) -> None:
        super().__init__()
        width = ENCODER["ch"]
        self.conv_in = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList([*(_level("downsample", width) for _ in range(3)), nn.Module()])
        self.mid = _middle(width)
        self.norm_out, self.conv_out = norm(width), nn.Conv2d(width, 2 * LATENT_CHANNELS, 3, padding=1)
        with torch.no_grad():
            self.conv_out.weight[LATENT_CHANNELS:] = 0.0
            self.conv_out.bias[LATENT_CHANNELS:] = CONSTANT_LOGVAR

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in list(self.down)[:3]:
            x = level.downsample.conv(F.pad(x, (0, 1, 0, 1)))
        x = self.mid.block_2(self.mid.block_1(x))
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """(B, 16, h, w) -> (B, 3, 8h, 8w)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [DECODER["ch"] * factor for factor in DECODER["ch_mult"]]
        self.conv_in = nn.Conv2d(LATENT_CHANNELS, widths[-1], 3, padding=1)
        self.mid = _middle(widths[-1])
        self.up = nn.ModuleList(
            _level("upsample", width) if index else nn.Module() for index, width in enumerate(widths)
        )
        above = widths[-1]
        for index in reversed(range(len(widths))):
            self.up[index].block = nn.ModuleList([ResBlock(above, widths[index])])
            above = widths[index]
        self.norm_out, self.conv_out = norm(above), nn.Conv2d(above, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid.block_2(self.mid.block_1(self.conv_in(z)))
        for index in reversed(range(len(self.up))):
            x = self.up[index].block[0](x)
            if index:
                x = self.up[index].upsample.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))


class Autoencoder(nn.Module):
    """Encoder and decoder, with the latent as the flow model sees it (about zero mean and unit covariance)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def encode(self, image: Tensor) -> Tensor:
        """Image in -1..1 -> model-side latent (B, 16, H/8, W/8)."""
        return (self.encoder(image)[:, :LATENT_CHANNELS].float() - SHIFT) * SCALE

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(latent / SCALE + SHIFT)


def full_state(model: Autoencoder) -> dict[str, Tensor]:
    """The weights as ComfyUI's AutoencoderKL expects them."""
    state = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
    for part, width in (("encoder", ENCODER["ch"]), ("decoder", DECODER["ch"] * DECODER["ch_mult"][-1])):
        attention = f"{part}.mid.attn_1"
        state |= {f"{attention}.norm.weight": torch.ones(width), f"{attention}.norm.bias": torch.zeros(width)}
        for layer in ("q", "k", "v", "proj_out"):
            state |= {f"{attention}.{layer}.weight": torch.zeros(width, width, 1, 1)}
            state |= {f"{attention}.{layer}.bias": torch.zeros(width)}
    for layer, width in (("quant_conv", 2 * LATENT_CHANNELS), ("post_quant_conv", LATENT_CHANNELS)):
        state |= {f"{layer}.weight": torch.eye(width)[:, :, None, None], f"{layer}.bias": torch.zeros(width)}
    return state
