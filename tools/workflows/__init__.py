"""The workflows that ship: plans, and `save`, which has the front end make files and pictures of them."""
