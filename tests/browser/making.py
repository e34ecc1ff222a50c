"""What tests that make a graph by hand begin their scripts with."""

MAKE = """
    app.graph.clear();
    const add = (type, x, y, values = {}) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, y];
        app.graph.add(node);
        for (const [name, value] of Object.entries(values)) {
            node.widgets.find((one) => one.name === name).value = value;
        }
        return node;
    };
    const link = (from, output, to, input) => {
        from.connect(from.outputs.findIndex((one) => one.name === output || one.type === output), to,
                     to.inputs.findIndex((one) => one.name === input));
    };
"""
"""`add` makes a node with values, `link` a wire by the names of its ends, in an empty graph."""
