"""The evaluation: how well concept maps segment pictures whose truth is known, by the paper's measures.

    python -m conceptattention_core.evaluate scenes --images 20

Data flows one way; read the files in this order::

    datasets/ -> protocol -> method -> runner -> metrics -> results -> report, plots

`cli.py` puts them together, `shards.py` spreads the pictures over processes, `baselines/` has other models' rows.
"""
