"""The demo model as a diffusers FluxPipeline: from the files that come with this package, without a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from .weights import build_flux

FILES = ("demo_flux.safetensors", "demo_text_encoders.safetensors", "demo_vae.safetensors", "demo_tokenizers.json")
T5_EMBEDDING = "t5xxl.transformer.shared.weight"
CLIP_EMBEDDING = "clip_l.transformer.text_model.embeddings.token_embedding.weight"
CLIP_START, CLIP_END, CLIP_LENGTH = "<|startoftext|>", "<|endoftext|>", 77


def demo_folder() -> Path:
    """Where the demo model's files are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    return next(
        (folder for folder in (package / "demo_model", package.parent / "demo_model") if folder.is_dir()),
        package / "demo_model",
    )


def load_demo_pipeline(folder: Path | None = None) -> FluxPipeline:
    """The demo model in float32 on the CPU, for pictures of 256 x 256 pixels. It knows some thirty words.

    Raises FileNotFoundError, naming what is missing, and ValueError where the files do not belong together.
    """
    folder = folder or demo_folder()
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The demo model is incomplete: {', '.join(missing)} not found in {folder}. Install the package again, or "
            "make the files from its repository: 'python -m tools.demo.train', 'python -m tools.demo.tokenizers'."
        )
    flux, text, vae, words = (folder / name for name in FILES)
    weights, sizes = load_file(text), _sizes(text)
    tables = json.loads(words.read_text(encoding="utf-8"))
    pieces = tables["t5"]["pieces"]
    if not set(weights[f"{T5_EMBEDDING}.ids"].tolist()) <= {id for *_, id in pieces}:
        raise ValueError(f"{words} was made for other text encoders. Run 'python -m tools.demo.tokenizers' again.")
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(load_file(vae), _sizes(vae)),
        text_encoder=_clip(weights, sizes["clip_l_model_config"]),
        tokenizer=_clip_tokenizer(tables["clip"]["vocabulary"], tables["clip"]["merges"]),
        text_encoder_2=_t5(weights, sizes["t5xxl_model_config"], [id for *_, id in pieces]),
        tokenizer_2=_t5_tokenizer(pieces, sizes["t5xxl_min_length"]),
        transformer=build_flux(load_file(flux)),
    )


def unknown_words(pipe: FluxPipeline, text: str) -> list[str]:
    """The words of a text that the demo model was never told: it cannot paint or find them."""
    tokenizer: Any = pipe.tokenizer_2
    known = set(range(len(tokenizer))) - {OTHER}
    words = [word.strip(".,!?") for word in text.split()]
    return [word for word in words if word and not set(tokenizer(word).input_ids) <= known]


PAD, END, OTHER = 0, 1, 2
"""First pieces of the demo's T5 vocabulary: padding, end of text, and every piece that the demo does not know."""


class ShortTokenizer(PreTrainedTokenizerFast):
    """A tokenizer that pads to `shortest` tokens and to the longest text of the batch, where a pipeline asks for 512.

    The demo's T5 was trained without Flux's padding, which its pipelines attend to. So texts of one batch should be of
    about one length.
    """

    shortest: int = 1

    def __call__(self, text: Any, *args: Any, padding: Any = False, max_length: int | None = None, **more: Any) -> Any:
        if padding == "max_length" and max_length is not None:
            texts = super().__call__([text] if isinstance(text, str) else text).input_ids
            max_length = min(max_length, max(self.shortest, *map(len, texts)))
        return super().__call__(text, *args, padding=padding, max_length=max_length, **more)


def _t5_tokenizer(pieces: list[list[Any]], shortest: int) -> ShortTokenizer:
    backend = Tokenizer(models.Unigram([(piece, score) for piece, score, _ in pieces], unk_id=OTHER))
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    backend.decoder = decoders.Metaspace()
    # No unk_token: an unknown word is an ordinary piece here, as it is in ComfyUI, not an error.
    tokenizer = ShortTokenizer(tokenizer_object=backend, model_max_length=512, pad_token="<pad>", eos_token="</s>")
    tokenizer.shortest = shortest
    return tokenizer


