"""The time axis: maps live on a video's token frames, a person's pictures are more. Where each of them lies."""

from __future__ import annotations

import math

import numpy as np
import torch
from einops import rearrange
from torch import Tensor


def picture_times(
    latent_frames: int, ratio: int, together: int = 1, added: int = 0, alone: bool = True
) -> tuple[float, ...]:
    """Where each decoded picture lies on the axis of token frames: 0 is the centre of the first, 1 of the second.

    A causal video VAE makes ``1 + ratio * (latent_frames - 1)`` pictures: latent frame 0 is picture 0, latent frame j
    covers the `ratio` pictures up to ``ratio * j``. together: latent frames of one token frame; the last one may have
    fewer. A token frame's centre is the middle of the pictures that it covers; before the first centre and behind the
    last one time stands still. added: how many of the latent frames, fewer than `together`, stand in front of the
    video while the model looks at it, and are not decoded. alone: the first latent frame is one picture; else it is
    `ratio` pictures, as every other.
    """
    starts = range(0, latent_frames, together)
    before = ratio * added + (ratio - 1 if alone else 0)  # pictures that are missing at the beginning
    first = [max(0, ratio * frame - before) for frame in starts]
    last = [ratio * min(frame + together, latent_frames) - before - 1 for frame in starts]
    centres = [(one + other) / 2 for one, other in zip(first, last, strict=True)]
    pictures = np.arange(ratio * latent_frames - before)
    return tuple(np.interp(pictures, centres, np.arange(len(centres))).tolist())


def in_pictures(frames: Tensor, times: tuple[float, ...]) -> Tensor:
    """What is known of token frames, in decoded pictures, each between its two neighbours linearly.

    frames: ``(batch, concepts, frames, ...)``, of a single frame for pictures; times: as of `picture_times`.
    Returns ``(batch * pictures, concepts, ...)``, all pictures of the first video, then those of the second.
    """
    at = torch.tensor(times, dtype=torch.float64)
    before = at.floor().long().clamp(0, frames.shape[2] - 1)
    behind = (before + 1).clamp(max=frames.shape[2] - 1)
    weight = (at - before).to(frames.dtype).view(-1, *[1] * (frames.ndim - 3))
    mixed = torch.lerp(frames[:, :, before], frames[:, :, behind], weight)
    return rearrange(mixed, "b c p ... -> (b p) c ...").contiguous()


def moving_mean(pictures: Tensor, sides: int, of_a_video: int) -> Tensor:
    """Each picture's mean with up to `sides` before and behind it, within its own video: against flicker.

    pictures: ``(videos * of_a_video, ...)``, as of `in_pictures`. Returns the same shape; at an end fewer count.
    """
    videos = pictures.unflatten(0, (-1, of_a_video))
    near = [slice(max(0, at - sides), at + sides + 1) for at in range(of_a_video)]
    return torch.stack([videos[:, one].mean(dim=1) for one in near], dim=1).flatten(0, 1)


def around(time: float, frames: int) -> tuple[int, int]:
    """First and last token frame that a picture at this time is made of."""
    first = min(math.floor(time), frames - 1)
    return first, min(math.ceil(time), frames - 1)
