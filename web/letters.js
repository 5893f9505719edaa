// What is typed is kept, then sent, once and in order; what is refused stays until its owner has decided.

import { KeptOnFewer, NobodyServed, Refused } from "./connection.js";
import { ageOf, newRequestId } from "./storage.js";

/** What is kept on too few replicas is asked for again after this, in milliseconds. */
const ASK_AGAIN_AFTER = 500;
/** A letter that was never handed to a replica goes as a fresh request if it has waited this long. */
const FRESH_ENOUGH = 60 * 60_000;
/** What is sent anew may have arrived in these cases, so that its id stays as long as it can. */
const MAY_HAVE_ARRIVED = ["UNREADABLE", "NO_ANSWER"];
const UNKEPT = "the browser has no room to note that it is being sent";

/** Another tab has settled a letter that this one was about to send. */
class SettledElsewhere extends Error {}

export class Letters {
  /**
   * `isOver` says whether the session has ended.
   * @param {{ connection: import("./connection.js").Connection, model: import("./model.js").Model, outbox: any, isOver: () => boolean }} parts
   */
  constructor({ connection, model, outbox, isOver }) {
    this.connection = connection;
    this.model = model;
    this.outbox = outbox;
    this.isOver = isOver;
    /** On their way, in order. */
    this.queue = [];
  }

  /** Takes up what was kept before. */
  begin() {
    for (const letter of this.outbox.load()) {
      this.model.typed(letter);
      if (!letter.refused) this.queue.push(letter);
    }
    this.#post();
  }

  /** What was typed here and has not arrived: on its way, or refused. */
  get waiting() {
    return this.outbox.load().length;
  }

  /** Keeps a message, then sends it. False if it could not be kept, and then it is not sent. */
  write(conversation, text) {
    const request_id = newRequestId();
    const letter = { place: request_id, request_id, with: conversation.id, to: conversation.name, text, typed_at: Date.now(), tried: false };
    if (!this.outbox.keep(letter)) return false;
    this.model.typed(letter);
    this.queue.push(letter);
    this.#post();
    return true;
  }

  /** Its owner has let a refused letter go. */
  drop(letter) {
    this.outbox.settle(letter);
    this.model.dropped(letter.place);
  }

  /** Its owner wants a refused letter to be sent after all. */
  again(letter) {
    const { reason } = letter.refused;
    const stays = MAY_HAVE_ARRIVED.includes(reason) && ageOf(letter.request_id) < FRESH_ENOUGH;
    if (!stays) letter.request_id = newRequestId();
    Object.assign(letter, { refused: undefined, tried: stays, strikes: undefined });
    this.outbox.keep(letter);
    this.model.typedAgain(letter);
    this.queue.push(letter);
    this.#post();
  }

  /** Another tab has changed a letter. */
  changedElsewhere(place) {
    const now = this.outbox.now(place);
    // What this tab is sending right now gets its own answer.
    if (this.queue[0]?.place === place) return;
    if (!now) {
      this.queue = this.queue.filter((letter) => letter.place !== place);
      this.model.dropped(place);
    } else if (now.refused) {
      this.queue = this.queue.filter((letter) => letter.place !== place);
      this.model.refused(now);
    } else if (this.model.letter(now)?.refused) {
      // Sent anew there; should that tab be closed before it is answered, this one sees to it.
      this.model.typedAgain(now);
      this.queue.push(this.model.letter(now));
      this.#post();
    }
  }

  /** Waits until everything typed here is sent, or refused, which is for its owner to decide. */
  sent() {
    if (!this.queue.length) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 5000);
      this.allSent = () => { clearTimeout(timer); resolve(undefined); };
    });
  }

  /**
   * Sends letters one after the other, each until it has its place: so they keep their order. One that is kept on fewer
   * replicas than were asked for keeps no other waiting, nor does one that is refused.
   */
  async #post() {
    if (this.posting) return;
    this.posting = true;
    while (this.queue.length) {
      const [letter] = this.queue;
      // `again`: it may or may not have arrived. It goes again with the same id, and counts once.
      const outcome = await this.#try(letter);
      if (outcome === "again") continue;
      if (outcome === "over") break;
      if (outcome === "kept") this.#askAgain(letter);
      this.queue = this.queue.filter((other) => other !== letter);
    }
    this.posting = false;
    this.allSent?.();
  }

  /** Asks again for a letter that has its place, until enough replicas hold it. It stays in the outbox until then. */
  async #askAgain(letter) {
    let outcome = "kept";
    while (outcome === "kept" || outcome === "again") {
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_AFTER));
      outcome = await this.#try(letter);
    }
  }

  /** Tries once: `done`, or else `again` (no answer), `kept` (on too few replicas), `over` (the session is). */
  async #try(letter) {
    try {
      letter.strikes ??= { count: 0 };
      const ready = async () => {
        await this.#mark(letter);
        return { request_id: letter.request_id, to_id: letter.with, text: letter.text };
      };
      const sent = await this.connection.call("send_message", {}, { tellKept: true, strikes: letter.strikes, ready });
      this.outbox.settle(letter);
      this.model.sent(letter, sent);
    } catch (error) {
      if (error instanceof NobodyServed) return "again";
      if (error instanceof SettledElsewhere) {
        this.model.dropped(letter.place);
        return "done";
      }
      if (error instanceof KeptOnFewer) {
        this.model.kept(letter, error);
        return "kept";
      }
      // It stays in the outbox for the next session, whatever a replica says to a page that has none any more.
      if (this.isOver() || error.reason === "SESSION_INVALID") return "over";
      this.#refuse(letter, error.reason ?? "", error.message);
    }
    return "done";
  }

  /**
   * Notes on disk that a letter is being handed to a replica, before it is: from then on only its owner may have it sent
   * as another request.
   */
  async #mark(letter) {
    if (letter.tried) return;
    await alone(() => {
      const now = this.outbox.now(letter.place);
      if (!now) throw new SettledElsewhere();
      let { tried, request_id } = now;
      if (!tried) {
        if (ageOf(request_id) >= FRESH_ENOUGH) request_id = newRequestId();
        tried = this.outbox.keep({ ...letter, request_id, tried: true });
      }
      if (!tried) throw new Refused("UNKEPT", UNKEPT);
      Object.assign(letter, { tried, request_id });
    });
  }

  /** It will not be sent as it is: it stays, with the reason, until its owner decides. */
  #refuse(letter, reason, message) {
    letter.refused = { reason, message };
    this.outbox.keep(letter);
    this.model.refused(letter);
  }
}

/** Does something while no other tab does, where the browser can see to that. */
async function alone(what) {
  let locks = null;
  try {
    locks = navigator.locks;
  } catch {
    // Forbidden, like storage.
  }
  if (!locks) return what();
  let begun = false;
  try {
    return await locks.request("trialogue.outbox", () => {
      begun = true;
      return what();
    });
  } catch (error) {
    if (begun) throw error;
    return what();
  }
}
