// What the browser keeps: sessions, where the replicas are, the outbox and drafts. Of an account nothing is left after its
// log-out.
//
// A browser may keep nothing: its owner has blocked it, or the page is in a frame that may not. Then all of this is kept in
// memory, for this visit.

const PREFIX = "trialogue.";

/** Keeps in memory what the browser does not keep. */
class Memory {
  items = new Map();
  get length() { return this.items.size; }
  key(at) { return [...this.items.keys()][at] ?? null; }
  getItem(key) { return this.items.get(key) ?? null; }
  setItem(key, value) { this.items.set(key, value); }
  removeItem(key) { this.items.delete(key); }
}

/** A storage of the browser, if it can be used. One that is full can be: what is in it is read, and removed. */
function usable(name) {
  try {
    const storage = globalThis[name];
    const probe = `${PREFIX}probe`;
    try {
      storage.setItem(probe, "1");
      storage.removeItem(probe);
    } catch (error) {
      // A private window that keeps nothing says that it is full, and is empty.
      if (!storage || storage.length === 0) throw error;
    }
    return storage;
  } catch {
    return null;
  }
}

const browsers = usable("localStorage");
const local = browsers ?? new Memory();
const tab = usable("sessionStorage") ?? new Memory();

/** Whether what is kept outlives this visit. */
export const outlivesThePage = browsers !== null;

function read(key, storage = local) {
  try {
    return JSON.parse(storage.getItem(PREFIX + key));
  } catch {
    // Damaged, or not to be had any more: as if nothing were kept.
    return null;
  }
}

