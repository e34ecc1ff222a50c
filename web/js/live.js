// Maps while a sampler runs, over its step preview: in the explorers that wait for it, and in Apply Concept Attention.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { element, keepToItself } from "./elements.js";
import { drawLive } from "./explorer_draw.js";
import { ROOT } from "./explorer_state.js";
import { allNodes, grow, nodeOf } from "./graph.js";
import { word } from "./words.js";

const LIVE = "ConceptAttention.LiveMaps";
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

/** Tell the server what this page's setting is, under the name that the server knows the page by. */
function tellLive(on = app.extensionManager.setting.get(LIVE) ?? true) {
  if (!api.clientId) return;
  const asked = new URLSearchParams({ on, client: api.clientId });
  api.fetchApi(`${ROOT}live?${asked}`, { method: "POST" }).catch(() => null);
}

const explorers = () => allNodes().map((node) => node.conceptExplorer).filter(Boolean);

/** The canvas in the node that prepared the model: it is made with the first frame, and stays. */
function canvasOf(node) {
  if (!node.conceptLive) {
    const canvas = element("canvas", { role: "img", "aria-label": word("Concepts while the picture forms") });
    canvas.style.cssText = "width: 100%; height: 100%; object-fit: contain;";
    const root = keepToItself(element("div", {}, [canvas]));
    const widget = node.addDOMWidget("live_maps", "CONCEPT_LIVE", root, {
      serialize: false, getMinHeight: () => 150, hideOnZoom: false,
    });
    widget.serialize = false;
    node.conceptLive = canvas;
    grow(node);
  }
  return node.conceptLive;
}

app.registerExtension({
  name: "conceptattention.live",

  settings: [{
    id: LIVE,
    category: ["Concept Attention", "Explorer", "Live maps"],
    name: "Show maps while a sampler runs (where preview pictures are on)",
    type: "boolean",
    defaultValue: true,
    onChange: (on) => tellLive(on),
  }],

  setup() {
    let preview = null;
    tellLive();
    api.addEventListener("status", () => tellLive(), { once: true });  // by now the page has its name
    api.addEventListener("reconnected", () => tellLive());
    api.addEventListener("b_preview", async ({ detail }) => {
      preview = await createImageBitmap(detail).catch(() => null);
    });
    api.addEventListener("concept_attention.live", ({ detail }) => {
      explorers().forEach((one) => one.live(detail, preview));
      const node = nodeOf(detail.prepared_by);
      if (node?.comfyClass !== "ConceptAttentionApply") return;
      drawLive(canvasOf(node), detail, detail.colors, detail.names.length - detail.background, preview);
    });
    for (const event of ENDS) {
      api.addEventListener(event, () => {
        preview = null;
        explorers().forEach((one) => one.settled());
        if (event === "execution_success") return;  // the last frame is nearly the picture's maps: it may stay
        for (const canvas of allNodes().map((node) => node.conceptLive).filter(Boolean)) {
          canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
        }
      });
    }
  },
});
