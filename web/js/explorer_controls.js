// What the explorer's controls do.

import { element } from "./elements.js";
import { listenToHand } from "./explorer_hand.js";
import { SERIES, weighs } from "./explorer_state.js";

/** What the hand on the picture may do, but for looking. */
export const MODES = ["add", "remove", "on", "off"];

/** What each control does. */
export function listen(explorer) {
  const { page } = explorer, value = (control) => Number(control.input.value);
  const on = (control, work) => control.input.addEventListener("input", () => explorer.about && work());
  on(page.threshold, () => explorer.set({ threshold: value(page.threshold) }));
  on(page.temperature, () => explorer.set({ temperature: Number((10 ** value(page.temperature)).toFixed(3)) }, true));
  for (const one of [page.firstBlock, page.lastBlock]) {
    on(one, () => explorer.setBlocks(value(page.firstBlock), value(page.lastBlock)));
  }
  for (const one of [page.firstStep, page.lastStep]) {
    on(one, () => explorer.setSteps(value(page.firstStep), value(page.lastStep)));
  }
  on(page.picture, () => {
    explorer.shownPicture = value(page.picture);
    explorer.show();
    explorer.awaiting(explorer.loadPicture());
    explorer.loadMaps();
  });
  page.brush.input.addEventListener("input", () => { page.brush.input.dataset.set = "1"; });
  page.concept.onchange = () => explorer.set({ concept: page.concept.value });
  page.view.onchange = () => {
    explorer.kept.view = page.view.value;
    explorer.changed();
    if (SERIES[explorer.kept.view]) explorer.loadMaps();
    else explorer.draw();
  };
  for (const mode of MODES) {
    page[mode].onclick = () => {
      explorer.mode = explorer.mode === mode ? "" : mode;
      explorer.show();
      explorer.draw();
    };
  }
  page.undo.onclick = () => {
    const last = explorer.strokes[explorer.strokes.length - 1];
    explorer.set({ strokes: explorer.state.strokes.filter((one) => one !== last) });
  };
  page.keep.onclick = () => {
    explorer.set({ strokes: explorer.state.strokes.map((one) => ({ ...one, key: explorer.kept.key })) });
  };
  page.clear.onclick = () => explorer.set({ strokes: [] });
  page.edges.onclick = () => explorer.set({ edges: !explorer.state.edges }, true);
  page.auto.onclick = () => explorer.set({ reading: weighs(explorer.state, explorer.about) ? "paper" : "auto" }, true);
  page.play.onclick = () => play(explorer);
  page.save.onclick = () => savePicture(explorer);
  listenToHand(explorer);
}

/** One step after another; touching any control ends it. What is chosen stays what it was. */
async function play(explorer) {
  if (!explorer.about || explorer.played) return explorer.set({});
  const count = explorer.about.steps;
  for (let step = 0; step < count; step++) {
    explorer.played = { start: step / count, end: (step + 1) / count };
    explorer.show();
    await explorer.loadMaps();
    await new Promise((done) => setTimeout(done, 120));
    if (!explorer.played) return;
  }
  explorer.set({});
}

/** What is seen, as a file. */
function savePicture(explorer) {
  explorer.page.canvas.toBlob((blob) => {
    const download = `${explorer.state.concept || "concept"}.png`;
    const link = element("a", { href: URL.createObjectURL(blob), download });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);  // the browser reads it later
  });
}
