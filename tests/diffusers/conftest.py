"""Tiny random Flux pipelines: every part is diffusers' or transformers' own, only small."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

WORDS = ["<pad>", "</s>", "<unk>", "a", "the", "on", "cat", "sofa", "dragon", "rock", "light", "house", "background"]
WORDS += ["ugly"]
SIZE = 64


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def parts() -> SimpleNamespace:
    """Components of a pipeline, without the transformer: made once, never changed."""
    from diffusers import AutoencoderKL
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    specials = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=77, **specials)
    torch.manual_seed(0)
    clip = CLIPTextConfig(
        vocab_size=32, hidden_size=32, intermediate_size=37, num_hidden_layers=1, num_attention_heads=2, eos_token_id=1
    )
    t5 = T5Config(vocab_size=32, d_model=32, d_kv=16, d_ff=37, num_layers=1, num_heads=2)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return SimpleNamespace(
        tokenizer=tokenizer,
        text_encoder=CLIPTextModel(clip).eval(),
        tokenizer_2=tokenizer,
        text_encoder_2=T5EncoderModel(t5).eval(),
        vae=vae.eval(),
    )


@pytest.fixture
def make_pipe(parts: SimpleNamespace) -> Any:
    """A pipeline of a given class around a fresh transformer, whose sizes may be overridden."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    def make(kind: str = "FluxPipeline", extra: dict[str, Any] | None = None, **sizes: Any) -> Any:
        import diffusers

        torch.manual_seed(1)
        transformer = FluxTransformer2DModel(
            **{
                "in_channels": 64,
                "out_channels": 64,
                "num_layers": 3,
                "num_single_layers": 1,
                "attention_head_dim": 32,
                "num_attention_heads": 2,
                "joint_attention_dim": 32,
                "pooled_projection_dim": 32,
                "axes_dims_rope": (8, 12, 12),
                "guidance_embeds": False,
                **sizes,
            }
        ).eval()
        pipe = getattr(diffusers, kind)(
            **vars(parts),
            scheduler=FlowMatchEulerDiscreteScheduler(),
            transformer=transformer,
            **(extra or {}),
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


@pytest.fixture
def paint() -> Any:
    """Call a pipeline with a fixed seed, small and quick: its pictures as ``(B, H, W, 3)``."""

    def paint(pipe: Any, prompt: Any = "a dragon on the rock", **settings: Any) -> np.ndarray:
        call = {
            "prompt": prompt,
            "num_inference_steps": 2,
            "height": SIZE,
            "width": SIZE,
            "max_sequence_length": 16,
            "generator": torch.Generator().manual_seed(0),
            "output_type": "np",
            **settings,
        }
        return pipe(**call).images

    return paint
