// Plain elements. No text of the user's ever becomes HTML.

/** An element with properties, attributes and children. */
export function element(tag, given = {}, children = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** The canvas of the graph must not zoom, drag or delete nodes while a control is used. */
export function keepToItself(root) {
  for (const kind of ["wheel", "pointerdown", "pointermove", "pointerup", "keydown", "contextmenu", "dblclick"]) {
    root.addEventListener(kind, (event) => event.stopPropagation());
  }
  return root;
}
