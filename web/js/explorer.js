// Concept Explorer: its widget, its setting, and frames from samplers that run.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { Explorer, ROOT } from "./explorer_node.js";

const SIZE = [480, 720];
const LIVE = "ConceptAttention.LiveMaps";
const setLive = (on) => api.fetchApi(`${ROOT}live?on=${Boolean(on)}`, { method: "POST" }).catch(() => null);

app.registerExtension({
  name: "conceptattention.explorer",

  settings: [{
    id: LIVE,
    category: ["Concept Attention", "Explorer", "Live maps"],
    name: "Show maps while a sampler runs (where preview pictures are on)",
    type: "boolean",
    defaultValue: true,
    onChange: setLive,
  }],

  setup() {
    api.addEventListener("concept_attention.live", ({ detail }) => {
      const graphs = [app.rootGraph ?? app.graph, ...(app.rootGraph?.subgraphs?.values?.() ?? [])];
      for (const graph of graphs) {
        for (const node of graph?.nodes ?? []) node.conceptExplorer?.live(detail);
      }
    });
  },

  getCustomWidgets() {
    return {
      CONCEPT_EXPLORER(node, name) {
        const explorer = new Explorer(node);
        const widget = node.addDOMWidget(name, "CONCEPT_EXPLORER", explorer.page.root, {
          getValue: () => explorer.value,
          setValue: (text) => { explorer.value = text; },
          getMinHeight: () => 440,
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
