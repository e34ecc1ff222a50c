"""Sampling never fails for the maps' sake: what goes wrong in the pack's own part becomes a message for the reader."""

from __future__ import annotations

import logging

from comfy.model_management import OOM_EXCEPTION, InterruptProcessingException

from ...letters import printable


def told(error: Exception) -> str:
    """What the reader of a run is told of an error in the recording; its traceback goes to the log.

    Raises the error again where it is the user's own wish to stop.
    """
    if isinstance(error, InterruptProcessingException):
        raise error
    logging.warning("Concept Attention did not record this run; the picture is not affected.", exc_info=error)
    if isinstance(error, OOM_EXCEPTION):
        return (
            "There was not enough memory to record this run; the picture is not affected. Name fewer concepts, or "
            "sample fewer or smaller pictures at once."
        )
    return (
        f"Recording failed in this run ({type(error).__name__}: {printable(str(error))[:300]}); the picture is not "
        "affected. Another node on this model may be the cause: try without it. The log has the details; "
        "`python -m tools.check_install`, in the pack's repository, makes a report."
    )
