// Putting elements in order without touching those that stand where they belong.

/** Make `nodes` the children of `parent`, in this order; whoever has the focus keeps it. */
export function arrange(parent, nodes) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  while (at !== null) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
  if (focused !== null && focused !== document.activeElement && document.contains(focused)) focused.focus({ preventScroll: true });
}

/** A part of an element that is made again only when what it shows has changed. */
export class Slot {
  #node;
  #shown = null;

  constructor(node) {
    this.#node = node;
  }

  /** `words` is compared; `make` gives the new children. */
  show(words, make) {
    const text = JSON.stringify(words ?? null);
    if (text === this.#shown) return;
    this.#shown = text;
    this.#node.replaceChildren(...[make()].flat().filter((one) => one !== null && one !== undefined && one !== ""));
  }
}
