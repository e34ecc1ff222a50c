// Concept Explorer, what one node does. Small maps come from the server once; everything else happens here.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { cut, drawLive, drawSeries, heatPicture, maskPicture, outline, paint, winnersPicture }
  from "./explorer_draw.js";
import { MODES, listen } from "./explorer_controls.js";
import { element } from "./elements.js";
import { makePage } from "./explorer_page.js";
import { SELECTS, clicksOf, drawSelection, selected } from "./explorer_select.js";
import { sourceOf } from "./graph.js";
import { DEFAULTS, ROOT, SERIES, blockRange, conceptOf, readState, stepRange, weighs, writeState }
  from "./explorer_state.js";
import { showWeights } from "./explorer_weights.js";
import { word } from "./words.js";

const WAITING = "Run the workflow to see its maps.";
const LEFT = " {count} stroke(s) or point(s) belong to another picture and are not used.";
const GONE = "These maps are gone: the server was restarted, or newer runs took their place. Run again.";

/** The part of a mask that is in it. */
const part = (mask) => mask.reduce((sum, one) => sum + one, 0) / mask.length;
const inPercent = (share) => `${(100 * share).toFixed(1)} %`;

export class Explorer {
  constructor(node) {
    this.node = node;
    this.page = makePage();
    this.state = structuredClone(DEFAULTS);
    this.played = null;     // the step that Play shows
    this.cursor = null;     // where the keys paint
    this.mode = "";          // "add", "remove": paint; "on", "off": select; "": look
    this.shownPicture = 0;
    this.asked = 0;
    listen(this);
    this.say(word(WAITING));
  }

  // ---- what is kept: choices in the widget (they go into the mask), the rest in the node's properties --------------

  get value() { return writeState(this.state); }

  set value(text) {
    this.state = readState(text);
    this.show();
  }

  get kept() { return (this.node.properties.concept_explorer ??= { view: "heat", key: "", pictures: [] }); }

  changed() { this.node.graph?.change?.(); app.canvas?.setDirty?.(true, true); }

  say(text) { this.page.said.textContent = text; }

  /** What the server is asked; the canvas is `aria-busy` until all answers are drawn. */
  async awaiting(answer) {
    this.awaited = (this.awaited ?? 0) + 1;
    this.page.canvas.setAttribute("aria-busy", "true");
    try {
      return await answer;
    } finally {
      if (!--this.awaited) this.page.canvas.setAttribute("aria-busy", "false");
    }
  }

  // ---- what the server has ------------------------------------------------------------------------------------------

  /** A run has ended: `key` of its maps, and files of its pictures. */
  async executed(output) {
    const key = output?.explorer?.[0];
    if (!key) return;
    Object.assign(this.kept, { key, pictures: output.explorer_pictures ?? [] });
    await this.load();
  }

  load() { return this.awaiting(this.loadAll()); }

  loadMaps() { return this.awaiting(this.loadShares()); }

  /** Ask for the maps of the last run again: after a run, and when a saved workflow is opened. */
  async loadAll() {
    if (!this.kept.key) return;
    const answer = await api.fetchApi(`${ROOT}${this.kept.key}/about`).catch(() => null);
    if (!answer?.ok) {
      this.about = null;
      this.clearCanvas();
      return this.say(word(GONE));
    }
    this.about = await answer.json();
    this.maps = null;  // what is drawn stays until its own maps have come
    this.named = this.about.names.length - this.about.background;
    this.shownPicture = Math.min(this.shownPicture, this.about.pictures - 1);
    this.fill();
    await Promise.all([this.loadPicture(), this.loadMaps()]);
  }

  async loadPicture() {
    const file = this.kept.pictures[Math.min(this.shownPicture, this.kept.pictures.length - 1)];
    const asked = this.photoAsked = (this.photoAsked ?? 0) + 1;
    let photo = null;
    if (file) {
      photo = new Image();
      photo.src = api.apiURL(`/view?${new URLSearchParams(file)}`);
      photo = await photo.decode().then(() => photo, () => null);
    }
    if (asked !== this.photoAsked) return;  // another picture was chosen meanwhile
    this.photo = photo;
    this.draw();
  }

  /** What is read: the state, but for the step that is being played. */
  get reading() { return { ...this.state, ...this.played }; }

  query(more) {
    const { first_block, last_block, start, end, temperature, edges, reading } = this.reading;
    const asked = { picture: this.shownPicture, start, end, temperature, edges, reading, ...more };
    if (first_block !== null) asked.first_block = first_block;
    if (last_block !== null) asked.last_block = last_block;
    return new URLSearchParams(asked);
  }

