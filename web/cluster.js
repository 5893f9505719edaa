// The cluster page: every replica says how it stands, and this draws it. In a playground it also gives orders.

import { arrange, byId, drawing, element, said } from "./elements.js";
import { connecting, nobodyServes, reconnecting } from "./service-state.js";

/** A replica that sends nothing for longer than this is shown as silent, in milliseconds; it sends ten times a second. */
const SILENT_AFTER = 700;
const REDIAL = 500;
const NOBODY_AFTER = 8000;
const VIEWS_SHOWN = 20;
/** Over which time messages a second are counted. */
const RATE_OVER = 2000;
const ORDERS = { kill: "Kill", pause: "Pause", resume: "Resume", restart: "Restart" };

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
const count = new Intl.NumberFormat("en");

/** One replica, as it says that it stands. */
class Replica {
  constructor(index, address) {
    this.index = index;
    this.address = address;
    this.picture = null;
    this.heardAt = 0;
    this.counts = [];
    this.dial();
  }

  dial() {
    this.socket = socketTo(this.address, "/cluster/socket", (frame) => {
      if (frame.replica) this.take(frame.replica);
      if (frame.views) learnViews(frame.views);
    }, () => {
      this.socket = null;
      this.picture = null;
      draw();
      this.redial();
    });
  }

  /** Tries again, unless it is known to be down by order. */
  redial() {
    setTimeout(() => (processes[this.index] === "down" ? this.redial() : this.dial()), REDIAL);
  }

  take(picture) {
    const now = performance.now();
    this.heardAt = now;
    this.picture = picture;
    this.counts.push({ at: now, messages: picture.messages });
    while (this.counts.length > 2 && now - this.counts[0].at > RATE_OVER) this.counts.shift();
    draw();
  }

  get answers() {
    return this.picture !== null && performance.now() - this.heardAt < SILENT_AFTER;
  }

  /** Messages acknowledged a second. */
  get rate() {
    const [first, last] = [this.counts[0], this.counts.at(-1)];
    if (!first || last.at - first.at < 200) return 0;
    return Math.max(0, (1000 * (last.messages - first.messages)) / (last.at - first.at));
  }
}

const replicas = [];
const views = new Map();
let playground = null;
let processes = [];
let wasServed = false;
let unservedSince = performance.now();

/** A socket that hands over what comes, and says when it is over. */
function socketTo(address, path, heard, over) {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${address}${path}`);
  socket.onmessage = (event) => heard(JSON.parse(event.data));
  socket.onclose = over;
  return socket;
}

/** Learns where all replicas are from the server of this page. */
function begin() {
  let isKnown = false;
  socketTo(location.host, "/cluster/socket", (frame) => {
    if (!frame.cluster || isKnown) return;
    isKnown = true;
    frame.cluster.addresses.forEach((address, index) => replicas.push(new Replica(index, address)));
    byId("to-chat").href = `//${frame.cluster.addresses[0]}/`;
    if (frame.cluster.playground) openPlayground(frame.cluster.playground);
    draw();
  }, () => { if (!isKnown) setTimeout(begin, REDIAL); });
}

function openPlayground(address) {
  byId("playground").hidden = false;
  playground = socketTo(address, "/playground/socket", (frame) => {
    if (frame.processes) processes = frame.processes;
    if (frame.ledger) drawLedger(frame.ledger);
    if (frame.refused) byId("said").textContent = frame.refused.message;
    draw();
  }, () => {
    playground = null;
    processes = [];
    setTimeout(() => openPlayground(address), REDIAL);
    draw();
  });
}

function learnViews(told) {
  for (const view of told) {
    const known = views.get(view.view);
    // Only the successor can tell the gap; the first to learn of a view tells best when it came.
    views.set(view.view, {
      ...view,
      at: Math.min(known?.at ?? Infinity, view.at),
      unserved_ms: view.unserved_ms ?? known?.unserved_ms ?? null,
    });
  }
  draw();
}

const draw = drawing(drawAll);

function drawAll() {
  const answering = replicas.filter((replica) => replica.answers);
  const newest = answering.reduce((best, { picture }) => (picture.view > (best?.view ?? 0) ? picture : best), null);
  const serving = answering.find(({ picture }) => picture.serving && picture.view === newest?.view);
  // No replica can be behind by what the primary itself was not seen to have.
  const head = serving?.picture.op ?? Math.max(0, ...answering.map(({ picture }) => picture.op));
  drawSentence(serving, newest);
  arrange(byId("replicas"), replicas.map((replica) => cardOf(replica, newest, serving, head)));
  const shown = [...views.values()].sort((a, b) => b.view - a.view).slice(0, VIEWS_SHOWN);
  byId("no-views").hidden = shown.length > 0;
  arrange(byId("views"), shown.map((view, at) => ({
    key: view.view,
    state: JSON.stringify([view, at === 0]),
    make: () => element("tr", { class: at === 0 ? "newest" : null },
      element("td", {}, clock.format(view.at)),
      element("td", {}, String(view.view)),
      element("td", {}, `replica ${view.primary}`),
      element("td", {}, view.in_sync.join(", ")),
      element("td", { class: "gap" }, view.unserved_ms === null ? "–" : `${count.format(view.unserved_ms)} ms`,
        view.unserved_ms === null ? said("not known") : null)),
  })));
}

