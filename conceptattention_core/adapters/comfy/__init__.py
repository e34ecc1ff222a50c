"""ComfyUI: models, samplers, text encoders and files, by its public extension points alone."""
