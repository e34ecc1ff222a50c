"""Pictures for people: heat maps, overlays, layouts, legends, previews."""
