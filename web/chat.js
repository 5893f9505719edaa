// Chatting, for whoever is signed in: what comes is put in its place, what is typed is sent once and in order.

import { Account } from "./account.js";
import { KeptOnFewer, NobodyServed } from "./connection.js";
import { byId } from "./elements.js";
import { Model } from "./model.js";
import { announce, notice } from "./notice.js";
import { People, avatar } from "./people.js";
import { historyReplaced } from "./service-state.js";
import { Outbox, newRequestId, session } from "./storage.js";
import { Talk } from "./talk.js";

/** What has arrived is acknowledged at most so often, in milliseconds. */
const ACKNOWLEDGE_EVERY = 300;
const CONVERSATIONS_PAGE = 500;
/** What is kept on too few replicas is asked for again after this, in milliseconds. */
const ASK_AGAIN_AFTER = 500;

export class Chat {
  constructor(connection, me) {
    this.connection = connection;
    this.me = me;
    this.model = new Model(me);
    this.outbox = new Outbox(me.id);
    this.letters = [];
    const { model } = this;
    this.talk = new Talk({
      model, connection,
      send: (one, text) => this.#send(one, text),
      letGo: (letter) => model.dropped(letter.request_id),
      leave: () => this.#leave(),
    });
    this.people = new People({ model, connection, open: (one) => this.open(one), opened: () => this.talk.open });
    new Account({ connection, me, sent: () => this.#sent(), waiting: () => this.letters.length, over: (why) => this.over(why) });
    connection.addEventListener("frame", ({ detail }) => this.#heard(detail));
    connection.addEventListener("session-over", ({ detail }) => this.over(detail, { keepOutbox: true }));
    addEventListener("storage", (event) => this.#elsewhere(event));
    addEventListener("popstate", () => this.#byAddress());
  }

  start() {
    byId("me").textContent = this.me.name;
    byId("account").prepend(avatar(this.me.id, this.me.name));
    byId("chat").hidden = false;
    for (const letter of this.outbox.load()) {
      this.model.typed(letter);
      this.letters.push(letter);
    }
    this.people.draw();
    this.talk.draw();
    this.connection.begin(this.me.token, () => this.model.cursor);
    this.#post();
  }

  open(one) {
    const address = `#${one.id}`;
    if (location.hash !== address) history.pushState(null, "", address);
    this.#show(one);
    if (!matchMedia("(pointer: coarse)").matches) this.talk.text.focus();
  }

  #leave() {
    if (location.hash) history.pushState(null, "", location.pathname);
    const left = this.talk.open;
    this.#show(null);
    byId("people").querySelector(`[data-account="${left?.id}"] button`)?.focus();
  }

  #show(one) {
    this.talk.show(one);
    byId("chat").classList.toggle("talking", one !== null);
    this.people.draw();
  }

  /** Shows the conversation that the address names, once it is known. */
  #byAddress() {
    const id = Number(location.hash.slice(1));
    const one = this.model.conversations.get(id) ?? null;
    if (one !== this.talk.open) this.#show(one);
  }

  #heard(frame) {
    const [kind, what] = Object.entries(frame)[0];
    switch (kind) {
      case "listening":
        this.model.cursor = what.cursor;
        this.#standing();
        break;
      case "message": this.#arrived(what); break;
      case "receipt": this.model.receipt(what); break;
      case "receipts_missed": this.#standing(); break;
      case "listening_refused":
        if (what.reason === "HISTORY_REPLACED") {
          this.model.forgetHistory();
          notice(historyReplaced);
          const { open } = this.talk;
          if (open) this.talk.load(open, 0);
        } else {
          notice(what.message);
        }
        break;
    }
  }

  #arrived(message) {
    const news = this.model.arrived(message);
    if (message.to_id === this.me.id) this.#acknowledgeSoon();
    if (news && news === this.talk.open && document.visibilityState === "visible") announce(`${message.from}: ${message.text}`);
    else if (news) announce(`New message from ${message.from}`);
  }

