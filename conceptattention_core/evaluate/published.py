"""The paper's figures (arXiv 2502.04320, ICML 2025), to stand beside a run's own. Percent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row as printed. What the paper calls mIoU on ImageNet-Segmentation is accuracy / (2 - accuracy)."""

    method: str
    accuracy: float
    miou: float | None = None
    mean_average_precision: float | None = None


IMAGENET = (
    Published("Concept Attention, Flux", 83.07, 71.04, 90.45),
    Published("Concept Attention, SD3.5", 81.92, 67.47, 90.79),
    Published("DINO", 81.97, 69.44, 86.12),
    Published("TransInterp", 79.70, 61.95, 86.03),
    Published("OVAM", 79.41, 65.02, 88.12),
    Published("DAAM, SDXL", 78.47, 64.56, 88.79),
    Published("Raw cross-attention, SD3.5", 77.80, 63.67, 83.50),
    Published("TextSpan", 75.21, 54.50, 81.61),
    Published("Raw cross-attention, Flux", 74.92, 59.90, 87.23),
    Published("CLIPasRNN", 74.05, 58.80, 84.80),
    Published("Rollout", 73.54, 55.42, 84.76),
    Published("GradCAM", 64.44, 40.82, 71.60),
    Published("LRP", 51.09, 32.89, 55.68),
)
VOC_SINGLE = (
    Published("Concept Attention, Flux", 87.85, 76.45, 90.19),
    Published("Concept Attention, SD3.5", 83.90, 69.93, 90.02),
    Published("DINO", 80.71, 64.33, 88.90),
    Published("Raw cross-attention, Flux", 80.37, 54.77, 89.08),
    Published("TransInterp", 76.90, 57.08, 86.74),
    Published("DAAM, SDXL", 72.76, 55.95, 88.34),
)
VOC_MULTI = (
    Published("Concept Attention, Flux", 86.99, 51.39),
    Published("Raw cross-attention, Flux", 79.52, 27.04),
    Published("TextSpan", 73.84, 38.10),
    Published("DAAM, SDXL", 62.89, 10.97),
)
TABLES = {"imagenet-segmentation": IMAGENET, "voc-single": VOC_SINGLE, "voc-multi": VOC_MULTI}

IMAGENET_ABLATIONS = {
    "projection": (
        Published("Concept Attention, softmax", 83.07),
        Published("Concept Attention, no softmax", 78.75),
        Published("Raw cross-attention, softmax", 74.92),
        Published("Raw cross-attention, no softmax", 66.59),
        Published("Value space, no softmax", 45.93),
        Published("Value space, softmax", 45.78),
    ),
    "keys": (
        Published("keys: both", 83.07),
        Published("keys: image", 76.51),
        Published("keys: none", 52.63),
        Published("keys: concepts", 51.68),
    ),
}
