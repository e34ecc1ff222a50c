// Which blocks and steps `auto` trusts, above the sliders that choose them: a bar for each block, a cell for its steps.

import { element } from "./elements.js";
import { weighs } from "./explorer_state.js";
import { word } from "./words.js";

const NUMBERS = 20;  // of blocks, at most: more would run into each other

/** Show what the server says of the state as it is. It is asked where that is another; by `paper` none is weighed. */
export function showWeights(explorer) {
  const { about, page, reading } = explorer;
  const asked = weighs(reading, about) ? `${explorer.kept.key} ${explorer.query({})}` : "";
  if (explorer.weighed === asked) return;
  explorer.weighed = asked;
  if (asked) explorer.awaiting(load(explorer, asked));
  else page.weights.hidden = true;
}

async function load(explorer, asked) {
  try {
    const { buffer } = await explorer.ask("weights", {});
    if (explorer.weighed === asked) drawWeights(explorer.page.weights, new Float32Array(buffer), explorer.about);
  } catch (error) {
    if (explorer.weighed === asked) explorer.say(String(error.message ?? error));
  }
}

/** cells: one row of blocks after another, the first step's first; sum 1. */
function drawWeights(root, cells, { blocks, heat }) {
  const rows = cells.length / blocks.length, highest = Math.max(...cells);
  const part = (at) => cells.reduce((sum, one, cell) => sum + (cell % blocks.length === at ? one : 0), 0);
  const parts = blocks.map((_, at) => part(at));
  const most = Math.max(...parts), every = Math.ceil(blocks.length / NUMBERS);
  const percent = (at) => (100 * parts[at]).toFixed(parts[at] < 0.1 ? 1 : 0);
  const bars = blocks.map((block, at) => {
    const title = word("Block {block}: {part} %", { block, part: percent(at) });
    const bar = element("span", { className: parts[at] ? "bar" : "bar out", title });
    bar.style.height = `${Math.max(4, (100 * parts[at]) / most)}%`;
    return bar;
  });
  const numbers = blocks.map((block, at) => element("span", {}, [at % every ? "" : String(block)]));
  const canvas = element("canvas", { width: blocks.length, height: rows,
    title: word("How much each step of a block counts: the first step is the top row") });
  const image = new ImageData(blocks.length, rows);
  cells.forEach((cell, at) => {
    const level = Math.round((255 * cell) / highest) * 3;
    image.data.set([...heat.slice(level, level + 3), 255], at * 4);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  const best = parts.indexOf(most), told = { block: blocks[best], part: percent(best) };
  root.setAttribute("aria-label", word("Auto trusts block {block} most: {part} %", told));
  root.lastChild.replaceChildren(element("div", { className: "bars" }, bars), canvas,
    element("div", { className: "numbers" }, numbers));
  root.hidden = false;
}
