// One line for what the person should know now, until something else is worth knowing or a while has passed.

import { byId } from "./elements.js";

const SHOWN_FOR = 12_000;
let timer = null;

export function notice(text) {
  const line = byId("notice");
  line.textContent = text;
  line.hidden = !text;
  clearTimeout(timer);
  timer = setTimeout(() => { line.hidden = true; }, SHOWN_FOR);
}

/** For a screen reader only. */
export function announce(text) {
  byId("announcer").textContent = text;
}
