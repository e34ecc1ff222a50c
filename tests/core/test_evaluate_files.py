"""A ComfyUI's files, by path, by name in its models folder, or as the only one of a folder; else what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from conceptattention_core.evaluate.cli import build_parser
from conceptattention_core.evaluate.comfy_files import chosen_files

FILES = (
    "diffusion_models/flux1-dev.safetensors",
    "unet/old/flux1-dev.safetensors",
    "unet/sd3.safetensors",
    "text_encoders/t5.safetensors",
    "clip/clip_l.safetensors",
    "vae/ae.safetensors",
    "checkpoints/sdxl/a.safetensors",
    "checkpoints/sdxl/b.ckpt",
    "checkpoints/one/c.safetensors",
    "checkpoints/one/readme.txt",
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


PARTS = "--clip t5.safetensors clip_l.safetensors --vae ae.safetensors"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (f"--unet sd3.safetensors {PARTS}", [FILES[2], FILES[3], FILES[4], FILES[5]]),
        (f"--unet old/flux1-dev.safetensors {PARTS}", [FILES[1], FILES[3], FILES[4], FILES[5]]),
        ("--checkpoint b.ckpt", [FILES[7]]),
        ("--checkpoint {models}/checkpoints/one", [FILES[8]]),
        ("", []),
    ],
)
def test_files_are_found(models: Path, words: str, found: list[str]) -> None:
    call = words.format(models=models).split()
    files = chosen_files(build_parser().parse_args(["scenes", "--comfyui-models", str(models), *call]))
    got = [files.unet, *files.clip, files.vae, files.checkpoint]
    assert [one for one in got if one is not None] == [models / name for name in found]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"--unet flux1-dev.safetensors {PARTS}", "may be 2 files: "),
        ("--checkpoint {models}/checkpoints/sdxl", "may be 2 files: {models}/checkpoints/sdxl/a.safetensors, "),
        ("--checkpoint flux.safetensors", "There are: c.safetensors, a.safetensors"),
        ("--unet sd3.safetensors --vae ae.safetensors", "Give --clip, too"),
        ("--checkpoint {models}/vae/..//embeddings", "There is no"),
    ],
)
def test_what_is_unclear_is_listed(models: Path, words: str, said: str) -> None:
    call = words.format(models=models).split()
    with pytest.raises(ValueError) as error:
        chosen_files(build_parser().parse_args(["scenes", "--comfyui-models", str(models), *call]))
    assert said.format(models=models) in str(error.value)
