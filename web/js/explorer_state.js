// What an explorer keeps in its widget, and what it means for maps of so many blocks and steps. Pure functions.

export const DEFAULTS = { concept: "", threshold: 0.35, first_block: null, last_block: null, start: 0, end: 1,
  temperature: 1, edges: true, reading: "", strokes: [] };

export const ROOT = "/concept_attention/";

/** Views of one small map after another, by the server's word for them. */
export const SERIES = { blocks: "block", steps: "step" };

/** Letters of a state that the node still reads, with room for what JSON adds (conceptattention_core/explore.py). */
export const MOST = 62 * 1024;

/** Of a part of the schedule, in steps: `step / count` is that step again, whatever the division has left of it. */
const ROUNDING = 1e-9;

const between = (value, low, high) => typeof value === "number" && value >= low && value <= high;
const block = (value) => value === null || Number.isInteger(value);
const stroke = (one) => typeof one?.key === "string" && typeof one.add === "boolean" && between(one.radius, 0, 1)
  && Number.isInteger(one.picture) && [undefined, true, false].includes(one.select)
  && Array.isArray(one.points) && one.points.length > 0
  && one.points.every((point) => point?.length === 2 && point.every((part) => between(part, -16, 16)));

/** A state from a widget's text; what it does not hold, or holds wrongly, is the default. */
export function readState(text) {
  let given = {};
  try {
    given = JSON.parse(text || "{}") ?? {};
  } catch {
    return structuredClone(DEFAULTS);
  }
  const right = {
    concept: typeof given.concept === "string",
    threshold: between(given.threshold, 0, 1),
    first_block: block(given.first_block),
    last_block: block(given.last_block),
    start: between(given.start, 0, 1),
    end: between(given.end, 0, 1),
    temperature: between(given.temperature, 0.01, 1000),
    reading: ["", "paper", "auto"].includes(given.reading),
    edges: typeof given.edges === "boolean",
    strokes: Array.isArray(given.strokes) && given.strokes.every(stroke),
  };
  const kept = Object.keys(DEFAULTS).filter((name) => name in given && right[name]);
  return { ...structuredClone(DEFAULTS), ...Object.fromEntries(kept.map((name) => [name, given[name]])) };
}

/** The widget's text of a state: empty where nothing was chosen. */
export function writeState(state) {
  const plain = JSON.stringify(state);
  return plain === JSON.stringify(DEFAULTS) ? "" : plain;
}

/** Position of a state's concept among the names of maps, as the node finds it; -1: it is none of them. */
export function conceptOf(state, names) {
  const fold = (name) => name.trim().replace(/\s+/g, " ").toLowerCase();
  return state.concept.trim() ? names.findIndex((name) => fold(name) === fold(state.concept)) : 0;
}

/** First and last step that are averaged. */
export function stepRange({ start, end }, count) {
  const first = Math.min(count - 1, Math.floor(start * count + ROUNDING));
  return [first, Math.max(first, Math.min(count, Math.ceil(end * count - ROUNDING)) - 1)];
}

/** Whether blocks and steps are weighed by what they show themselves. */
export const weighs = (state, about) => (state.reading || about.reading) === "auto";

/** First and last block that are averaged, as positions in `about.blocks`. */
export function blockRange(state, about) {
  const { first_block, last_block } = state, { blocks } = about;
  const own = weighs(state, about) ? about.trusted_blocks : about.default_blocks;
  const depth = blocks[blocks.length - 1] + 1;
  const at = (index) => (index < 0 ? Math.max(0, depth + index) : Math.min(index, depth - 1));
  const chosen = [first_block ?? own[0], last_block ?? own[1]].map(at);
  return chosen.map((index) => Math.max(0, blocks.findLastIndex((one) => one <= index)));
}

/** The strokes with one more. Those of older pictures go first where there is no room; null: there is none at all. */
export function withStroke(state, one) {
  const fits = (strokes) => JSON.stringify({ ...state, strokes }).length <= MOST;
  const all = [...state.strokes, one], mine = all.filter((other) => other.key === one.key);
  return fits(all) ? all : fits(mine) ? mine : null;
}
