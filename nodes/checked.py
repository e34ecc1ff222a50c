"""What a node is given, checked against its own schema: typed, linked or from an API file.

ComfyUI compares typed numbers with their range and typed choices with their options. What comes over a link it hands on
as it is, and a choice with inputs of its own that is missing or misspelt it leaves out.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from comfy_api.latest import io
from torch import Tensor

from ..conceptattention_core.images import picture_batch
from ..conceptattention_core.letters import code_of, printable, quoted

Node = TypeVar("Node", bound=type[io.ComfyNode])


def checked(node: Node) -> Node:
    """Class decorator: `execute` is called with what the schema allows, or one ValueError names the input.

    Numbers are within their range, choices among their options, texts are text that can be shown. Inputs that are
    missing have their defaults; what the schema does not know is left out. An error's text can always be printed.
    """
    run: Callable[..., io.NodeOutput] = node.execute.__func__  # type: ignore[attr-defined]
    names = list(inspect.signature(run).parameters)[1:]
    # As in ComfyUI, what a node looks at itself is its own affair.
    own = set(inspect.signature(node.validate_inputs).parameters) if "validate_inputs" in vars(node) else set()

    @functools.wraps(run)
    def execute(cls: type[io.ComfyNode], *args: Any, **inputs: Any) -> io.NodeOutput:
        schema = cls.SCHEMA or cls.define_schema()
        given = {**dict(zip(names, args, strict=False)), **inputs}
        try:
            return run(cls, **read_inputs(schema.inputs, given, own))
        except Exception as error:
            if printable(str(error)) == str(error):
                raise
            # ComfyUI logs it with its traceback, and a log that cannot be written ends the queue for good.
            raise ValueError(printable(str(error))) from None

    node.execute = classmethod(execute)  # type: ignore[assignment]
    return node


def read_inputs(
    inputs: list[io.Input], given: dict[str, Any], own: set[str] | frozenset[str] = frozenset(), inside: str = ""
) -> dict[str, Any]:
    """Arguments for the inputs of a schema. own: those that are not checked. inside: the choice that they belong to.

    Raises ValueError that names the input, its value and what it takes.
    """
    values: dict[str, Any] = {}
    for one in inputs:
        name = f"{inside}{one.id}"
        if isinstance(one, io.DynamicCombo.Input):
            values[one.id] = _read_dynamic(one, name, given)
        elif one.id in given and one.id in own:
            values[one.id] = given[one.id]
        elif one.id in given and (given[one.id] is not None or not one.optional):
            values[one.id] = _read(one, name, given[one.id])
        elif getattr(one, "default", None) is not None:
            values[one.id] = one.default
        elif not one.optional:
            raise ValueError(f"`{name}` is missing. {_choices(one) or 'Connect it.'}")
    return values


def _read_dynamic(one: io.DynamicCombo.Input, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A choice with inputs of its own, as ComfyUI nests them, or as an API file writes them (``method.low``)."""
    value = given.get(one.id)
    nested = value if isinstance(value, dict) else {} if value is None else {one.id: value}
    chosen = nested.get(one.id)
    option = next((option for option in one.options if isinstance(chosen, str) and option.key == chosen), None)
    if chosen is None:
        option = one.options[0]  # as the canvas does
    if option is None:
        raise ValueError(f"`{name}` is {shown(chosen)}. {_choices(one)}")
    flat = {key.removeprefix(f"{one.id}."): item for key, item in given.items() if key.startswith(f"{one.id}.")}
    return {one.id: option.key, **read_inputs(option.inputs, {**flat, **nested}, inside=f"{name}.")}


def _choices(one: io.Input) -> str:
    options = [getattr(option, "key", option) for option in getattr(one, "options", None) or ()]
    return f"Choose one of: {', '.join(map(printable, map(str, options)))}." if options else ""


def _read(one: io.Input, name: str, value: Any) -> Any:
    if isinstance(one, (io.Int.Input, io.Float.Input)):
        return _read_number(one, name, value)
    if isinstance(one, io.Boolean.Input):
        number = _number(value)
        if number not in (0, 1):
            raise ValueError(f"{name} ({shown(value)}) must be true or false.")
        return bool(number)
    if isinstance(one, io.Combo.Input):
        if not isinstance(value, (str, int)) or value not in one.options:
            raise ValueError(f"`{name}` is {shown(value)}. {_choices(one)}")
        return value
    if isinstance(one, io.String.Input):
        text = str(value) if isinstance(value, (int, float)) else value
        if not isinstance(text, str):
            raise ValueError(f"{name} ({shown(value)}) must be text.")
        half = next((char for char in text if "\ud800" <= char <= "\udfff"), None)
        if half is not None:
            raise ValueError(f"`{name}` holds half a character, {code_of(half)}, in {quoted(text)}. Type it again.")
        return text
    if isinstance(one, io.Image.Input):
        return picture_batch(value, name)
    if isinstance(one, io.Latent.Input) and not (isinstance(value, dict) and isinstance(value.get("samples"), Tensor)):
        raise ValueError(f"`{name}` is {shown(value)}, not a LATENT of one tensor. Connect the sampler's own output.")
    return value


def _read_number(one: io.Int.Input | io.Float.Input, name: str, value: Any) -> int | float:
    whole = isinstance(one, io.Int.Input)
    number = _number(value)
    if isinstance(number, float):  # a bound in float32 is not quite that bound
        number = next((end for end in (one.min, one.max) if math.isclose(number, end, rel_tol=1e-6)), number)
    ends = f"{one.min} and {one.max}"
    if number is None or (whole and one.min <= number <= one.max and number != int(number)):
        raise ValueError(f"{name} ({shown(value)}) must be a {'whole ' * whole}number between {ends}.")
    if number < one.min:
        raise ValueError(f"{name} ({shown(value)}) must be at least {one.min} and at most {one.max}.")
    if not number <= one.max:  # so NaN, too
        raise ValueError(f"{name} ({shown(value)}) must lie between {ends}.")
    return int(number) if whole else float(number)


def _number(value: Any) -> int | float | None:
    """A number of any library, of one place, or one that is written out; None for what is none."""
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    if isinstance(value, str) and value.strip().casefold() in ("true", "false"):
        return int(value.strip().casefold() == "true")
    try:
        return int(value) if isinstance(value, str) and value.strip("+-").isdecimal() else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def shown(value: Any) -> str:
    """A value for a message: short, and never the cause of another error."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a number of about {int(value.bit_length() * math.log10(2))} digits"
    if value is None or isinstance(value, (int, float)):
        return str(value)
    number = _number(value)
    return f"of type {type(value).__name__}" if number is None else f"{number}"
