"""Training of the demo model, stage by stage: vae, latents, flow, export (see tools/train_demo.py)."""
