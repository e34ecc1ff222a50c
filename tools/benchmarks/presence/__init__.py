"""How well the maps tell whether a concept is in the picture at all, on several models."""

from .judge import auroc as auroc
from .record import TUNING as TUNING
from .record import sampled as sampled
