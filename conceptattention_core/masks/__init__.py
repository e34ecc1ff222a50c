"""From maps to masks: methods, expressions, regions, edges, presence, boxes; `recipe` puts them in order."""
