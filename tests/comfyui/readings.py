"""How each family's text encoder reads a concept, written down by hand.

Pieces are spelled with a space for the mark of one, and with numbers for bytes that are no whole letter.
"""

from __future__ import annotations

from dataclasses import dataclass

LONG = " ".join(["tree"] * 60)

QWEN = {
    "lighthouse": ["l", "ighthouse"],
    "palm tree": ["p", "alm", " tree"],
    "(old) lighthouse": ["(old", ")", " l", "ighthouse"],
    "user": ["user"],
    "assistant": ["assistant"],
    "skyscraper": ["sk", "ys", "craper"],
    "船": ["船"],
    "дерево": ["дер", "ев", "о"],
    "café": ["ca", "fé"],
    "§": ["§"],
    "§ 5": ["§", " ", "5"],
    "a §": ["a", " §"],
    "0": ["0"],
    "7 trees 0": ["7", " trees", " ", "0"],
    LONG: ["tree", *[" tree"] * 59],
}
OVIS = {
    "lighthouse": [" l", "ighthouse"],
    "palm tree": [" palm", " tree"],
    "(old) lighthouse": [" (", "old", ")", " l", "ighthouse"],
    "user": [" user"],
    "assistant": [" assistant"],
    "background": [" background"],
    "skyscraper": [" skys", "craper"],
    "船": [r" \xe8", r"\x88", r"\xb9"],
    "дерево": [" дерев", "о"],
    "café": [" café"],
    "§ 5": [" §", " ", "5"],
    "a §": [" a", " §"],
    "0": ["0"],
    "7 trees 0": ["7", " trees", " ", "0"],
    LONG: [" tree"] * 60,
}
T5 = {
    "lighthouse": [" light", "house"],
    "palm tree": [" palm", " tree"],
    "(old) lighthouse": [" (", "old", ")", " light", "house"],
    "user": [" user"],
    "assistant": [" assistant"],
    "skyscraper": [" sky", "s", "cra", "per"],
    "café": [" café"],
    "zèbre": ["z", "è", "bre"],
    "0": ["0"],
    "a/b": ["a", "/", "b"],
    LONG: [" tree"] * 60,
}
PILE = {
    "lighthouse": [" l", "ighth", "ouse"],
    "palm tree": [" pal", "m", " tree"],
    "(old) lighthouse": [" (", "old", ")", " l", "ighth", "ouse"],
    "user": [" user"],
    "assistant": [" assistant"],
    "skyscraper": [" sk", "ys", "cra", "per"],
    "船": ["<0xE8>", "<0x88>", "<0xB9>"],
    "дерево": [" дере", "во"],
    "café": [" c", "afé"],
    "§": [" §"],
    "a §": [" a", " §"],
    "¤x": ["¤", "x"],
    "0": ["0"],
    "7 trees 0": ["7", " trees", " ", "0"],
    LONG: [" tree"] * 60,
}
CLIP = {
    "lighthouse": ["lighthouse"],
    "palm tree": ["palm", "tree"],
    "(old) lighthouse": ["(", "old", ")", "lighthouse"],
    "user": ["user"],
    "assistant": ["assistant"],
    "skyscraper": ["sky", "scra", "per"],
    "船": [r"\xe8", r"\x88", r"\xb9"],
    "café": ["café"],
    "§ 5": [r"\xc2", r"\xa7", "5"],
    "a §": ["a", r"\xc2", r"\xa7"],
    "£ §": ["£", r"\xc2", r"\xa7"],
    "7 trees 0": ["7", "trees", "0"],
    LONG: ["tree"] * 60,
}
LLAMA = {
    "lighthouse": ["l", "ighthouse"],
    "palm tree": ["pal", "mtree"],
    "(old) lighthouse": ["(old", ")", "l", "ighthouse"],
    "user": ["user"],
    "assistant": ["assistant"],
    "skyscraper": ["sk", "ys", "craper"],
    "café": ["caf", r"\xe9"],
    "§": [r"\xa7"],
    "§ 5": [r"\xa7", "5"],
    "a §": ["a", r"\xa7"],
    "0": ["0"],
    "7 trees 0": ["7", "trees", "0"],
}
"""As ComfyUI's tokenizer reads with transformers 5, which loses Llama's spaces, and bytes of other scripts."""
T5_REFUSES = ("船", "дерево", "§", "sky 日本")


