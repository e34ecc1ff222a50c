// The concepts that a reading node can be asked for, to click on; how surely each is there; what the node has to say.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { element, keepToItself } from "./elements.js";
import { ROOT } from "./explorer_state.js";
import { grow, sourceOf } from "./graph.js";
import { word } from "./words.js";

const READERS = ["ConceptAttention", "ConceptAttentionMask", "ConceptAttentionSegmentation",
  "ConceptAttentionHeatmap", "ConceptAttentionBoxes"];
const LISTS = ["ConceptAttentionHeatmap"];
const STYLE = `
.concept-names { display: flex; flex-direction: column; gap: 2px; overflow-y: auto; height: 100%; font: 11px sans-serif;
  color: var(--input-text, #ddd); box-sizing: border-box; }
.concept-names .chips { display: flex; flex-wrap: wrap; gap: 3px; }
.concept-names button { background: var(--comfy-input-bg, #222); color: inherit; font: inherit; cursor: pointer;
  border: 1px solid var(--border-color, #555); border-radius: 8px; padding: 1px 7px; max-width: 100%; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.concept-names button.absent { opacity: 0.6; text-decoration: line-through; }
.concept-names button:focus-visible { outline: 2px solid #6cf; }
.concept-names .said:empty { display: none; }`;
const ABSENT = 0.5;

/** What is typed in the node that the maps come from; null where it is out of sight. */
function typedIn(node) {
  for (let at = node, hops = 0; at && hops < 20; hops++) {
    const value = (name) => at.widgets?.find((one) => one.name === name)?.value;
    const typed = { concepts: value("concepts"), background: value("background") };
    if (Object.values(typed).every((text) => typeof text === "string")) return typed;
    at = sourceOf(at, "maps") ?? sourceOf(at, "concept_attention");
  }
  return null;
}

class Names {
  constructor(node) {
    this.node = node;
    this.chips = element("div", { className: "chips", role: "group", "aria-label": word("Known concepts") });
    this.said = element("div", { className: "said", role: "status", "aria-live": "polite" });
    const root = element("div", { className: "concept-names", "data-capture-wheel": "true" },
      [element("style", {}, [STYLE]), this.chips, this.said]);
    this.root = keepToItself(root);
    // Whoever reaches for a name sees those that are typed by now.
    root.addEventListener("pointerenter", () => this.show());
  }

  get kept() { return (this.node.properties.concept_names ??= {}); }

  /** Room for two rows of names, and for words where there are some. LiteGraph leaves 10 units above and below. */
  get height() { return this.said.textContent ? 104 : 64; }

  executed(output) {
    if (!output?.concept_names) return;
    this.node.properties.concept_names = Object.fromEntries(
      output.concept_names.map((name, at) => [name, output.concept_presence[at]]));
    this.said.textContent = (output.text ?? []).filter(Boolean).join(" ");
    this.show();
    // The picture's place in the node is made when the picture has come and been drawn.
    for (const wait of [0, 500, 2000]) setTimeout(() => grow(this.node), wait);
  }

  /** The names that are typed, as the server reads them; those of the last run where nothing can be read. */
  async names() {
    const body = JSON.stringify(typedIn(this.node));
    if (body === "null") return Object.keys(this.kept);
    if (body !== this.asked?.body) {
      const answer = await api.fetchApi(`${ROOT}names`, { method: "POST", body }).catch(() => null);
      this.asked = { body, names: answer?.ok ? await answer.json() : Object.keys(this.kept) };
    }
    return this.asked.names;
  }

  async show() {
    const names = await this.names(), shown = JSON.stringify([names, this.kept]);
    if (shown === this.shown) return;  // a press that has begun on a name must end on it
    this.shown = shown;
    this.chips.replaceChildren(...names.map((name) => {
      const sure = this.kept[name], there = sure === undefined ? "" : ` ${sure.toFixed(2)}`;
      const title = word("Choose {name}. With Shift: add it.", { name });
      const made = element("button", { type: "button", title }, [`${name}${there}`]);
      if (sure < ABSENT) made.className = "absent";
      made.onclick = (event) => this.choose(name, event.shiftKey);
      return made;
    }));
  }

  /** Write a name into `concept`, alone or behind what is there. */
  choose(name, more) {
    const widget = this.node.widgets.find((one) => one.name === "concept"), before = String(widget?.value ?? "").trim();
    if (!widget) return;
    const sign = LISTS.includes(this.node.comfyClass) ? ", " : " + ";
    widget.value = more && before ? before + sign + name : name;
    widget.callback?.(widget.value);
    this.node.graph?.change?.();
    app.canvas?.setDirty?.(true, true);
  }
}

app.registerExtension({
  name: "conceptattention.names",

  nodeCreated(node) {
    if (!READERS.includes(node.comfyClass)) return;
    const names = new Names(node);
    const widget = node.addDOMWidget("concept_names", "CONCEPT_NAMES", names.root, {
      serialize: false, getMinHeight: () => names.height, hideOnZoom: false,
    });
    widget.serialize = false;
    const { onExecuted, onConfigure, onConnectionsChange } = node;
    node.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      names.executed(output);
    };
    node.onConfigure = function () {
      onConfigure?.apply(this, arguments);
      requestAnimationFrame(() => names.show());  // when all nodes and links are there
    };
    node.onConnectionsChange = function () {
      onConnectionsChange?.apply(this, arguments);
      requestAnimationFrame(() => names.show());
    };
  },
});
