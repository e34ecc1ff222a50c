// Concept Explorer, what one node does. Small maps come from the server once; everything else happens here.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { cut, drawLive, drawSeries, heatPicture, maskPicture, outline, paint, sharesAt, winnersPicture }
  from "./explorer_draw.js";
import { element, makePage } from "./explorer_page.js";

const DEFAULTS = { concept: "", threshold: 0.5, first_block: null, last_block: null, start: 0, end: 1, temperature: 1,
  strokes: [] };
export const ROOT = "/concept_attention/";
const SERIES = { blocks: "block", steps: "step" };

export class Explorer {
  constructor(node) {
    this.node = node;
    this.page = makePage();
    this.state = structuredClone(DEFAULTS);
    this.mode = "";          // "add", "remove" or "": look
    this.shownPicture = 0;
    this.asked = 0;
    this.listen();
    this.say("Run the workflow to see its maps.");
  }

  // ---- what is kept: choices in the widget (they go into the mask), the rest in the node's properties --------------

  get value() {
    const plain = JSON.stringify(this.state);
    return plain === JSON.stringify(DEFAULTS) ? "" : plain;
  }

  set value(text) {
    try {
      this.state = { ...structuredClone(DEFAULTS), ...JSON.parse(text || "{}") };
    } catch {
      this.state = structuredClone(DEFAULTS);
    }
    this.show();
  }

  get kept() { return (this.node.properties.concept_explorer ??= { view: "heat", key: "", pictures: [] }); }

  changed() { this.node.graph?.change?.(); app.canvas?.setDirty?.(true, true); }

  say(text) { this.page.said.textContent = text; }

  // ---- what the server has ------------------------------------------------------------------------------------------

  /** A run has ended: `key` of its maps, and files of its pictures. */
  async executed(output) {
    const key = output?.explorer?.[0];
    if (!key) return;
    Object.assign(this.kept, { key, pictures: output.explorer_pictures ?? [] });
    this.stale = output.text?.find((line) => line) ?? "";
    await this.load();
  }

  /** Ask for the maps of the last run again: after a run, and when a saved workflow is opened. */
  async load() {
    if (!this.kept.key) return;
    const answer = await api.fetchApi(`${ROOT}${this.kept.key}/about`).catch(() => null);
    if (!answer?.ok) {
      this.about = null;
      this.clearCanvas();
      return this.say("These maps are gone: the server was restarted, or newer runs took their place. Run again.");
    }
    this.about = await answer.json();
    this.named = this.about.names.length - this.about.background;
    this.shownPicture = Math.min(this.shownPicture, this.about.pictures - 1);
    this.fill();
    await Promise.all([this.loadPicture(), this.loadMaps()]);
  }

  async loadPicture() {
    const file = this.kept.pictures[Math.min(this.shownPicture, this.kept.pictures.length - 1)];
    this.photo = null;
    if (file) {
      const photo = new Image();
      photo.src = api.apiURL(`/view?${new URLSearchParams(file)}`);
      this.photo = await photo.decode().then(() => photo, () => null);
    }
    this.draw();
  }