  async ask(route, more) {
    const answer = await api.fetchApi(`${ROOT}${this.kept.key}/${route}?${this.query(more)}`);
    if (!answer.ok) throw new Error(await answer.text());
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** All concepts' maps as the state reads them; an answer that a later question overtook is dropped. */
  async loadShares() {
    if (!this.about) return;
    const { about } = this, grid = (this.state.edges && about.cells) || about.tokens;
    const asked = ++this.asked, size = grid[0] * grid[1], maps = [];
    const atOnce = Math.max(1, Math.floor(about.message / size));
    try {
      for (let from = 0; from < about.names.length; from += atOnce) {
        const bytes = await this.ask("shares", { from });
        for (let at = 0; at < bytes.length; at += size) maps.push(bytes.subarray(at, at + size));
      }
      const by = SERIES[this.kept.view];
      const series = by && this.concept >= 0 ? await this.ask("series", { by, concept: this.concept }) : null;
      if (asked !== this.asked) return;
      about.grid = grid;
      Object.assign(this, { maps, series });
      this.draw();
    } catch (error) {
      if (asked === this.asked) this.say(String(error.message ?? error));
    }
  }

  /** A frame from a sampler that this explorer waits for: its own, where `samples` says which, else any. */
  live(frame, preview) {
    const from = sourceOf(this.node, "samples");
    if (from && !String(frame.node ?? "").split(":").includes(String(from.id))) return;
    const colors = this.about?.names.join() === frame.names.join() ? this.about.colors : frame.colors;
    const named = frame.names.length - frame.background;
    drawLive(this.page.canvas, frame, colors, named, preview);
    this.frames = (this.frames ?? 0) + 1;
    const { step, steps } = frame;
    this.say(word("Step {step} of {steps}: {names}", { step, steps, names: frame.names.slice(0, named).join(", ") }));
  }

  /** A run has ended, however: no frame of it stays on the screen. */
  settled() {
    if (this.about) return this.draw();
    this.clearCanvas();
    if (!this.kept.key) this.say(word(WAITING));
  }

  // ---- what is seen -------------------------------------------------------------------------------------------------

  /** Position of the chosen concept; -1: it is not one of these maps'. */
  get concept() { return this.about ? conceptOf(this.state, this.about.names) : 0; }

  get strokes() {
    const { key } = this.kept;
    return this.state.strokes.filter((one) => ["", key].includes(one.key) && one.picture === this.shownPicture);
  }

  /** How surely the chosen concept is in the picture that is shown. */
  get sure() { return this.about.presence[this.shownPicture][this.concept] ?? 0; }

  mask() {
    const size = this.about.size, map = this.maps[this.concept];
    const mask = map && this.sure > 0 ? cut(map, this.state.threshold, this.about, size)
      : new Uint8Array(size[0] * size[1]);
    return paint(mask, size, this.strokes.filter((one) => !one.select));
  }

  clearCanvas() {
    this.page.canvas.getContext("2d").clearRect(0, 0, this.page.canvas.width, this.page.canvas.height);
  }

  draw() {
    if (!this.about || !this.maps) return;
    showWeights(this);
    const { canvas } = this.page, [height, width] = this.about.size, view = this.kept.view;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d"), mask = this.mask();
    context.clearRect(0, 0, width, height);
    if (view === "mask") {
      context.putImageData(maskPicture(mask, [height, width]), 0, 0);
    } else if (SERIES[view] && this.series) {
      const first = this.stepRange()[0], count = this.seriesCount(), side = this.seriesGrid();
      const names = Array.from({ length: count }, (_, at) => (view === "blocks" ? this.about.blocks[at] : first + at));
      drawSeries(context, [height, width], this.series, side, names, this.about.heat);
    } else {
      const plain = this.photo && this.mode in SELECTS;  // who selects has to see the things
      this.drawShades(context, [height, width], plain ? "photo" : view);
      const wide = Math.max(1, Math.round(width / 400));
      context.fillStyle = "#fff";
      for (const [x, y] of plain ? [] : outline(mask, [height, width])) context.fillRect(x, y, wide, wide);
    }
    const clicks = clicksOf(this.strokes, [height, width]), selection = selected(this, clicks);
    if (!SERIES[view]) drawSelection(context, [height, width], selection, clicks);
    if (this.mode && this.cursor) {
      context.strokeStyle = ["add", "on"].includes(this.mode) ? "#6f6" : "#f66";
      context.lineWidth = Math.max(1, width / 300);
      context.beginPath();
      const [x, y] = this.cursor, radius = Number(this.page.brush.input.value);
      context.arc(x * width, y * height, radius * width, 0, 7);
      context.stroke();
    }
    this.tell(part(mask), selection && part(selection));
  }

  /** The picture under its colours, which need no more than half the pixels of a large picture. */
  drawShades(context, [height, width], view) {
    if (this.photo) context.drawImage(this.photo, 0, 0, width, height);
    const scale = Math.min(1, 512 / Math.max(width, height)), map = this.maps[this.concept];
    const small = [Math.round(height * scale), Math.round(width * scale)];
    const about = { ...this.about, covered: this.about.covered.map((side) => side * scale) };
    const { colors, heat } = this.about;
    if (view === "photo" || (view !== "all" && !map)) return;
    const shade = view === "all" ? winnersPicture(this.maps, about, small, colors, this.named)
      : heatPicture(map, about, small, heat, !this.photo);
    const layer = new OffscreenCanvas(small[1], small[0]);
    layer.getContext("2d").putImageData(shade, 0, 0);
    context.drawImage(layer, 0, 0, width, height);
  }

  /** In words, what is seen. covered: part of the picture that is masked; chosen: that is selected, null: none is. */
  tell(covered, chosen) {
    const name = this.about.names[this.concept], percent = inPercent(covered);
    this.page.canvas.setAttribute("aria-label", `${name ?? "Nothing"}: ${percent} of the picture`);
    const old = this.state.strokes.filter((one) => !["", this.kept.key].includes(one.key)).length;
    this.page.keep.hidden = !old;
    const left = old ? word(LEFT, { count: old }) : "";
    const seen = this.sure > 0 ? "{name}: mask {part}." : "{name}, not in this picture: mask {part}.";
    const found = name === undefined
      ? word('These maps have no "{name}". Choose a concept.', { name: this.state.concept })
      : word(seen, { name, part: percent });
    const beside = chosen === null ? "" : word(" Selected: {part}.", { part: inPercent(chosen) });
    this.say(found + beside + left);
  }

  seriesCount() {
    const [first, last] = this.stepRange();
    return this.kept.view === "blocks" ? this.about.blocks.length : last - first + 1;
  }

  seriesSize() { return this.series.length / this.seriesCount(); }

  seriesGrid() {
    let [h, w] = this.about.tokens;
    while (h * w > this.seriesSize()) [h, w] = [Math.floor(h / 2), Math.floor(w / 2)];
    return [h, w];
  }

  stepRange() { return stepRange(this.reading, this.about.steps); }

  // ---- the controls -------------------------------------------------------------------------------------------------

  /** Names, legend and ranges of new maps. */
  fill() {
    const { page, about } = this;
    page.concept.replaceChildren(...about.names.map((name) => element("option", { value: name }, [name])));
    page.legend.replaceChildren(...about.names.map((name, at) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = `rgb(${about.colors[at].join(",")})`;
      const made = element("button", { type: "button", "aria-pressed": "false" }, [swatch, name, element("span")]);
      made.onclick = () => this.set({ concept: name });
      return made;
    }));
    for (const one of [page.firstBlock, page.lastBlock]) one.input.max = about.blocks.length - 1;
    for (const one of [page.firstStep, page.lastStep]) one.input.max = about.steps - 1;
    page.picture.input.max = about.pictures - 1;
    page.picture.label.hidden = about.pictures < 2;
    page.play.hidden = about.steps < 2;
    page.edges.hidden = !about.cells;
    page.auto.hidden = false;
    page.on.hidden = page.off.hidden = !about.selects;
    this.show();
  }

