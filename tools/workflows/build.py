"""Have the front end make a workflow: its nodes, their wires and their places."""

from __future__ import annotations

from playwright.sync_api import Page

from .plan import Plan

TITLE = 30
"""Height of a node's title bar, which the front end draws above the node's position."""
HEAD = 60
"""Height of a group's title."""
BADGE = 24
"""Height of the pack's name, which the front end draws above the title bar of each of its nodes."""

BUILD = """async ({items}) => {
    app.graph.clear();
    const nodes = {};
    for (const item of items) {
        const node = LiteGraph.createNode(item.type);
        if (!node) throw new Error(`the server has no node ${item.type}`);
        app.graph.add(node);
        nodes[item.name] = node;
        if (item.title) node.title = item.title;
        if (item.models.length) node.properties.models = item.models;
        for (const [name, value] of Object.entries(item.inputs)) {
            if (Array.isArray(value)) continue;
            const widget = node.widgets.find((widget) => widget.name === name) ?? (name ? null : node.widgets[0]);
            if (!widget) throw new Error(`${item.type} has no widget ${name}`);
            widget.value = value;
        }
    }
    for (const item of items) {
        for (const [name, value] of Object.entries(item.inputs)) {
            if (!Array.isArray(value)) continue;
            const slot = nodes[item.name].inputs.findIndex((input) => input.name === name);
            if (slot < 0 || !nodes[value[0]].connect(value[1], nodes[item.name], slot))
                throw new Error(`cannot connect ${value} to ${name} of ${item.name}`);
        }
    }
    window.planned = nodes;
}"""

ARRANGE = """({items, rows, gap, title, head, badge}) => {
    const nodes = window.planned;
    for (const item of items) {
        const node = nodes[item.name], least = node.computeSize();
        node.setSize(item.size ? [Math.max(item.size[0], least[0]), Math.max(item.size[1], least[1])] : least);
    }
    let top = 0;
    for (const row of rows) {
        const boxes = [];
        let x = 0, bottom = 0;
        for (const [name, columns] of Object.entries(row)) {
            const left = x;
            for (const column of columns) {
                let y = top + head + title, width = 0;
                for (const [at, key] of column.entries()) {
                    if (at && nodes[key].type.startsWith('ConceptAttention')) y += Math.max(0, badge - gap / 2);
                    nodes[key].pos = [x, y];
                    y += nodes[key].size[1] + title + gap / 2;
                    width = Math.max(width, nodes[key].size[0]);
                }
                bottom = Math.max(bottom, y - title);
                x += width + gap;
            }
            const group = new LiteGraph.LGraphGroup(name);
            app.graph.add(group);
            boxes.push([group, left - gap / 2, x - left]);
            x += gap;
        }
        for (const [group, left, width] of boxes) {
            group.pos = [left, top];
            group.size = [width, bottom - top];
        }
        top = bottom + gap;
    }
    app.graph.setDirtyCanvas(true, true);
}"""


def build(page: Page, wanted: Plan) -> None:
    """Make the nodes in the front end, connect and arrange them."""
    items = [vars(item) for item in wanted.items]
    page.evaluate(BUILD, {"items": items})
    page.wait_for_timeout(1500)  # texts and previews tell how much room they want once they have been drawn
    heights = {"title": TITLE, "head": HEAD, "badge": BADGE}
    page.evaluate(ARRANGE, {"items": items, "rows": wanted.rows, "gap": wanted.gap, **heights})
