// Things that are clicked on, without a name: the server selects them as Concept Select does, the page shows them.

import { outline } from "./explorer_draw.js";

/** The tools that put points, and whether their points are on the thing. */
export const SELECTS = { on: true, off: false };

const PINK = [251, 2, 184], SURE = 120;  // as in conceptattention_core/pictures/preview.py

/** Clicks among strokes on one picture, as [x, y] in its pixels: as `clicks_of` in conceptattention_core/state.py. */
export function clicksOf(strokes, [height, width]) {
  const inside = (at, side) => Math.min(Math.max(Math.floor(at * side), 0), side - 1);
  const where = (add) => strokes.filter((one) => one.select && one.add === add)
    .flatMap((one) => one.points.map(([x, y]) => [inside(x, width), inside(y, height)]));
  return { on: where(true), off: where(false) };
}

/** The mask of what was clicked on, one byte a pixel; null until the server has said. It is asked where it must be. */
export function selected(explorer, clicks) {
  const asked = clicks.on.length ? JSON.stringify([explorer.kept.key, explorer.shownPicture, clicks]) : "";
  if (explorer.selection?.asked !== asked) {
    explorer.selection = { asked, mask: null };
    if (asked) explorer.awaiting(load(explorer, explorer.selection, clicks));
  }
  return explorer.selection.mask;
}

async function load(explorer, selection, { on, off }) {
  try {
    const points = { points: JSON.stringify(on), negative_points: JSON.stringify(off) };
    const image = await createImageBitmap(new Blob([await explorer.ask("select", points)], { type: "image/png" }));
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    if (explorer.selection !== selection) return;  // another click has come meanwhile
    selection.mask = Uint8Array.from({ length: image.width * image.height }, (_, at) => (data[at * 4] ? 1 : 0));
    explorer.draw();
  } catch (error) {
    if (explorer.selection === selection) explorer.say(String(error.message ?? error));
  }
}

/** A selection over the picture, and its points. mask: null where there is none. */
export function drawSelection(context, [height, width], mask, { on, off }) {
  if (mask) {
    const image = new ImageData(width, height);
    for (let at = 0; at < mask.length; at++) if (mask[at]) image.data.set([...PINK, SURE], at * 4);
    for (const [x, y] of outline(mask, [height, width])) image.data.set([255, 255, 255, 255], (y * width + x) * 4);
    const layer = new OffscreenCanvas(width, height);
    layer.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(layer, 0, 0);
  }
  const radius = Math.max(4, Math.max(width, height) / 48);
  context.lineWidth = radius / 3;
  for (const [points, color] of [[on, "#0a3"], [off, "#d22"]]) {
    for (const [x, y] of points.map((point) => point.map((at) => at + 0.5))) {
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fillStyle = color;
      context.fill();
      context.strokeStyle = "#fff";
      context.stroke();
      context.beginPath();
      context.moveTo(x - radius / 2, y);
      context.lineTo(x + radius / 2, y);
      if (points === on) {
        context.moveTo(x, y - radius / 2);
        context.lineTo(x, y + radius / 2);
      }
      context.stroke();
    }
  }
}
