// The chat page: connects, signs in, chats.

import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { byId } from "./elements.js";
import { connecting, nobodyServes, reconnecting } from "./service-state.js";
import { SignIn } from "./sign-in.js";
import { addresses, session } from "./storage.js";

/** After so long without anybody, it is no longer a matter of moments. */
const NOBODY_AFTER = 8000;

const connection = new Connection([location.host, ...addresses.load().filter((one) => one !== location.host)]);
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

connection.addEventListener("change", showService);
showService();

const known = session.load();
if (known) {
  chatAs(known);
} else {
  const why = sessionStorage.getItem("trialogue.why");
  sessionStorage.removeItem("trialogue.why");
  new SignIn({
    connection,
    done: (me) => {
      session.keep(me);
      chatAs(me);
    },
  }).show(why);
}

// With a copy of the page at hand it can be loaded again while the replica that it came from is down.
if ("serviceWorker" in navigator) {
  const url = globalThis.trustedTypes?.createPolicy("worker", { createScriptURL: (url) => url }).createScriptURL("/worker.js") ?? "/worker.js";
  // Without it the page works all the same, as long as its replica does.
  navigator.serviceWorker.register(url, { type: "module" }).catch(() => {});
}
