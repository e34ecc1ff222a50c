"""The workflows that `tools/save_workflows.py` has the front end make."""
