"""Make `demo_model/demo_tokenizers.json`: the demo model's share of Flux's two tokenizers, for use without ComfyUI.

    python -m tools.demo.tokenizers --comfyui COMFYUI

The demo's text encoders know some forty pieces of text each (their ids stand in demo_text_encoders.safetensors), so
only those are written, with T5's score of each and with the CLIP merges that build them. Words made of known pieces
come out exactly as the full tokenizers cut them: the best cut of a word among all pieces is still the best among fewer,
and so is each merge. All other text becomes pieces that the demo does not know. Run it again when the demo has been
trained on other words; `tests/comfyui/test_diffusers_demo.py` compares the two.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
T5_SPECIAL = 3
"""Ids below are padding, end and unknown; the file keeps them in that order."""
BYTE_PIECES = 512
"""CLIP's first ids: every byte, inside a word and at its end."""


def t5_pieces(folder: Path, ids: list[int]) -> list[list[Any]]:
    """``[piece, score, id]`` of every known piece, the special ones first. folder: ComfyUI's T5 tokenizer."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    wanted = [*range(T5_SPECIAL), *sorted(set(ids) - set(range(T5_SPECIAL)))]
    return [[*vocabulary[id], id] for id in wanted]


def clip_pieces(folder: Path, ids: list[int]) -> tuple[dict[str, int], list[str]]:
    """Pieces with their ids, and the merges that build the known ones. folder: ComfyUI's CLIP tokenizer."""
    vocabulary: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    ranks = {
        tuple(line.split()): rank
        for rank, line in enumerate((folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:])
    }
    pieces = {piece: id for piece, id in vocabulary.items() if id < BYTE_PIECES or id in ids}
    merges: set[tuple[str, ...]] = set()
    for piece in list(pieces):
        if not piece.startswith("<|"):
            merges |= _merges(piece, ranks)
    for merge in merges:
        pieces["".join(merge)] = vocabulary["".join(merge)]
    return pieces, [" ".join(merge) for merge in sorted(merges, key=lambda merge: ranks[merge])]


def _merges(piece: str, ranks: dict[tuple[str, ...], int]) -> set[tuple[str, ...]]:
    """The merges that byte-pair encoding makes on the way to this piece."""
    end = "</w>" if piece.endswith("</w>") else ""
    parts = list(piece.removesuffix("</w>"))
    parts[-1] += end
    done = set()
    while len(parts) > 1:
        at = min(range(len(parts) - 1), key=lambda at: ranks.get((parts[at], parts[at + 1]), len(ranks)))
        done.add((parts[at], parts[at + 1]))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI tree, which brings the full tokenizers")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo_model")
    options = parser.parse_args()
    with safe_open(options.folder / "demo_text_encoders.safetensors", "pt") as file:
        names = [name for name in file.keys() if name.endswith(".ids")]  # noqa: SIM118
        ids = {name.split(".")[0]: file.get_tensor(name).tolist() for name in names}
    comfy = options.comfyui / "comfy"
    vocabulary, merges = clip_pieces(comfy / "sd1_tokenizer", ids["clip_l"])
    made = {
        "made_by": "tools/demo/tokenizers.py, from the tokenizers of T5 (Google, Apache-2.0) and CLIP (OpenAI, MIT)",
        "t5": {"pieces": t5_pieces(comfy / "text_encoders" / "t5_tokenizer", ids["t5xxl"])},
        "clip": {"vocabulary": vocabulary, "merges": merges},
    }
    path = options.folder / "demo_tokenizers.json"
    path.write_text(json.dumps(made, ensure_ascii=False, indent=None) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes, {len(made['t5']['pieces'])} T5 pieces, {len(merges)} CLIP merges")


if __name__ == "__main__":
    main()
