// Concept Explorer: its widget, its setting, and frames from samplers that run.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { Explorer, ROOT } from "./explorer_node.js";

const SIZE = [480, 720];
const LIVE = "ConceptAttention.LiveMaps";

/** Tell the server what this page's setting is, under the name that the server knows the page by. */
function tellLive(on = app.extensionManager.setting.get(LIVE) ?? true) {
  if (!api.clientId) return;
  const asked = new URLSearchParams({ on, client: api.clientId });
  api.fetchApi(`${ROOT}live?${asked}`, { method: "POST" }).catch(() => null);
}

/** Every explorer of the open workflow, also inside its subgraphs. */
function explorers() {
  const root = app.rootGraph ?? app.graph;
  const graphs = [root, ...(root?.subgraphs?.values?.() ?? [])];
  return graphs.flatMap((graph) => graph?.nodes ?? []).map((node) => node.conceptExplorer).filter(Boolean);
}

app.registerExtension({
  name: "conceptattention.explorer",

  settings: [{
    id: LIVE,
    category: ["Concept Attention", "Explorer", "Live maps"],
    name: "Show maps while a sampler runs (where preview pictures are on)",
    type: "boolean",
    defaultValue: true,
    onChange: (on) => tellLive(on),
  }],

  setup() {
    tellLive();
    api.addEventListener("status", () => tellLive(), { once: true });  // by now the page has its name
    api.addEventListener("reconnected", () => tellLive());
    api.addEventListener("concept_attention.live", ({ detail }) => explorers().forEach((one) => one.live(detail)));
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(event, () => explorers().forEach((one) => one.settled()));
    }
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