function drawSentence(serving, newest) {
  const line = byId("service");
  const light = byId("light");
  let text;
  if (serving) {
    wasServed = true;
    unservedSince = null;
    text = serving.picture.sentence;
    light.className = `light ${newest.in_sync.length === replicas.length ? "good" : "fewer"}`;
  } else {
    unservedSince ??= performance.now();
    const isLong = performance.now() - unservedSince > NOBODY_AFTER;
    text = isLong ? nobodyServes : wasServed ? reconnecting : connecting;
    light.className = `light ${isLong ? "bad" : "waiting"}`;
  }
  if (line.textContent !== text) line.textContent = text;
}

function cardOf(replica, newest, serving, head) {
  const { index, picture } = replica;
  const isAlive = replica.answers;
  const isInSync = newest?.in_sync.includes(index) ?? false;
  const process = processes[index];
  const kind = !isAlive ? "down" : picture.role === "primary" ? "primary" : isInSync ? "secondary" : "behind";
  const role = isAlive ? picture.role : process === "paused" ? "paused" : "down";
  const rate = replica === serving ? Math.round(replica.rate) : null;
  const facts = {
    "in sync": isInSync ? "yes" : "no",
    view: isAlive ? count.format(picture.view) : "–",
    op: isAlive ? count.format(picture.op) : "–",
    behind: isAlive ? `${count.format(Math.max(0, head - picture.op))} ops` : "–",
    "messages a second": rate === null ? "–" : count.format(rate),
  };
  const fault = isAlive ? picture.fault : null;
  return {
    key: index,
    state: JSON.stringify([kind, role, fault, process, playground !== null]),
    make: () => {
      const card = element("li", { class: `replica-card ${kind}` },
        element("header", {}, element("h3", {}, `Replica ${index}`), element("span", { class: "role" }, role)),
        element("p", { class: "muted small" }, replica.address),
        element("dl", {}, ...Object.entries(facts).flatMap(([name]) => [element("dt", {}, name), element("dd", { "data-fact": name })])),
        fault ? element("p", { class: "fault" }, fault) : null,
        playground ? ordersFor(index, process) : null);
      fill(card, facts);
      return card;
    },
    fill: (card) => fill(card, facts),
  };
}

/** Numbers change all the time: only their text does, so that nothing else of the card is made anew. */
function fill(card, facts) {
  for (const [name, value] of Object.entries(facts)) {
    const cell = card.querySelector(`[data-fact="${name}"]`);
    if (cell.textContent !== value) cell.textContent = value;
  }
}

function ordersFor(index, process) {
  const possible = { kill: process !== "down", pause: process === "runs", resume: process === "paused", restart: true };
  return element("div", { class: "orders" }, ...Object.entries(ORDERS).map(([what, label]) =>
    element("button", {
      type: "button", disabled: !possible[what], "aria-label": `${label} replica ${index}`,
      onclick: () => {
        byId("said").textContent = "";
        playground?.send(JSON.stringify({ order: { replica: index, what } }));
      },
    }, label)));
}

function drawLedger(ledger) {
  const gap = ledger.last_gap_ms === null ? "–" : `${count.format(ledger.last_gap_ms)} ms`;
  const facts = [
    ["sent", count.format(ledger.sent)],
    ["acknowledged", count.format(ledger.acknowledged)],
    ["heard", count.format(ledger.heard)],
    ["lost", count.format(ledger.lost), ledger.lost ? "bad" : "good"],
    ["twice", count.format(ledger.twice), ledger.twice ? "bad" : "good"],
    ["last gap", gap],
  ];
  arrange(byId("ledger"), facts.map(([name, value, kind]) => ({
    key: name, state: value,
    make: () => element("div", { "data-fact": name }, element("dt", {}, name), element("dd", { class: kind ?? null }, value)),
  })));
  const since = ledger.since ? `Last gap: the longest time without an acknowledgement since ${ledger.since}.` : "Two people write to each other all the time. Kill a replica and watch.";
  const text = ledger.trouble ?? since;
  if (byId("trouble").textContent !== text) byId("trouble").textContent = text;
  arrange(byId("latest"), ledger.latest.map((line) => ({
    key: line.id, state: "",
    make: () => element("li", {}, element("span", { class: "who" }, line.from.replace("playground-", "")), line.text),
  })));
}

begin();
// Silence, too, is to be seen.
setInterval(draw, 250);