  query(more) {
    const { first_block, last_block, start, end, temperature } = this.state;
    const asked = { picture: this.shownPicture, start, end, temperature, ...more };
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
  async loadMaps() {
    if (!this.about) return;
    const asked = ++this.asked, size = this.about.grid[0] * this.about.grid[1], maps = [];
    try {
      for (let from = 0; from < this.about.names.length; from += this.about.at_once) {
        const bytes = await this.ask("shares", { from });
        for (let at = 0; at < bytes.length; at += size) maps.push(bytes.subarray(at, at + size));
      }
      const by = SERIES[this.kept.view];
      const series = by ? await this.ask("series", { by, concept: this.concept }) : null;
      if (asked !== this.asked) return;
      Object.assign(this, { maps, series });
      this.draw();
    } catch (error) {
      if (asked === this.asked) this.say(String(error.message ?? error));
    }
  }

  /** A frame from a sampler that this explorer waits for: its own, where `samples` says which, else any. */
  live(frame) {
    const slot = this.node.findInputSlot?.("samples"), from = slot >= 0 ? this.node.getInputNode?.(slot) : null;
    const sampler = String(frame.node ?? "").split(":").pop();
    if (from && String(from.id) !== sampler) return;
    const colors = this.about?.names.join() === frame.names.join() ? this.about.colors : frame.colors;
    const named = frame.names.length - frame.background;
    drawLive(this.page.canvas, frame, colors, named);
    this.frames = (this.frames ?? 0) + 1;
    this.say(`Step ${frame.step} of ${frame.steps}: ${frame.names.slice(0, named).join(", ")}`);
  }

  // ---- what is seen -------------------------------------------------------------------------------------------------

  get concept() {
    const fold = (name) => name.trim().toLowerCase();
    return Math.max(0, this.about?.names.findIndex((name) => fold(name) === fold(this.state.concept)) ?? 0);
  }

  get strokes() {
    return this.state.strokes.filter((one) => one.key === this.kept.key && one.picture === this.shownPicture);
  }

  mask() {
    const [height, width] = this.about.size, there = this.about.presence[this.shownPicture][this.concept] > 0;
    const map = this.maps[this.concept];
    const mask = there ? cut(map, this.state.threshold, this.about, [height, width]) : new Uint8Array(height * width);
    return paint(mask, [height, width], this.strokes);
  }

  clearCanvas() {
    this.page.canvas.getContext("2d").clearRect(0, 0, this.page.canvas.width, this.page.canvas.height);
  }

  draw() {
    if (!this.about || !this.maps) return;
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
      if (this.photo) context.drawImage(this.photo, 0, 0, width, height);
      // Shades need no more than half the pixels of a large picture.
      const scale = Math.min(1, 512 / Math.max(width, height));
      const small = [Math.round(height * scale), Math.round(width * scale)];
      const about = { ...this.about, covered: this.about.covered.map((side) => side * scale) };
      const { colors, heat } = this.about;
      const shade = view === "all" ? winnersPicture(this.maps, about, small, colors, this.named)
        : heatPicture(this.maps[this.concept], about, small, heat, !this.photo);
      const layer = new OffscreenCanvas(small[1], small[0]);
      layer.getContext("2d").putImageData(shade, 0, 0);
      context.drawImage(layer, 0, 0, width, height);
      const wide = Math.max(1, Math.round(width / 400));
      context.fillStyle = "#fff";
      for (const [x, y] of outline(mask, [height, width])) context.fillRect(x, y, wide, wide);
    }
    const covered = mask.reduce((sum, one) => sum + one, 0) / mask.length;
    canvas.setAttribute("aria-label", `${this.about.names[this.concept]}: ${(100 * covered).toFixed(1)} % of the picture`);
    const missing = this.about.presence[this.shownPicture][this.concept] > 0 ? "" : ", not in this picture";
    const old = this.state.strokes.length - this.state.strokes.filter((one) => one.key === this.kept.key).length;
    const left = old ? ` ${old} stroke(s) belong to another picture and are not used.` : "";
    this.say(`${this.about.names[this.concept]}${missing}: mask ${(100 * covered).toFixed(1)} %.${left}`);
  }

  seriesCount() {
    const [first, last] = this.stepRange();
    return this.kept.view === "blocks" ? this.about.blocks.length : last - first + 1;
  }

  seriesSize() { return this.series.length / this.seriesCount(); }

  seriesGrid() {
    let [h, w] = this.about.grid;
    while (h * w > this.seriesSize()) [h, w] = [Math.floor(h / 2), Math.floor(w / 2)];
    return [h, w];
  }

  stepRange() {
    const count = this.about.steps, first = Math.min(count - 1, Math.floor(this.state.start * count));
    return [first, Math.max(first, Math.min(count, Math.ceil(this.state.end * count)) - 1)];
  }

