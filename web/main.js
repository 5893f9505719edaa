// The chat page: connects, signs in, chats.

import "./input-methods.js";
import { Chat } from "./chat.js";
import { Connection, endSession } from "./connection.js";
import { byId } from "./elements.js";
import { connecting, nobodyServes, reconnecting } from "./service-state.js";
import { SignIn } from "./sign-in.js";
import { addresses, outlivesThePage, sessions } from "./storage.js";

/** After this time without a replica that serves, it is no longer a matter of moments. */
const NOBODY_AFTER = 8000;

const connection = new Connection([location.host, ...addresses.load().filter((address) => address !== location.host)]);
let wasServed = false;
let unservedSince = Date.now();

function showService() {
  const { state } = connection;
  if (state) {
    wasServed = true;
    unservedSince = null;
    addresses.keep(connection.addresses);
    byId("service").textContent = state.sentence;
    byId("replica").textContent = `replica ${state.replica}`;
    byId("light").className = `light ${state.in_sync === state.addresses.length ? "good" : "fewer"}`;
    return;
  }
  unservedSince ??= Date.now();
  const isLong = Date.now() - unservedSince >= NOBODY_AFTER;
  byId("service").textContent = isLong ? nobodyServes : wasServed ? reconnecting : connecting;
  byId("replica").textContent = "";
  byId("light").className = `light ${isLong ? "bad" : "waiting"}`;
  if (!isLong) setTimeout(() => { if (!connection.state) showService(); }, NOBODY_AFTER);
}

function chatAs(me) {
  new Chat(connection, me).start();
}

/** Says what will not be kept, for as long as that is so. */
function sayUnkept(what) {
  for (const line of document.querySelectorAll(".unkept")) {
    line.textContent = what;
    line.removeAttribute("hidden");
  }
}

let endsSessions = false;

/** Ends the sessions that others have taken the place of. */
async function endSessions() {
  if (endsSessions) return;
  endsSessions = true;
  for (const token of sessions.toEnd()) {
    if (connection.current && await endSession(connection.current.address, token)) sessions.ended(token);
  }
  endsSessions = false;
}

connection.addEventListener("change", showService);
connection.addEventListener("change", endSessions);
showService();
if (!outlivesThePage) {
  sayUnkept("This browser lets the page keep nothing (its site data is blocked). The chat works until you reload or close this page: then you sign in again, and drafts and messages that were not sent are gone.");
}

const why = history.state?.why;
const known = why ? null : sessions.ofThisTab();
if (known) {
  sessions.take(known);
  chatAs(known);
} else {
  history.replaceState(null, "");
  new SignIn({
    connection,
    done: (me) => {
      if (!sessions.take(me)) sayUnkept("The browser has no room to keep that you are signed in: log out before you close this page.");
      endSessions();
      chatAs(me);
    },
  }).show(why);
}

// With a copy of the page at hand it can be loaded again while the replica that it came from is down. Without it the page
// works all the same, as long as its replica does: a browser may have no worker, or forbid it to this page.
try {
  const url = globalThis.trustedTypes?.createPolicy("worker", { createScriptURL: (url) => url }).createScriptURL("/worker.js") ?? "/worker.js";
  navigator.serviceWorker?.register(url, { type: "module" }).catch(() => {});
} catch {
  // Forbidden.
}
