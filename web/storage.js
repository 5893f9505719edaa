// What the browser keeps: the session, where the replicas are, and the outbox. All of it is gone after a log-out, save
// where the replicas are.

const PREFIX = "trialogue.";

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key));
  } catch {
    // Damaged, or no storage at all: as if nothing were kept.
    return null;
  }
}

/** Whether it was kept. */
function write(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export const session = {
  load: () => read("session"),
  keep: (session) => write("session", session),
  forget: () => localStorage.removeItem(PREFIX + "session"),
};

export const addresses = {
  load: () => read("addresses") ?? [],
  keep: (addresses) => write("addresses", addresses),
};

/** What was typed and not yet acknowledged: an item each, so that two tabs do not overwrite each other's. */
export class Outbox {
  constructor(account) {
    this.prefix = `${PREFIX}outbox.${account}.`;
  }

  /** What waits, oldest first: a request id begins with the time at which it was drawn (UUIDv7). */
  load() {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix)).sort();
    return keys.map((key) => read(key.slice(PREFIX.length))).filter((letter) => letter !== null);
  }

  keep(letter) {
    return write(this.prefix.slice(PREFIX.length) + letter.request_id, letter);
  }

  settle(letter) {
    localStorage.removeItem(this.prefix + letter.request_id);
  }

  clear() {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(this.prefix)) localStorage.removeItem(key);
    }
  }

  /** The request id of the letter that another tab has settled, if that is what a storage event says. */
  settledElsewhere(event) {
    const settled = event.newValue === null && event.key?.startsWith(this.prefix);
    return settled ? event.key.slice(this.prefix.length) : null;
  }
}

let serviceAhead = 0;

/** The service's clock, in milliseconds since 1970: ids are dated by it, however wrong this machine's clock is. */
export function setServiceClock(clock) {
  if (clock) serviceAhead = clock - Date.now();
}

/** A UUIDv7 (RFC 9562, section 5.7): its date says until when a retry is accepted. */
export function newRequestId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let now = Date.now() + serviceAhead;
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
