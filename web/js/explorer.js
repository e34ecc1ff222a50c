// Concept Explorer: its widget.

import { app } from "../../../scripts/app.js";
import { Explorer } from "./explorer_node.js";

const SIZE = [480, 720];

app.registerExtension({
  name: "conceptattention.explorer",

  getCustomWidgets() {
    return {
      CONCEPT_EXPLORER(node, name) {
        const explorer = new Explorer(node);
        const widget = node.addDOMWidget(name, "CONCEPT_EXPLORER", explorer.page.root, {
          getValue: () => explorer.value,
          setValue: (text) => { explorer.value = text; },
          getMinHeight: () => 380,
          hideOnZoom: false,
        });
        node.conceptExplorer = explorer;
        const executed = node.onExecuted;
        node.onExecuted = function (output) {
          executed?.apply(this, arguments);
          explorer.executed(output);
        };
        const configured = node.onConfigure;
        node.onConfigure = function () {
          configured?.apply(this, arguments);
          explorer.show();
          explorer.load();
        };
        return { widget };
      },
    };
  },

  nodeCreated(node) {
    if (node.comfyClass === "ConceptAttentionExplorer") node.setSize([...SIZE]);
  },
});
