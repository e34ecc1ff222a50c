"""Maps for scripts and notebooks: the same recorded scores by concept name, as tensors, arrays or PIL pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, overload

import numpy as np
from PIL import Image
from torch import Tensor

from .images import Output, Picture, image_batch, picture_tensor, to_output, to_pil
from .maps import ConceptAttentionMaps, resize_maps
from .masks.methods import MaskMethod
from .masks.presence import presence
from .masks.recipe import MaskRecipe, make_mask
from .masks.select import select
from .pictures.heatmap import heatmap_picture, overlay_picture
from .pictures.weights import weights_picture
from .points import read_clicks
from .storage import load_maps, save_maps


@dataclass(frozen=True)
class ConceptMaps:
    """A front on `ConceptAttentionMaps` for people: names instead of indices, one picture at a time.

    raw: the object that ComfyUI's nodes hand around, with the scores of the whole batch. It stays plain data with
    tensors for a batch; everything here is derived from it, so `ConceptMaps(raw)` is all that it takes to look at
    maps that a node has made, and `maps.raw` to give maps to a function that works on batches.

    A batch of pictures, or a video, is a sequence: ``len(maps)``, ``maps[2]``, ``for picture, its_maps in zip(images,
    maps)``. The methods below need a single picture, and raise ValueError where there are several, rather than choose
    one silently.
    """

    raw: ConceptAttentionMaps

    @property
    def concepts(self) -> tuple[str, ...]:
        """All names; the last `raw.background_count` only compete."""
        return self.raw.concepts

    def __len__(self) -> int:
        return self.raw.pictures

    def __getitem__(self, index: int) -> ConceptMaps:
        """The maps of one picture of the batch. Raises IndexError past the end."""
        return ConceptMaps(self.raw.picture(range(len(self))[index]))

    def __iter__(self) -> Iterator[ConceptMaps]:
        return (self[index] for index in range(len(self)))

    def saliency(
        self, first_block: int | None = None, last_block: int | None = None, temperature: float = 1.0
    ) -> dict[str, Tensor]:
        """Share of each concept in each patch: name -> ``(h, w)`` float32; they sum to 1 over the concepts.

        The arguments are those of `ConceptAttentionMaps.saliency`.
        """
        shares = self._one().saliency(first_block, last_block, temperature)[0]
        return dict(zip(self.concepts, shares, strict=True))

    def presence(self, first_block: int | None = None, last_block: int | None = None) -> dict[str, float]:
        """How sure the maps are that each concept is in the picture at all, 0..1 (see `presence.presence`)."""
        sure = presence(self._one(), first_block, last_block)[0]
        return dict(zip(self.concepts, sure.tolist(), strict=True))

    @overload
    def mask(
        self,
        concept: str = ...,
        method: MaskMethod = ...,
        *,
        image: Picture | None = ...,
        size: tuple[int, int] | None = ...,
        output: Literal["torch"] = ...,
        **recipe: Any,
    ) -> Tensor: ...

    @overload
    def mask(
        self, concept: str = ..., method: MaskMethod = ..., *, output: Literal["numpy"], **recipe: Any
    ) -> np.ndarray: ...

    @overload
    def mask(
        self, concept: str = ..., method: MaskMethod = ..., *, output: Literal["pil"], **recipe: Any
    ) -> Image.Image: ...

    def mask(
        self,
        concept: str = "",
        method: MaskMethod = "mean",
        *,
        image: Picture | None = None,
        size: tuple[int, int] | None = None,
        output: Output = "torch",
        **recipe: Any,
    ) -> Picture:
        """The mask that Concept Attention Mask makes in ComfyUI, ``(H, W)`` float32 0..1 (PIL: mode L, 0..255).

        concept: a name, or several: ``tree + house - door``; empty: the first. method and `recipe`: the fields of
        `MaskRecipe`, such as `threshold`, `percentile`, `grow`, `blur`, `keep`, `min_presence`, `first_block`.
        image: the picture, whose edges the mask is moved to. size: ``(H, W)`` wanted; by default the picture's, and
        without one the maps' own. Raises ValueError on an unknown concept or method.
        """
        picture = None if image is None else picture_tensor(image)
        made = make_mask(self._one(), MaskRecipe(concept, method=method, **recipe), picture, size)
        return to_output(made.mask[0], output)

    def select(
        self,
        points: str | Sequence[Any],
        negative: str | Sequence[Any] = (),
        *,
        image: Picture | None = None,
        size: tuple[int, int] | None = None,
        tolerance: float = 0.5,
        output: Output = "torch",
    ) -> Picture:
        """The mask of what the points lie on, without a name, ``(H, W)`` 0 or 1, as Concept Select makes it.

        points, negative: ``(x, y)`` in pixels of the picture, or their text (see `points.read_clicks`): on the thing,
        and on what is not the thing. The other arguments as in `mask`; tolerance: see `masks.select.select`.
        Raises ValueError where these maps hold no features, and on points that are none or lie outside.
        """
        picture = None if image is None else picture_tensor(image)
        size = size or (self.raw.image_size if picture is None else (picture.shape[1], picture.shape[2]))
        guide = None if picture is None else image_batch(picture, 1, size)
        on, off = read_clicks(points, negative, size, "negative")
        return to_output(select(self._one(), on, off, guide, size, tolerance).mask[0], output)

    def heatmap(self, concept: str, size: tuple[int, int] | None = None, **blocks: Any) -> Image.Image:
        """One concept's share in colours, on the absolute scale 0 (dark) to 1 (pale). size: ``(H, W)``."""
        shares = self._in_pixels(size or self.raw.image_size, **blocks)
        return to_pil(heatmap_picture(shares[:, self.raw.index(concept)])[0])

    def weights(self, **blocks: Any) -> Image.Image:
        """How much ``shares("auto")`` trusts each block (bars) and each of its steps (cells, the last step lowest).

        blocks: first_block, last_block and temperature, as `ConceptAttentionMaps.block_weights` takes them.
        """
        maps, (first, last) = self._one(), (blocks.get("first_block"), blocks.get("last_block"))
        named = [maps.blocks[at] for at in maps.trusted(first, last)]
        return to_pil(weights_picture(maps.block_weights(**blocks), named, maps.sigmas)[0])

    def overlay(self, image: Picture | None = None, alpha: float = 0.6, **blocks: Any) -> Image.Image:
        """Every place in the colour of its strongest concept, over the picture, with a legend below.

        image: PIL, or an array or tensor ``(H, W, 3)``, 0..1 or uint8; without one, plain colours. alpha: 0..1.
        """
        picture = None if image is None else picture_tensor(image)
        size = self.raw.image_size if picture is None else (picture.shape[1], picture.shape[2])
        shares = self._in_pixels(size, **blocks)
        background = None if picture is None else image_batch(picture, 1, size)
        return to_pil(overlay_picture(shares, self.concepts, self.raw.background_count, background, alpha)[0])

    def save(self, path: str | PathLike[str]) -> None:
        """Write the scores of all pictures to a `.safetensors` file (see `storage.save_maps`)."""
        save_maps(self.raw, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ConceptMaps:
        """Read a file that `save`, or ComfyUI, has written (see `storage.load_maps`)."""
        return cls(load_maps(path))

    def _in_pixels(self, size: tuple[int, int], **blocks: Any) -> Tensor:
        """``(1, C, *size)``."""
        return resize_maps(self._one().saliency(**blocks), self.raw.image_size, size, self.raw.token_pixels)

    def _one(self) -> ConceptAttentionMaps:
        """The maps of the one picture, or ValueError where there are several."""
        if len(self) != 1:
            raise ValueError(f"These are the maps of {len(self)} pictures. Say which one: maps[0], maps[1] ...")
        return self.raw
