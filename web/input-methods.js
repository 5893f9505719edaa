// Input methods: a key that is part of composing a character (choosing among candidates, ending or giving up the
// composition) belongs to the input method, in every field, and does nothing else on this page.

/** The last key belonged to an input method, and is not up yet. */
let isTheirs = false;

// Safari ends the composition before it tells of the key that ended it; the key code still says whose it was.
addEventListener("keydown", (event) => {
  isTheirs = event.isComposing || event.keyCode === 229;
  if (isTheirs) event.stopImmediatePropagation();
}, { capture: true });

for (const name of ["keyup", "pointerdown"]) addEventListener(name, () => { isTheirs = false; }, { capture: true });

// Nor does a browser send a form, or close a dialog, by such a key.
for (const name of ["submit", "cancel"]) {
  addEventListener(name, (event) => {
    if (!isTheirs) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, { capture: true });
}
