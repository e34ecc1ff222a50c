// Nodes of the open workflow, whatever subgraph they are in.

import { app } from "../../../scripts/app.js";

const root = () => app.rootGraph ?? app.graph;

export function allNodes() {
  const graphs = [root(), ...(root()?.subgraphs?.values?.() ?? [])];
  return graphs.flatMap((graph) => graph?.nodes ?? []);
}

/** The node that the server calls by this name: its number, behind those of the subgraphs that it is in ("7:3"). */
export function nodeOf(execution) {
  let graph = root(), node = null;
  for (const number of String(execution ?? "").split(":")) {
    node = graph?.getNodeById?.(/^\d+$/.test(number) ? Number(number) : number);
    graph = node?.subgraph;
  }
  return node ?? null;
}

/** Make a node as large as what is in it, never smaller. */
export function grow(node) {
  const least = node.computeSize?.() ?? node.size;
  if (node.size[0] >= least[0] && node.size[1] >= least[1]) return;
  node.setSize?.([Math.max(node.size[0], least[0]), Math.max(node.size[1], least[1])]);
  app.canvas?.setDirty?.(true, true);
}

/** What feeds a node's input, through reroutes of the front end's own; null at the edge of a subgraph. */
export function sourceOf(node, input) {
  const slot = node.findInputSlot?.(input) ?? -1;
  return slot >= 0 ? node.getInputNode?.(slot) ?? null : null;
}
