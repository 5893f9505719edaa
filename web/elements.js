// Making elements. Text only ever becomes text nodes: nothing that anybody wrote is ever parsed as markup.

/** An element with classes, properties, attributes (`aria-…`, `data-…`, `role`, `for`) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "class") made.className = value;
    else if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * The element of that id; which kind of element it is, the page says.
 * @param {string} id
 * @returns {any}
 */
export const byId = (id) => document.getElementById(id);

/** Whether this page can be looked at: it is in sight, and what is typed goes to it. */
export const isLookedAt = () => document.visibilityState === "visible" && document.hasFocus();

/** What only a screen reader says. */
export const said = (text) => element("span", { class: "visually-hidden" }, text);

/** A function that has `draw` run soon, once, however often it is called: with the next frame, or, out of sight, without. */
export function drawing(draw) {
  let due = false;
  const now = () => {
    if (!due) return;
    due = false;
    draw();
  };
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(now);
    setTimeout(now, 100);
  };
}

/**
 * Makes the children of `parent` those of `rows`, each `{ key, state, make, fill }`: what is there with the same key and
 * state stays, so that focus and selection survive; nothing moves that need not. `fill`, if any, brings up to date what a
 * state does not tell.
 */
export function arrange(parent, rows) {
  const there = arranged.get(parent) ?? new Map();
  const wanted = new Set(rows.map(({ key }) => key));
  for (const [key, known] of there) {
    if (!wanted.has(key)) known.node.remove();
  }
  const next = new Map();
  let place = parent.firstChild;
  for (const row of rows) {
    let known = there.get(row.key);
    if (!known || known.state !== row.state) {
      const made = row.make();
      if (known) {
        const hadFocus = known.node.contains(document.activeElement);
        if (place === known.node) place = made;
        known.node.replaceWith(made);
        if (hadFocus) (made.querySelector("button") ?? made).focus();
      }
      known = { node: made, state: row.state };
    }
    row.fill?.(known.node);
    next.set(row.key, known);
    if (known.node === place) {
      place = place.nextSibling;
    } else {
      parent.insertBefore(known.node, place);
    }
  }
  arranged.set(parent, next);
}

/** Takes everything out of `parent` that was arranged there. */
export const clear = (parent) => arrange(parent, []);

/** What stands in which element: its node and state by key. */
const arranged = new WeakMap();
