// The explorer's controls.

import { element, keepToItself } from "./elements.js";
import { word } from "./words.js";

const STYLE = `
.concept-explorer { display: flex; flex-direction: column; gap: 4px; height: 100%; box-sizing: border-box;
  container-type: size; padding: 4px; color: var(--input-text, #ddd); font: 12px sans-serif; overflow: hidden; }
.concept-explorer .stage { flex: 1 1 0; min-height: 140px; position: relative; display: flex;
  justify-content: center; align-items: center; background: #0004; border-radius: 4px; overflow: hidden; }
.concept-explorer canvas { width: 100%; height: 100%; object-fit: contain; cursor: crosshair; touch-action: none; }
.concept-explorer canvas:focus-visible { outline: 2px solid #6cf; }
.concept-explorer .row { display: flex; gap: 6px; align-items: center; flex-wrap: wrap; }
.concept-explorer label { display: flex; gap: 4px; align-items: center; flex: 1 1 90px; min-width: 0;
  white-space: nowrap; }
.concept-explorer input[type=range] { flex: 1 1 30px; min-width: 30px; }
.concept-explorer select, .concept-explorer button { background: var(--comfy-input-bg, #222); color: inherit;
  border: 1px solid var(--border-color, #555); border-radius: 4px; padding: 2px 6px; font: inherit; max-width: 100%; }
.concept-explorer select { flex: 1 1 60px; min-width: 60px; }
.concept-explorer button[aria-pressed=true] { outline: 2px solid #6cf; outline-offset: -2px; }
.concept-explorer .legend { flex: 0 0 auto; max-height: 66px; overflow-y: auto; }
.concept-explorer .tools { gap: 4px; }
.concept-explorer .tools button { padding: 2px 4px; }
.concept-explorer .tools label { flex-basis: 60px; }
.concept-explorer .swatch { display: inline-block; width: 10px; height: 10px; margin-right: 4px; border-radius: 2px; }
.concept-explorer .said { min-height: 15px; opacity: 0.85; }
.concept-explorer .weights { display: flex; gap: 6px; align-items: center; font-size: 10px; line-height: 11px; }
.concept-explorer .weights > div { flex: 1; min-width: 0; }
.concept-explorer .weights canvas { display: block; height: 18px; object-fit: fill; image-rendering: pixelated;
  cursor: default; }
.concept-explorer .bars, .concept-explorer .numbers { display: flex; align-items: flex-end; text-align: center; }
.concept-explorer .bars { height: 28px; }
.concept-explorer .bars > *, .concept-explorer .numbers > * { flex: 1 1 0; min-width: 0; }
.concept-explorer .bar { background: currentColor; margin: 0 min(2px, 8%); }
.concept-explorer .bar.out { opacity: 0.3; }
@container (max-height: 420px) { .concept-explorer .weights { display: none; } }
.concept-explorer [hidden] { display: none; }`;

export const VIEWS = { heat: "Heat map", all: "All concepts", mask: "Mask", blocks: "By block", steps: "By step" };

const KEYS = "Click, or left and right: choose a concept. Up and down: the threshold. While painting, arrows move the "
  + "brush and space paints.";

/** label: what is read out, where the row says the rest to those who see it. */
function slider(name, tip, min, max, step, label = name) {
  const title = word(tip);
  const input = element("input", { type: "range", min, max, step, title, "aria-label": word(label) });
  const shown = element("span", {}, [""]);
  return { input, shown, label: element("label", { title }, [word(name), input, shown]) };
}

/** Everything that is on the node: elements by name. */
export function makePage() {
  // Nodes 2.0 leaves the wheel to what has the focus inside an element that is marked so.
  const page = { root: element("div", { className: "concept-explorer", "data-capture-wheel": "true" }) };
  page.canvas = element("canvas", { tabIndex: 0, width: 16, height: 16, role: "application",
    "aria-label": word("Concept map"), title: word(KEYS) });
  page.concept = element("select", { title: word("Which concept to show"), "aria-label": word("Concept") });
  page.view = element("select", { title: word("What to show"), "aria-label": word("View") });
  for (const [value, text] of Object.entries(VIEWS)) page.view.append(element("option", { value }, [word(text)]));
  page.threshold = slider("Threshold", "The share of the competition from which on a place is masked", 0, 1, 0.01);
  page.temperature = slider("Temperature", "Above 1 softens the competition, below 1 sharpens it", -2, 2, 0.05);
  page.firstBlock = slider("Blocks from", "The first block of the model to average", 0, 1, 1);
  page.lastBlock = slider("to", "The last block of the model to average", 0, 1, 1, "Blocks to");
  page.firstStep = slider("Steps from", "The first step to average", 0, 1, 1);
  page.lastStep = slider("to", "The last step to average", 0, 1, 1, "Steps to");
  page.picture = slider("Picture", "Which picture of the batch", 0, 0, 1);
  page.brush = slider("Brush", "Size of the brush", 0.005, 0.2, 0.005);
  const button = (text, title) => element("button", { type: "button", title: word(title) }, [word(text)]);
  page.add = button("Paint +", "Paint on the picture to add to the mask");
  page.remove = button("Paint -", "Paint on the picture to take from the mask");
  page.on = button("Select +",
    "Click on a thing to select it without a name, for Concept Select. Also Shift and click");
  page.off = button("Select -", "Click on what is not the thing. Also Alt and click");
  page.undo = button("Undo", "Take back the last stroke or point");
  page.clear = button("Clear", "Take back all strokes and points");
  page.keep = button("Keep old strokes", "Use the strokes of older pictures on this one, too");
  page.play = button("Play", "Show one step after another");
  page.edges = button("Edges", "Follow the picture's edges");
  page.auto = button("Auto", "Weigh blocks and steps by what they show themselves");
  page.save = button("Save PNG", "Save what is seen");
  // Until there is a batch, and there are steps, and older strokes, and a picture, and features to select by.
  const later = [page.picture.label, page.play, page.keep, page.edges, page.auto, page.on, page.off];
  for (const one of later) one.hidden = true;
  page.legend = element("div", { className: "row legend", role: "group", "aria-label": word("Concepts") });
  page.weights = element("div", { className: "weights", role: "img", hidden: true },
    [element("span", { title: word("Weigh blocks and steps by what they show themselves") }, [word("Auto trusts")]),
      element("div")]);
  page.said = element("div", { className: "said", role: "status", "aria-live": "polite" });
  page.root.append(
    element("style", {}, [STYLE]),
    element("div", { className: "stage" }, [page.canvas]),
    page.said,
    element("div", { className: "row" }, [page.concept, page.view, page.picture.label, page.play, page.edges,
      page.auto, page.save]),
    page.legend,
    element("div", { className: "row" }, [page.threshold.label, page.temperature.label]),
    page.weights,
    element("div", { className: "row" }, [page.firstBlock.label, page.lastBlock.label]),
    element("div", { className: "row" }, [page.firstStep.label, page.lastStep.label]),
    element("div", { className: "row tools" }, [page.on, page.off, page.add, page.remove, page.brush.label, page.undo,
      page.clear, page.keep]),
  );
  keepToItself(page.root);
  return page;
}