  /** How all conversations stand. */
  async #standing() {
    try {
      let before = 0;
      for (;;) {
        const page = await this.connection.call("list_conversations", { before, page_size: CONVERSATIONS_PAGE });
        this.model.stand(page.conversations);
        before = page.conversations.at(-1)?.last?.id ?? 0;
        if (!page.more || !before) break;
      }
      if (!this.talk.open) this.#byAddress();
    } catch (error) {
      // Nobody served: whoever does next is asked again.
      if (!(error instanceof NobodyServed)) notice(error.message);
    }
  }

  /** Says what has arrived here, so that it does not come again, and its senders know. */
  #acknowledgeSoon() {
    if (this.acknowledging) return;
    this.acknowledging = setTimeout(async () => {
      const { history, after } = this.model.cursor ?? {};
      try {
        if (after) await this.connection.call("acknowledge_messages", { request_id: newRequestId(), up_to: after, history });
      } catch (error) {
        // Without an answer the next acknowledgement covers this one.
        if (!(error instanceof NobodyServed) && error.reason !== "SESSION_INVALID") notice(error.message);
      }
      this.acknowledging = null;
      if (this.model.cursor && this.model.cursor.after > (after ?? 0)) this.#acknowledgeSoon();
    }, ACKNOWLEDGE_EVERY);
  }

  /** Keeps a message, then sends it. False if it could not be kept, and then it is not sent. */
  #send(one, text) {
    const letter = { request_id: newRequestId(), with: one.id, to: one.name, text, typed_at: Date.now() };
    if (!this.outbox.keep(letter)) {
      notice("The browser has no room to keep the message until it is sent; it was not sent.");
      return false;
    }
    this.model.typed(letter);
    this.letters.push(letter);
    this.#post();
    return true;
  }

  /**
   * Sends letters one after the other, each until it has its place: so they keep their order. One that is kept on fewer
   * replicas than were asked for keeps no other waiting.
   */
  async #post() {
    if (this.posting) return;
    this.posting = true;
    while (this.letters.length) {
      const [letter] = this.letters;
      try {
        const { request_id, with: to_id, text } = letter;
        const sent = await this.connection.call("send_message", { request_id, to_id, text }, { tellKept: true });
        this.outbox.settle(letter);
        this.model.sent(letter, sent);
      } catch (error) {
        // Nobody can say whether it arrived: it goes again, and counts once.
        if (error instanceof NobodyServed) continue;
        if (error instanceof KeptOnFewer) {
          this.#askAgain(letter, error);
          this.letters = this.letters.filter((other) => other !== letter);
          continue;
        }
        // It stays in the outbox for the next session, whatever a replica says to whoever has none any more.
        if (this.isOver || error.reason === "SESSION_INVALID") break;
        this.outbox.settle(letter);
        this.model.refused(letter, error.message);
      }
      this.letters = this.letters.filter((other) => other !== letter);
    }
    this.posting = false;
    this.dispatchSent?.();
  }

  /** Asks again for a letter that has its place, until enough replicas hold it. It stays in the outbox until then. */
  async #askAgain(letter, kept) {
    this.model.kept(letter, kept);
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_AFTER));
      try {
        const { request_id, with: to_id, text } = letter;
        const sent = await this.connection.call("send_message", { request_id, to_id, text }, { tellKept: true });
        this.outbox.settle(letter);
        this.model.sent(letter, sent);
        return;
      } catch (error) {
        if (error instanceof NobodyServed) continue;
        if (error instanceof KeptOnFewer) {
          this.model.kept(letter, error);
          continue;
        }
        // It stays in the outbox for the next session.
        if (this.isOver || error.reason === "SESSION_INVALID") return;
        this.outbox.settle(letter);
        this.model.refused(letter, error.message);
        return;
      }
    }
  }

  /** Waits until everything typed here is sent, or until somebody must decide. */
  #sent() {
    if (!this.letters.length) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 5000);
      this.dispatchSent = () => { clearTimeout(timer); resolve(); };
    });
  }

  /** Another tab has done something. */
  #elsewhere(event) {
    if (event.key === "trialogue.session" && event.newValue === null) location.reload();
    const settled = this.outbox.settledElsewhere(event);
    if (settled) {
      // What this tab is sending right now gets its own answer.
      this.letters = this.letters.filter((letter, at) => at === 0 || letter.request_id !== settled);
      if (this.letters[0]?.request_id !== settled) this.model.dropped(settled);
    }
  }

  /** The session is over. */
  over(why, { keepOutbox = false } = {}) {
    this.isOver = true;
    if (!keepOutbox) this.outbox.clear();
    session.forget();
    this.connection.end();
    sessionStorage.setItem("trialogue.why", why);
    history.replaceState(null, "", location.pathname);
    // A fresh page: nothing of this session is left in memory.
    location.reload();
  }
}
