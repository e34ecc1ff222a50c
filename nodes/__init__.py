"""The pack's ComfyUI nodes: one file each, a schema and a call into the core."""