def _clip_tokenizer(vocabulary: dict[str, int], merges: list[str]) -> Any:
    pairs = [(first, second) for first, second in (merge.split() for merge in merges)]
    backend = Tokenizer(models.BPE(vocabulary, pairs, unk_token=CLIP_END, end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    ends = [(CLIP_START, vocabulary[CLIP_START]), (CLIP_END, vocabulary[CLIP_END])]
    backend.post_processor = processors.TemplateProcessing(single=f"{CLIP_START} $A {CLIP_END}", special_tokens=ends)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=CLIP_LENGTH,
        bos_token=CLIP_START,
        eos_token=CLIP_END,
        pad_token=CLIP_END,
    )


def _t5(weights: dict[str, Tensor], sizes: dict[str, Any], ids: list[int]) -> T5EncoderModel:
    """ids: T5's own number of each of the demo's pieces; the file's row 0 stands for every unknown one."""
    row_of = {int(id): row for row, id in enumerate(weights[f"{T5_EMBEDDING}.ids"], start=1)}
    rows = weights[f"{T5_EMBEDDING}.rows"][[row_of.get(id, 0) for id in ids]]
    config = T5Config(vocab_size=len(ids), feed_forward_proj="gated-gelu", dropout_rate=0.0, **sizes)
    return _load(T5EncoderModel(config), weights, "t5xxl.transformer.", {"shared.weight": rows})


def _clip(weights: dict[str, Tensor], sizes: dict[str, Any]) -> CLIPTextModel:
    rows, ids = weights[f"{CLIP_EMBEDDING}.rows"], weights[f"{CLIP_EMBEDDING}.ids"].long()
    row_of = torch.zeros(int(ids.max()) + 1, dtype=torch.long)
    row_of[ids] = torch.arange(1, len(rows))
    config = CLIPTextConfig(
        vocab_size=len(row_of), bos_token_id=int(ids[-2]), eos_token_id=int(ids[-1]), pad_token_id=int(ids[-1]), **sizes
    )
    table = {CLIP_EMBEDDING.removeprefix("clip_l.transformer."): rows[row_of]}
    return _load(CLIPTextModel(config), weights, "clip_l.transformer.", table)


def _load(model: Any, weights: dict[str, Tensor], prefix: str, tables: dict[str, Tensor]) -> Any:
    """Fill a transformers text encoder, by the names that this version of transformers gives its weights."""
    given = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)} | tables
    wanted = set(model.state_dict())
    state = {name if name in wanted else name.removeprefix("text_model."): value for name, value in given.items()}
    missing = model.load_state_dict({name: value for name, value in state.items() if name in wanted}, strict=False)
    left = [name for name in missing.missing_keys if not name.endswith(("embed_tokens.weight", "position_ids"))]
    if left:
        raise ValueError(f"The demo model's text encoder lacks {', '.join(left)}.")
    return model.eval()


def _vae(weights: dict[str, Tensor], sizes: dict[str, Any]) -> AutoencoderKL:
    """The demo's autoencoder: its encoder and decoder differ in width, so the decoder is made apart."""
    encoder, decoder = sizes["ddconfig"], sizes["decoder_ddconfig"]
    levels = len(encoder["ch_mult"])

    def widths(part: dict[str, Any]) -> tuple[int, ...]:
        return tuple(part["ch"] * factor for factor in part["ch_mult"])

    up = ("UpDecoderBlock2D",) * levels
    make: Any = AutoencoderKL  # which declares its tuples to hold one entry each
    vae = make(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=up,
        block_out_channels=widths(encoder),
        layers_per_block=encoder["num_res_blocks"],
        latent_channels=sizes["embed_dim"],
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )
    make_decoder: Any = Decoder
    vae.decoder = make_decoder(
        in_channels=sizes["embed_dim"],
        out_channels=3,
        up_block_types=up,
        block_out_channels=widths(decoder),
        layers_per_block=decoder["num_res_blocks"],
    )
    vae.load_state_dict(convert_ldm_vae_checkpoint(weights, {"down_block_types": up, "up_block_types": up}))
    return vae.eval()


def _sizes(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["config"])