@dataclass(frozen=True)
class Reading:
    """How a family's encoder reads "lighthouse": where, in the tokens of `key`, its first piece stands (a bare space in
    front of it not counted), how many tokens the encoder drops before it, and how many rows there are behind it, or in
    all where tokens are padded."""

    family: str
    encoder: str
    key: str
    words: dict[str, list[str]]
    start: int
    dropped: int = 0
    behind: int = 0
    length: int | None = None
    raw: bool = False
    alone: bool = False


READINGS = [
    Reading("FLUX.1", "flux", "t5xxl", T5, 0, length=256),
    Reading("LongCat-Image", "longcat", "qwen25_7b", QWEN, 36, dropped=36, length=512, raw=True),
    Reading("Ovis-Image", "ovis", "qwen3_2b", OVIS, 29, dropped=28, length=256),
    Reading("FLUX.2", "flux2_dev", "mistral3_24b", QWEN, 32, behind=1),
    Reading("FLUX.2", "klein_4b", "qwen3_4b", QWEN, 3, length=512),
    Reading("FLUX.2", "klein_8b", "qwen3_8b", QWEN, 3, length=512),
    Reading("Chroma", "chroma", "t5xxl", T5, 0, behind=1),
    Reading("Chroma Radiance", "chroma", "t5xxl", T5, 0, behind=1),
    Reading("Qwen-Image", "qwen_image", "qwen25_7b", QWEN, 34, dropped=34, behind=5),
    Reading("Mage-Flow", "mage", "qwen3vl_4b", QWEN, 34, dropped=34, behind=5),
    Reading("Stable Diffusion 3", "sd3", "t5xxl", T5, 0, length=77, alone=True),
    Reading("Stable Diffusion 3", "sd3_clips", "l", CLIP, 1, length=77),
    Reading("HiDream I1", "hidream", "t5xxl", T5, 0, length=128),
    Reading("AuraFlow", "aura", "pile_t5xl", PILE, 0, length=256),
    Reading("Boogu", "boogu", "qwen3vl_8b", QWEN, 29, behind=2),
    Reading("Lens", "lens", "gpt_oss", QWEN, 105, dropped=97, behind=22, raw=True),
    Reading("JoyImage", "joy", "qwen3vl_8b", QWEN, 36, dropped=34, behind=5),
    Reading("PixelDiT", "pixeldit", "gemma2_2b", PILE, 250, dropped=249, length=300),
    Reading("Z-Image", "zimage", "qwen3_4b", QWEN, 3, behind=5),
    Reading("Lumina 2", "lumina2", "gemma2_2b", PILE, 1),
    Reading("SDXL", "sdxl", "l", CLIP, 1, length=77),
    Reading("Stable Diffusion 1.5", "sd1", "l", CLIP, 1, length=77),
    Reading("Stable Diffusion 1.5", "sd2", "h", CLIP, 1, length=77),
    Reading("Wan", "wan", "umt5xxl", PILE, 0, length=512),
    Reading("CogVideoX", "cogvideo", "t5xxl", T5, 0, length=226),
    Reading("HunyuanImage 2.1", "hunyuan_image", "qwen25_7b", QWEN, 34, dropped=34, behind=1),
    Reading("HunyuanVideo", "hunyuan_video", "llama", LLAMA, 96, dropped=95, behind=1),
    Reading("HunyuanVideo 1.5", "hunyuan_video15", "qwen25_7b", QWEN, 98, dropped=98, behind=5),
    Reading("LTX-Video", "ltxv", "t5xxl", T5, 0, length=128),
    Reading("Cosmos-Predict2", "cosmos", "t5xxl", T5, 0, length=512),
    Reading("Cosmos-Predict2 video", "cosmos", "t5xxl", T5, 0, length=512),
    Reading("Krea 2", "krea2", "qwen3vl_4b", QWEN, 34, dropped=34, behind=5),
]
