"""What dev.py, the server tests and the browser tests need: an environment, a ComfyUI, a client, a front end."""