  /** Which blocks are averaged, as positions in `about.blocks`. */
  blockRange() {
    const { blocks, default_blocks } = this.about, depth = blocks[blocks.length - 1] + 1;
    const at = (index) => (index < 0 ? Math.max(0, depth + index) : Math.min(index, depth - 1));
    const chosen = [this.state.first_block ?? default_blocks[0], this.state.last_block ?? default_blocks[1]].map(at);
    return chosen.map((index) => Math.max(0, blocks.findLastIndex((block) => block <= index)));
  }

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
    page.add.setAttribute("aria-pressed", this.mode === "add");
    page.remove.setAttribute("aria-pressed", this.mode === "remove");
    if (!about) return;
    const blocks = this.blockRange(), steps = this.stepRange();
    put(page.firstBlock, blocks[0], String(about.blocks[blocks[0]]));
    put(page.lastBlock, blocks[1], String(about.blocks[blocks[1]]));
    put(page.firstStep, steps[0], String(steps[0]));
    put(page.lastStep, steps[1], String(steps[1]));
    put(page.picture, this.shownPicture, String(this.shownPicture));
    page.concept.value = about.names[this.concept];
    const sure = about.presence[this.shownPicture];
    [...page.legend.children].forEach((made, at) => {
      made.setAttribute("aria-pressed", at === this.concept);
      made.title = `${about.names[at]}: presence ${sure[at].toFixed(2)}`;
      made.lastChild.textContent = ` ${sure[at].toFixed(2)}`;
    });
  }

  /** Change the state; ask the server only where the maps themselves are others. */
  set(change, maps = false) {
    Object.assign(this.state, change);
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

  listen() {
    const { page } = this, on = (control, work) => control.input.addEventListener("input", () => this.about && work());
    const value = (control) => Number(control.input.value);
    on(page.threshold, () => this.set({ threshold: value(page.threshold) }));
    on(page.temperature, () => this.set({ temperature: Number((10 ** value(page.temperature)).toFixed(3)) }, true));
    for (const one of [page.firstBlock, page.lastBlock]) {
      on(one, () => this.setBlocks(value(page.firstBlock), value(page.lastBlock)));
    }
    for (const one of [page.firstStep, page.lastStep]) {
      on(one, () => this.setSteps(value(page.firstStep), value(page.lastStep)));
    }
    on(page.picture, () => { this.shownPicture = value(page.picture); this.show(); this.loadPicture(); this.loadMaps(); });
    page.brush.input.addEventListener("input", () => { page.brush.input.dataset.set = "1"; });
    page.concept.onchange = () => this.set({ concept: page.concept.value });
    page.view.onchange = () => { this.kept.view = page.view.value; this.changed(); this.loadMaps(); };
    const mode = (name) => () => { this.mode = this.mode === name ? "" : name; this.show(); };
    page.add.onclick = mode("add");
    page.remove.onclick = mode("remove");
    page.undo.onclick = () => this.set({ strokes: this.state.strokes.slice(0, -1) });
    page.clear.onclick = () => this.set({ strokes: [] });
    page.play.onclick = () => this.play();
    page.save.onclick = () => this.save();
    page.canvas.addEventListener("pointermove", (event) => this.hover(event));
    page.canvas.addEventListener("pointerdown", (event) => this.press(event));
    page.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** A pointer's place in parts of the picture, whatever the zoom. */
  place(event) {
    const { canvas } = this.page, box = canvas.getBoundingClientRect();
    const scale = Math.min(box.width / canvas.width, box.height / canvas.height);  // it is fitted into its box
    const [wide, high] = [canvas.width * scale, canvas.height * scale];
    return [(event.clientX - box.x - (box.width - wide) / 2) / wide,
      (event.clientY - box.y - (box.height - high) / 2) / high];
  }

  hover(event) {
    if (!this.maps || !this.about || SERIES[this.kept.view]) return;
    const [x, y] = this.place(event);
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
    const shares = sharesAt(this.maps, this.about, this.about.size, x, y);
    const order = shares.map((_, at) => at).sort((a, b) => shares[b] - shares[a]);
    this.say(order.slice(0, 4).map((at) => `${this.about.names[at]} ${Math.round(100 * shares[at])} %`).join(", "));
  }

  press(event) {
    if (!this.maps || !this.about || event.button > 0) return;
    event.preventDefault();
    this.page.canvas.focus();
    const [x, y] = this.place(event);
    if (SERIES[this.kept.view]) return this.pick(x, y);
    if (!this.mode) {
      const shares = sharesAt(this.maps, this.about, this.about.size, x, y);
      return this.set({ concept: this.about.names[shares.indexOf(Math.max(...shares))] });
    }
    const round = (part) => Number(part.toFixed(4));
    const stroke = { key: this.kept.key, picture: this.shownPicture, add: this.mode === "add",
      radius: Number(this.page.brush.input.value), points: [[round(x), round(y)]] };
    const mine = this.state.strokes.filter((one) => one.key === this.kept.key);
    this.set({ strokes: [...mine, stroke] });
    const move = (next) => {
      const [left, top] = this.place(next), [before, above] = stroke.points[stroke.points.length - 1];
      if (Math.hypot(left - before, top - above) < 0.005) return;
      stroke.points.push([round(left), round(top)]);
      this.draw();
    };
    const end = () => {
      window.removeEventListener("pointermove", move, true);
      window.removeEventListener("pointerup", end, true);
      this.changed();
    };
    window.addEventListener("pointermove", move, true);
    window.addEventListener("pointerup", end, true);
  }

  /** In the series: a click chooses that block or step alone. */
  pick(x, y) {
    const count = this.seriesCount(), columns = Math.ceil(Math.sqrt(count));
    const at = Math.floor(y * Math.ceil(count / columns)) * columns + Math.floor(x * columns);
    if (at >= count) return;
    const blocks = this.kept.view === "blocks", first = this.stepRange()[0];
    this.kept.view = "heat";
    if (blocks) this.setBlocks(at, at);
    else this.setSteps(first + at, first + at);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], more = { ArrowDown: -0.02, ArrowUp: 0.02 }[event.key];
    if (!this.about || (!step && !more)) return;
    event.preventDefault();
    const count = this.about.names.length;
    if (step) this.set({ concept: this.about.names[(this.concept + step + count) % count] });
    else this.set({ threshold: Number(Math.min(1, Math.max(0, this.state.threshold + more)).toFixed(2)) });
  }

  async play() {
    if (!this.about || this.playing) return;
    this.playing = true;
    const { start, end } = this.state;
    for (let step = 0; step < this.about.steps; step++) {
      Object.assign(this.state, { start: step / this.about.steps, end: (step + 1) / this.about.steps });
      this.show();
      await this.loadMaps();
      await new Promise((done) => setTimeout(done, 120));
    }
    Object.assign(this.state, { start, end });
    this.show();
    await this.loadMaps();
    this.playing = false;
  }

  save() {
    this.page.canvas.toBlob((blob) => {
      const link = element("a", { href: URL.createObjectURL(blob), download: `${this.state.concept || "concept"}.png` });
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
}
