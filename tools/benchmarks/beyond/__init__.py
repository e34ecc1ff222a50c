"""What might go beyond `auto`: one file a question, asked of four demo models, some of them hardly taught.

    python -m tools.benchmarks.beyond QUESTION --comfyui PATH --cache FOLDER

Recordings are made once and kept in the cache (`recordings.py`); a question only reads them anew.
"""
