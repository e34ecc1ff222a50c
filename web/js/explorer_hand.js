// The hand on an explorer's picture: pointer and keys. Each function takes the explorer whose picture it is.

import { sharesAt } from "./explorer_draw.js";
import { SELECTS } from "./explorer_select.js";
import { MOST, SERIES, withStroke } from "./explorer_state.js";
import { word } from "./words.js";

const NO_ROOM = "There is no room for more strokes in this node. Undo or clear some.";
const round = (part) => Number(part.toFixed(4));

export function listenToHand(explorer) {
  const { canvas } = explorer.page;
  canvas.addEventListener("pointermove", (event) => hover(explorer, event));
  canvas.addEventListener("pointerdown", (event) => press(explorer, event));
  canvas.addEventListener("keydown", (event) => key(explorer, event));
}

/** A pointer's place in parts of the picture, whatever the zoom. */
function place(explorer, event) {
  const { canvas } = explorer.page, box = canvas.getBoundingClientRect();
  const scale = Math.min(box.width / canvas.width, box.height / canvas.height);  // it is fitted into its box
  const [wide, high] = [canvas.width * scale, canvas.height * scale];
  return [(event.clientX - box.x - (box.width - wide) / 2) / wide,
    (event.clientY - box.y - (box.height - high) / 2) / high];
}

function hover(explorer, event) {
  const { maps, about } = explorer;
  if (!maps || !about || SERIES[explorer.kept.view]) return;
  const [x, y] = place(explorer, event);
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
  const shares = sharesAt(maps, about, about.size, x, y);
  const order = shares.map((_, at) => at).sort((a, b) => shares[b] - shares[a]);
  explorer.say(order.slice(0, 4).map((at) => `${about.names[at]} ${Math.round(100 * shares[at])} %`).join(", "));
}

function press(explorer, event) {
  const { maps, about, page } = explorer;
  if (!maps || !about || event.button > 0) return;
  event.preventDefault();
  page.canvas.focus();
  const [x, y] = place(explorer, event);
  if (SERIES[explorer.kept.view]) return pick(explorer, x, y);
  const on = SELECTS[explorer.mode || (event.shiftKey && "on") || (event.altKey && "off")];
  if (on !== undefined) return mark(explorer, x, y, on);
  if (!explorer.mode) {
    const shares = sharesAt(maps, about, about.size, x, y);
    return explorer.set({ concept: about.names[shares.indexOf(Math.max(...shares))] });
  }
  const stroke = dab(explorer, x, y);
  if (!stroke) return;
  const move = (next) => {
    const [left, top] = place(explorer, next), [before, above] = stroke.points[stroke.points.length - 1];
    if (Math.hypot(left - before, top - above) < 0.005) return;
    if (explorer.value.length > MOST) return explorer.say(word(NO_ROOM));
    stroke.points.push([round(left), round(top)]);
    explorer.draw();
  };
  const end = () => {
    window.removeEventListener("pointermove", move, true);
    for (const kind of ["pointerup", "pointercancel"]) window.removeEventListener(kind, end, true);
    explorer.changed();
  };
  window.addEventListener("pointermove", move, true);
  for (const kind of ["pointerup", "pointercancel"]) window.addEventListener(kind, end, true);
}

/** One spot of the brush. Returns the stroke that it begins, null where there is no room for it. */
function dab(explorer, x, y) {
  const radius = Number(explorer.page.brush.input.value);
  return keep(explorer, { add: explorer.mode === "add", radius, points: [[round(x), round(y)]] });
}

/** A point on a thing that is to be selected, or off it. */
function mark(explorer, x, y, on) {
  if (!explorer.about.selects || x < 0 || y < 0 || x >= 1 || y >= 1) return;
  keep(explorer, { add: on, radius: 0, points: [[round(x), round(y)]], select: true });
}

/** A stroke of the picture that is shown, with the others. Returns it, null where there is no room for it. */
function keep(explorer, drawn) {
  const stroke = { key: explorer.kept.key, picture: explorer.shownPicture, ...drawn };
  const strokes = withStroke(explorer.state, stroke);
  if (strokes) explorer.set({ strokes });
  else explorer.say(word(NO_ROOM));
  return strokes && stroke;
}

/** In the series: a click chooses that block or step alone. */
function pick(explorer, x, y) {
  const count = explorer.seriesCount(), columns = Math.ceil(Math.sqrt(count));
  const at = Math.floor(y * Math.ceil(count / columns)) * columns + Math.floor(x * columns);
  if (at >= count) return;
  const blocks = explorer.kept.view === "blocks", first = explorer.stepRange()[0];
  explorer.kept.view = "heat";
  if (blocks) explorer.setBlocks(at, at);
  else explorer.setSteps(first + at, first + at);
}

/** Arrows: the concept and the threshold; with a tool, its place, and space paints or selects there. */
function key(explorer, event) {
  if (!explorer.about || !explorer.maps) return;
  const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0, down = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
  if (explorer.mode && event.key === " ") {
    const [x, y] = (explorer.cursor ??= [0.5, 0.5]), on = SELECTS[explorer.mode];
    if (on === undefined) dab(explorer, x, y);
    else mark(explorer, x, y, on);
  } else if (!across && !down) {
    return;
  } else if (explorer.mode) {
    const far = event.shiftKey ? 0.1 : 0.02, [x, y] = explorer.cursor ?? [0.5, 0.5];
    explorer.cursor = [x + far * across, y + far * down].map((part) => Math.min(1, Math.max(0, part)));
    explorer.draw();
  } else if (across) {
    const { names } = explorer.about;
    explorer.set({ concept: names[(Math.max(0, explorer.concept) + across + names.length) % names.length] });
  } else {
    const threshold = Math.min(1, Math.max(0, explorer.state.threshold - 0.02 * down));
    explorer.set({ threshold: Number(threshold.toFixed(2)) });
  }
  event.preventDefault();
}
