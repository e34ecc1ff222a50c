"""How well the concept maps agree with the truth, by the rule that reads them: `python -m tools.benchmarks.quality`.

`words.py` asks, `record.py` samples and keeps, `rules.py` reads, `measures.py` and `compare.py` judge, `table.py`
prints.
"""

from .measures import Agreement
from .record import ROOT, start_comfyui
from .rules import ceiling_shares

__all__ = ["ROOT", "Agreement", "ceiling_shares", "start_comfyui"]
