"""The demo model: training stage by stage (vae, latents, flow, export; `train` runs them all), and samples of it."""
