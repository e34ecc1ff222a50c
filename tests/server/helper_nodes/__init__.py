"""Custom nodes that the server tests load beside the pack: places where a workflow can fail on demand."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
from comfy_api.latest import ComfyExtension, io


class TestLatentCheckpoint(io.ComfyNode):
    """Hands a LATENT on, or fails."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestLatentCheckpoint",
            inputs=[io.Latent.Input("samples"), io.Boolean.Input("fail")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], fail: bool) -> io.NodeOutput:
        if fail:
            raise RuntimeError("failed on demand")
        return io.NodeOutput(samples)


class TestModelCheckpoint(io.ComfyNode):
    """Hands a MODEL on; at the evaluation with this number (1 is the first) sampling fails, 0: never."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestModelCheckpoint",
            inputs=[io.Model.Input("model"), io.Int.Input("fail_at")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, fail_at: int) -> io.NodeOutput:
        if not fail_at:
            return io.NodeOutput(model)
        evaluations = 0

        def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal evaluations
            evaluations += 1
            if evaluations == fail_at:
                raise RuntimeError("failed while sampling")
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "test", count)
        return io.NodeOutput(model)


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TestLatentCheckpoint, TestModelCheckpoint]


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
