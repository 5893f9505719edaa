// One connection to a service of several replicas: finds the one that serves, notices its loss, finds the next.
//
// Every replica says by itself how it is, so none is asked again and again: while none serves, a socket to each
// waits for the first that says it does.

import { nobodyServes } from "./service-state.js";
import { newRequestId, setServiceClock, wellFormed } from "./storage.js";

/** A call was refused, and had no effect. */
export class Refused extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

/** A call took effect, and fewer replicas hold that than were asked for: the same request id asks again. */
export class KeptOnFewer extends Error {
  constructor({ copies, replicas, message }) {
    super(message);
    this.copies = copies;
    this.replicas = replicas;
  }
}

/** No replica served in time; whether the call had an effect is unknown. */
export class NobodyServed extends Error {
  constructor() {
    super(nobodyServes);
  }
}

const REDIAL_FIRST = 50;
const REDIAL_AT_MOST = 2000;
/** The likeliest are asked at once, the others if that has led nowhere. */
const ASK_ALL_AFTER = 300;
/** A replica that is silent for this many beats is lost. */
const BEATS_MISSED = 3;
/** So is one that does not serve, if it has sent nothing for longer than this: it beats every ten seconds. */
const SILENCE_MAX = 35_000;
/** How long a call may take, fail-overs included. */
const CALL_LIMIT = 15_000;
/** What a replica takes at once; a longer frame ends the socket. */
const FRAME_BYTES_MAX = 64 * 1024;
/**
 * A call that keeps going wrong in a way that no answer tells is given up after STRIKES_MAX strikes, so that nothing is tried
 * for ever. One strike: its socket ended within ENDED_WITHIN after it. Two: an answer that can't be read or belongs to no
 * call while it waited, or none for UNANSWERED_FOR while the replica was alive, in milliseconds.
 */
const STRIKES_MAX = 5;
const ENDED_WITHIN = 1000;
const UNANSWERED_FOR = 5000;
const UNREADABLE = { reason: "UNREADABLE", message: "the service can't read it, or its answer can't be read here" };
const NO_ANSWER = { reason: "NO_ANSWER", message: "the service gives no answer to it; it may have arrived" };

export class Connection extends EventTarget {
  /** Fires `change` (another replica serves, or differently), `frame` (what comes by itself), and `session-over`. */
  constructor(addresses) {
    super();
    this.addresses = addresses;
    this.links = new Map();
    this.current = null;
    this.token = null;
    this.waiting = new Set();
    this.listen = null;
    this.justLost = null;
    /** Calls with strikes are made one at a time, so that those are found that bring them about. */
    this.suspects = Promise.resolve();
    /** This page itself is ending the session: that it ends is no news then. */
    this.leaving = false;
    this.search(addresses.slice(0, 1));
    setInterval(() => this.#watch(), 500);
    // A laptop that wakes up, or a network that is back, need not wait for the next try.
    addEventListener("online", () => this.search());
  }

  /** How the service is, or null while no replica is known to serve. */
  get state() {
    return this.current?.state ?? null;
  }

  /** From now on calls belong to this session, and `listen()` is asked what to listen for on each new socket. */
  begin(token, listen) {
    this.token = token;
    this.listen = listen;
    this.current?.begin();
  }

  end() {
    this.token = null;
    this.listen = null;
    const link = this.current;
    if (!link) return;
    // This socket still has the session; a new one to the same replica does not.
    link.close();
    this.#dial(link.address);
  }

  /**
   * Makes a call, wherever it must go, until it is answered, refused, or the time is over. What is kept on too few replicas
   * is asked for again too, unless `tellKept` says that the caller does so. `strikes` counts over several calls; `ready` is
   * run when the call is about to be handed to a socket, and gives its parameters.
   * @template {import("./frames").CallName} N
   * @param {N} name
   * @param {Partial<import("./frames").Parameters<N>>} parameters
   * @param {{ limit?: number, tellKept?: boolean, strikes?: { count: number }, ready?: () => any }} options
   * @returns {Promise<any>}
   */
  async call(name, parameters = {}, { limit = CALL_LIMIT, tellKept = false, strikes = { count: 0 }, ready = () => parameters } = {}) {
    const until = Date.now() + limit;
    let pause = 20;
    for (;;) {
      const ask = async () => {
        await this.#serving(until);
        const given = await ready();
        return (await this.#serving(until)).ask(name, given, until);
      };
      const outcome = await (strikes.count > 1 ? this.#alone(ask) : ask());
      if (outcome.answer) return outcome.answer;
      if (outcome.refused) throw new Refused(outcome.refused.reason, outcome.refused.message);
      if (outcome.strikes) {
        strikes.count += outcome.strikes;
        if (strikes.count >= STRIKES_MAX) throw new Refused(outcome.why.reason, outcome.why.message);
      }
      if (outcome.kept && (tellKept || Date.now() >= until)) throw new KeptOnFewer(outcome.kept);
      if (Date.now() >= until) throw new NobodyServed();
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
      pause = Math.min(pause * 2, 1000);
    }
  }

  #alone(ask) {
    const asked = this.suspects.then(ask);
    this.suspects = asked.catch(() => {});
    return asked;
  }

  /** Asks these replicas at once, and soon all of them, unless one serves. */
  search(first = this.addresses) {
    if (this.current) return;
    for (const address of first) this.#dial(address);
    clearTimeout(this.searchAll);
    if (first !== this.addresses) {
      this.searchAll = setTimeout(() => {
        this.justLost = null;
        this.search();
      }, ASK_ALL_AFTER);
    }
  }

  #dial(address, wait = REDIAL_FIRST) {
    if (!this.links.has(address)) this.links.set(address, new Link(this, address, wait));
  }

  /** Waits for a replica that serves. */
  #serving(until) {
    if (this.current) return Promise.resolve(this.current);
    return new Promise((resolve, reject) => {
      const caller = { resolve: (link) => { clearTimeout(timer); resolve(link); } };
      const timer = setTimeout(() => {
        this.waiting.delete(caller);
        reject(new NobodyServed());
      }, Math.max(0, until - Date.now()));
      this.waiting.add(caller);
    });
  }

