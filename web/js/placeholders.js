// An empty box for several lines says in the front end's language what belongs into it.

import { app } from "../../../scripts/app.js";

app.registerExtension({
  name: "conceptattention.placeholders",

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("ConceptAttention")) return;
    for (const widget of node.widgets ?? []) {
      if (widget.element instanceof HTMLTextAreaElement) widget.element.placeholder = widget.label ?? widget.name;
    }
  },
});
