"""The evaluation: how well concept maps segment pictures whose truth is known, by the paper's measures.

    python -m conceptattention_core.evaluate scenes --images 20

Data flows one way; read the files in this order::

    datasets/ -> words -> protocol -> method -> runner -> judge -> metrics -> results -> report, plots, sheet

`cli.py` puts them together, `shards.py` spreads the pictures over processes, `baselines/` has other models' rows.
`ablate.py` and `verdict.py` are the study, `stages.py` and `stage_report.py` the stages: both are only more methods,
and what is said of their rows.
"""