  stands(link) {
    const { addresses, primary } = link.state;
    // What was known before may be another name of the same place, such as localhost: what works stays.
    this.addresses = [...new Set([...addresses, ...this.addresses.filter((address) => address === location.host)])];
    if (link.state.serving && !this.current) {
      this.current = link;
      for (const [address, other] of this.links) {
        if (other !== link) {
          other.close();
          this.links.delete(address);
        }
      }
      link.begin();
      for (const caller of this.waiting) caller.resolve(link);
      this.waiting.clear();
    } else if (!link.state.serving && this.current === link) {
      this.current = null;
      link.forget();
      this.search();
    }
    if (!this.current && primary && primary !== this.justLost) this.#dial(primary);
    this.dispatchEvent(new Event("change"));
  }

  lost(link) {
    if (this.links.get(link.address) === link) this.links.delete(link.address);
    if (this.current === link) {
      this.current = null;
      this.justLost = link.address;
      this.search(this.addresses.filter((address) => address !== link.address));
      this.dispatchEvent(new Event("change"));
    } else if (!this.current) {
      const wait = link.wasOpen ? REDIAL_FIRST : Math.min(REDIAL_AT_MOST, link.wait * 2);
      setTimeout(() => { if (!this.current) this.#dial(link.address, wait); }, wait * (0.5 + Math.random()));
    }
  }

  heard(frame) {
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  sessionOver(message) {
    if (!this.token || this.leaving) return;
    this.dispatchEvent(new CustomEvent("session-over", { detail: message }));
  }

  /** A replica that says nothing is lost, even where its socket does not break. One that serves speaks up more often. */
  #watch() {
    for (const link of [...this.links.values()]) {
      const limit = link === this.current ? BEATS_MISSED * link.state.beat_every : SILENCE_MAX;
      if (link.wasOpen && Date.now() - link.lastHeard > limit) link.close();
    }
  }
}

/** One socket to one replica. */
class Link {
  constructor(connection, address, wait) {
    this.connection = connection;
    this.address = address;
    /** How long was waited before this try, in milliseconds. */
    this.wait = wait;
    this.state = null;
    this.asked = new Map();
    this.next = 1;
    this.lastHeard = Date.now();
    this.listening = null;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${address}/socket`);
    this.socket.onopen = () => { this.wasOpen = true; };
    this.socket.onmessage = (event) => this.#take(event.data);
    this.socket.onclose = () => {
      for (const [id, { isCall, at }] of [...this.asked]) {
        if (isCall && Date.now() - at < ENDED_WITHIN) this.#settle(id, { strikes: 1, why: UNREADABLE });
      }
      this.close();
    };
  }

  /** Says whose session this is, and listens. */
  begin() {
    const { token, listen } = this.connection;
    if (!token) return;
    this.#send("identify", { token }, (outcome) => {
      if (outcome.refused?.reason === "SESSION_INVALID") this.connection.sessionOver(outcome.refused.message);
    });
    if (listen) this.#listen();
  }

  #listen() {
    this.listening = this.#send("listen", { cursor: this.connection.listen() }, (outcome) => {
      this.listening = null;
      const { refused } = outcome;
      if (refused?.reason === "SESSION_INVALID") {
        this.connection.sessionOver(refused.message);
      } else if (refused) {
        this.connection.heard({ listening_refused: refused });
        // Refused for its cursor, most likely; the page that received the refusal has another one now.
        setTimeout(() => { if (this.connection.current === this && !this.listening) this.#listen(); }, 200);
      } else if (this.connection.current === this && !outcome.lost) {
        setTimeout(() => { if (this.connection.current === this && !this.listening) this.#listen(); }, 200);
      }
    });
  }

  ask(name, parameters, until) {
    return new Promise((resolve) => {
      const begun = Date.now();
      // Without an answer in time the outcome is unknown, and the call may be made again.
      const timer = setTimeout(() => {
        this.asked.delete(id);
        const isAlive = this.connection.current === this && this.lastHeard > begun && Date.now() - begun >= UNANSWERED_FOR;
        resolve(isAlive ? { strikes: 2, why: NO_ANSWER } : { lost: true });
      }, Math.max(0, until - begun));
      const id = this.#send(name, parameters, (outcome) => { clearTimeout(timer); resolve(outcome); }, true);
    });
  }

  #send(name, parameters, told, isCall = false) {
    const id = this.next++;
    const frame = frameOf({ id, call: { [name]: parameters } });
    if (!frame) {
      told({ refused: { reason: "TOO_LARGE", message: "this is too long to be sent" } });
    } else if (this.socket.readyState === WebSocket.OPEN) {
      this.asked.set(id, { told, isCall, at: Date.now() });
      this.socket.send(frame);
    } else {
      told({ lost: true });
    }
    return id;
  }

  #take(text) {
    this.lastHeard = Date.now();
    let kind, what;
    try {
      [[kind, what]] = Object.entries(JSON.parse(text));
    } catch {
      return this.#unattributed();
    }
    switch (kind) {
      case "state":
        this.state = what;
        if (what.serving) setServiceClock(what.clock);
        this.connection.stands(this);
        break;
      case "answer": this.#settle(what.id, { answer: Object.values(what.answer)[0] }); break;
      case "refused":
        // What a replica can't read at all it refuses as call 0, which is none.
        if (what.id) this.#settle(what.id, { refused: what });
        else this.#unattributed();
        break;
      case "kept_on_fewer": this.#settle(what.id, { kept: what }); break;
      case "try_again": this.#settle(what.id, { tryAgain: what }); break;
      case "beat":
        if (this.state.serving) setServiceClock(what.clock);
        break;
      default:
        if (this.connection.current === this) this.connection.heard({ [kind]: what });
    }
  }

  #settle(id, outcome) {
    const asked = this.asked.get(id);
    this.asked.delete(id);
    asked?.told(outcome);
  }

  /** An answer came that belongs to no call: each call that waits is made again, so that it is found out. */
  #unattributed() {
    for (const [id, { isCall }] of [...this.asked]) {
      if (isCall) this.#settle(id, { strikes: 2, why: UNREADABLE });
    }
  }

  /** Nothing that was asked here will be answered. */
  forget() {
    for (const id of [...this.asked.keys()]) this.#settle(id, { lost: true });
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.socket.onmessage = null;
    this.socket.onclose = null;
    // One that is still being opened is let open first: a browser takes it for an error otherwise.
    if (this.socket.readyState === WebSocket.CONNECTING) this.socket.onopen = () => this.socket.close();
    else this.socket.close();
    this.connection.lost(this);
    this.forget();
  }
}

/** A frame, or null if no replica would take it. */
function frameOf(ask) {
  const frame = JSON.stringify(ask, (_, value) => (typeof value === "string" ? wellFormed(value) : value));
  return new TextEncoder().encode(frame).length <= FRAME_BYTES_MAX ? frame : null;
}

/** Ends a session other than the page's own, on a socket of its own. Says whether it is over. */
export function endSession(address, token) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${address}/socket`);
    socket.onopen = () => {
      socket.send(frameOf({ id: 1, call: { identify: { token } } }));
      socket.send(frameOf({ id: 2, call: { logout: { request_id: newRequestId() } } }));
    };
    socket.onmessage = ({ data }) => {
      const { answer, refused, try_again } = JSON.parse(data);
      if (answer?.id === 2 || refused?.reason === "SESSION_INVALID") resolve(true);
      if (answer?.id === 2 || refused || try_again) socket.close();
    };
    socket.onclose = () => resolve(false);
  });
}
