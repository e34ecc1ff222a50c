"""One room for each host: comfy and diffusers. In each, `families/` holds a file for each kind of model."""