/** Whether it was kept. */
function write(key, value, storage = local) {
  try {
    storage.setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function remove(key, storage = local) {
  try {
    storage.removeItem(PREFIX + key);
  } catch {
    // What can't be reached can't be kept either.
  }
}

/** The keys that begin so, in order. */
function keysUnder(prefix) {
  try {
    const keys = Array.from({ length: local.length }, (_, at) => local.key(at)).filter((key) => key?.startsWith(PREFIX + prefix));
    return keys.map((key) => key.slice(PREFIX.length)).sort();
  } catch {
    return [];
  }
}

/**
 * The sessions of this browser: one an account, so that two people can chat in two tabs. A tab stays with the account that
 * it signed in with.
 */
export const sessions = {
  /** All that are kept, as `{ id, name, token }`. */
  all: () => keysUnder("session.").map((key) => read(key)).filter(isSession),
  of: (account) => sessions.all().find(({ id }) => id === account) ?? null,

  /** The one that this tab is to go on with, or null if its user must say. */
  ofThisTab() {
    const all = sessions.all();
    const account = read("account", tab);
    if (account !== null) return all.find(({ id }) => id === account) ?? null;
    return all.length === 1 ? all[0] : null;
  },

  /** From now on this tab is with that account. Says whether the session is kept. */
  take(session) {
    // A session that it takes the place of is not forgotten before it is ended.
    const known = sessions.of(session.id);
    if (known && known.token !== session.token) sessions.endLater(known.token);
    write("account", session.id, tab);
    return write(`session.${session.id}`, session);
  },

  /** Forgets this session, and no other of its account. */
  forget(session) {
    if (sessions.of(session.id)?.token === session.token) remove(`session.${session.id}`);
    // This tab goes on as no other account by itself.
    write("account", 0, tab);
  },

  /** Which session a storage event tells of: `{ account, token }`, the token being null if it was forgotten. */
  changed(event) {
    const account = event.key?.startsWith(`${PREFIX}session.`) ? Number(event.key.slice(`${PREFIX}session.`.length)) : null;
    if (account === null) return null;
    return { account, token: sessions.of(account)?.token ?? null };
  },

  /** Sessions that no tab uses any more, and that are still to be ended. */
  toEnd: () => keysUnder("ending.").map((key) => read(key)).filter((token) => typeof token === "string"),
  endLater: (token) => write(`ending.${token.slice(0, 16)}`, token),
  ended: (token) => remove(`ending.${token.slice(0, 16)}`),
};

const isSession = (kept) => Number.isInteger(kept?.id) && typeof kept.name === "string" && typeof kept.token === "string";

// What an earlier version of this page has kept.
const earlier = read("session");
if (isSession(earlier) && (sessions.of(earlier.id) || write(`session.${earlier.id}`, earlier))) remove("session");

export const addresses = {
  load() {
    const kept = read("addresses");
    return Array.isArray(kept) ? kept.filter((address) => typeof address === "string") : [];
  },
  keep: (addresses) => write("addresses", addresses),
};

/**
 * What was typed and not yet acknowledged: an item each, so that two tabs do not overwrite each other's. `place` is what a
 * letter is kept under, and stays; `request_id` changes if it must be sent as another request.
 */
export class Outbox {
  constructor(account) {
    this.prefix = `outbox.${account}.`;
  }

  /** What waits, oldest first: a place begins with the time at which it was drawn (UUIDv7). */
  load() {
    return keysUnder(this.prefix).map((key) => this.now(key.slice(this.prefix.length))).filter((letter) => letter !== null);
  }

  /** How a letter is kept now, perhaps by another tab; null if it is settled. */
  now(place) {
    const kept = read(this.prefix + place);
    if (!Number.isInteger(kept?.with) || typeof kept.text !== "string") return null;
    return {
      // An earlier version of this page did not say whether it was tried.
      tried: true, ...kept,
      place, request_id: String(kept.request_id), to: String(kept.to ?? ""), text: wellFormed(kept.text),
      typed_at: Number.isFinite(kept.typed_at) ? kept.typed_at : Date.now(),
    };
  }

  /** Whether it was kept. */
  keep({ place, request_id, with: account, to, text, typed_at, tried, refused }) {
    return write(this.prefix + place, { request_id, with: account, to, text, typed_at, tried, refused });
  }

  settle(letter) {
    remove(this.prefix + letter.place);
  }

  clear() {
    for (const key of keysUnder(this.prefix)) remove(key);
  }

  /** The place of the letter that another tab has changed, if that is what a storage event says. */
  changedElsewhere(event) {
    return event.key?.startsWith(PREFIX + this.prefix) ? event.key.slice(PREFIX.length + this.prefix.length) : null;
  }
}

/** More than this is no message, and too much to be written with each key. In UTF-16 units. */
export const DRAFT_MAX = 64 * 1024;

/** What was begun and not sent yet, by conversation. */
export class Drafts {
  constructor(account) {
    this.prefix = `draft.${account}.`;
  }

  /** All of them, as `{ id, name, text }`. */
  load() {
    const kept = keysUnder(this.prefix).map((key) => ({ ...read(key), id: Number(key.slice(this.prefix.length)) }));
    return kept.filter(({ id, name, text }) => Number.isInteger(id) && typeof name === "string" && typeof text === "string");
  }

  /** Whether it is kept as it stands. */
  keep({ id, name }, text) {
    if (!text) remove(this.prefix + id);
    return !text || (text.length <= DRAFT_MAX && write(this.prefix + id, { name, text }));
  }

  clear() {
    for (const key of keysUnder(this.prefix)) remove(key);
  }

  /** Whose draft another tab has changed, and to what, if that is what a storage event says. */
  changedElsewhere(event) {
    if (!event.key?.startsWith(PREFIX + this.prefix)) return null;
    const id = Number(event.key.slice(PREFIX.length + this.prefix.length));
    return { id, text: read(this.prefix + id)?.text ?? "" };
  }
}

/** Halves of characters (lone surrogates) are no text, and no frame can carry them. */
export const wellFormed = (text) => text.toWellFormed?.() ?? text.replace(/\p{Surrogate}/gu, "\ufffd");

let serviceAhead = 0;

/** The service's clock, in milliseconds since 1970: ids are dated by it, however wrong this machine's clock is. */
export function setServiceClock(clock) {
  if (clock) serviceAhead = clock - Date.now();
}

const serviceNow = () => Date.now() + serviceAhead;

/** How far the date of a request id is from the service's clock, in milliseconds. */
export const ageOf = (requestId) => Math.abs(serviceNow() - Number.parseInt(requestId.replaceAll("-", "").slice(0, 12), 16));

/** A UUIDv7 (RFC 9562, section 5.7): its date says until when a retry is accepted. */
export function newRequestId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let now = serviceNow();
  for (let i = 5; i >= 0; i--) {
    bytes[i] = now % 256;
    now = Math.floor(now / 256);
  }
  // Two letters of one millisecond stay in order: the next bits count up.
  counter = Date.now() === lastAt ? counter + 1 : 0;
  lastAt = Date.now();
  bytes[6] = 0x70 | ((counter >> 8) & 0x0f);
  bytes[7] = counter & 0xff;
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

let counter = 0;
let lastAt = 0;