  /** Bring the controls to what the state says. */
  show() {
    const { page, about, state } = this;
    page.view.value = this.kept.view;
    const put = (control, value, text) => { control.input.value = value; control.shown.textContent = text; };
    put(page.threshold, state.threshold, state.threshold.toFixed(2));
    put(page.temperature, Math.log10(state.temperature), `x ${state.temperature.toFixed(2)}`);
    if (!page.brush.input.dataset.set) put(page.brush, 0.03, "");
    page.edges.setAttribute("aria-pressed", state.edges);
    for (const mode of MODES) page[mode].setAttribute("aria-pressed", this.mode === mode);
    if (!about) return;
    page.auto.setAttribute("aria-pressed", weighs(state, about));
    const blocks = blockRange(state, about), steps = this.stepRange();
    put(page.firstBlock, blocks[0], String(about.blocks[blocks[0]]));
    put(page.lastBlock, blocks[1], String(about.blocks[blocks[1]]));
    put(page.firstStep, steps[0], String(steps[0]));
    put(page.lastStep, steps[1], String(steps[1]));
    put(page.picture, this.shownPicture, String(this.shownPicture));
    page.concept.value = about.names[this.concept] ?? "";
    const sure = about.presence[this.shownPicture];
    [...page.legend.children].forEach((made, at) => {
      made.setAttribute("aria-pressed", at === this.concept);
      made.title = word("{name}: presence {sure}", { name: about.names[at], sure: sure[at].toFixed(2) });
      made.lastChild.textContent = ` ${sure[at].toFixed(2)}`;
    });
  }

  /** Change the state; ask the server only where the maps themselves are others. */
  set(change, maps = false) {
    Object.assign(this.state, change);
    maps ||= Boolean(this.played);
    this.played = null;
    this.show();
    this.changed();
    if (maps || SERIES[this.kept.view]) this.loadMaps();
    else this.draw();
  }

  setBlocks(first, last) {
    const { blocks } = this.about, depth = blocks[blocks.length - 1] + 1;
    const [low, high] = first <= last ? [first, last] : [last, first];
    this.set({ first_block: blocks[low] - depth, last_block: blocks[high] - depth }, true);
  }

  setSteps(first, last) {
    const [low, high] = first <= last ? [first, last] : [last, first];
    this.set({ start: low / this.about.steps, end: (high + 1) / this.about.steps }, true);
  }
}
