// Chatting, once signed in: what comes is put in its place, what is typed goes on its way (letters.js).

import { Account } from "./account.js";
import { NobodyServed } from "./connection.js";
import { byId, isLookedAt } from "./elements.js";
import { Letters } from "./letters.js";
import { Model } from "./model.js";
import { announce, notice } from "./notice.js";
import { People, avatar } from "./people.js";
import { historyReplaced } from "./service-state.js";
import { Drafts, Outbox, newRequestId, sessions } from "./storage.js";
import { Talk } from "./talk.js";

/** What has arrived is acknowledged at most once in this time, in milliseconds. */
const ACKNOWLEDGE_EVERY = 300;
const CONVERSATIONS_PAGE = 500;

export class Chat {
  constructor(connection, me) {
    this.connection = /** @type {import("./connection.js").Connection} */ (connection);
    this.me = me;
    this.model = new Model(me);
    this.outbox = new Outbox(me.id);
    this.drafts = new Drafts(me.id);
    const { model, drafts } = this;
    this.letters = new Letters({ connection, model, outbox: this.outbox, isOver: () => this.isOver });
    this.talk = new Talk({
      model, connection, drafts, letters: this.letters,
      leave: () => this.#leave(),
    });
    this.people = new People({ model, connection, open: (conversation) => this.open(conversation), opened: () => this.talk.open });
    new Account({ connection, me, sent: () => this.letters.sent(), waiting: () => this.letters.waiting, over: (why) => this.over(why) });
    connection.addEventListener("frame", ({ detail }) => this.#heard(detail));
    connection.addEventListener("session-over", ({ detail }) => this.#sessionOver(detail));
    addEventListener("storage", (event) => this.#elsewhere(event));
    addEventListener("popstate", () => this.#byAddress());
  }

  start() {
    byId("me").textContent = this.me.name;
    byId("account").prepend(avatar(this.me.id, this.me.name));
    byId("chat").hidden = false;
    for (const { id, name, text } of this.drafts.load()) this.model.drafted(id, name, text);
    this.letters.begin();
    this.people.draw();
    this.talk.draw();
    this.connection.begin(this.me.token, () => this.model.cursor);
  }

  open(conversation) {
    const address = `#${conversation.id}`;
    if (location.hash !== address) history.pushState(null, "", address);
    this.#show(conversation);
    if (!matchMedia("(pointer: coarse)").matches) this.talk.text.focus();
  }

  #leave() {
    if (location.hash) history.pushState(null, "", location.pathname);
    const left = this.talk.open;
    this.#show(null);
    byId("people").querySelector(`[data-account="${left?.id}"] button`)?.focus();
  }

  #show(conversation) {
    this.talk.show(conversation);
    byId("chat").classList.toggle("talking", conversation !== null);
    this.people.draw();
  }

  /** Shows the conversation that the address names, once it is known. */
  #byAddress() {
    const name = location.hash.slice(1);
    // Any other part of the page that an address may name is no conversation: what is open stays open.
    if (name && !/^[0-9]+$/.test(name)) return;
    const id = Number(name);
    const conversation = this.model.conversations.get(id) ?? null;
    if (conversation !== this.talk.open) this.#show(conversation);
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
    if (news && news === this.talk.open && isLookedAt()) announce(`${message.from}: ${message.text}`);
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
      // No replica served: the next one that does is asked again.
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

  /** Another tab has done something. */
  #elsewhere(event) {
    const session = sessions.changed(event);
    if (session?.account === this.me.id && session.token !== this.me.token) {
      if (session.token) this.#goOnWith(session.token);
      else this.over(`${this.me.name} was logged out in another tab.`, { keepOutbox: true });
    }
    const place = this.outbox.changedElsewhere(event);
    if (place) this.letters.changedElsewhere(place);
    const draft = this.drafts.changedElsewhere(event);
    if (draft) this.talk.draftElsewhere(draft);
  }

  /** The same account has signed in anew in another tab, and this session is being ended for that one. */
  #goOnWith(token) {
    this.me.token = token;
    this.connection.begin(token, () => this.model.cursor);
  }

  #sessionOver(why) {
    const kept = sessions.of(this.me.id);
    if (kept && kept.token !== this.me.token) this.#goOnWith(kept.token);
    else this.over(why, { keepOutbox: true });
  }

  /** The session is over. */
  over(why, { keepOutbox = false } = {}) {
    this.isOver = true;
    if (!keepOutbox) {
      this.outbox.clear();
      this.drafts.clear();
    }
    sessions.forget(this.me);
    this.connection.end();
    // A fresh page: nothing of this session is left in memory. What it has to say outlives even where storage is forbidden.
    history.replaceState({ why }, "", location.pathname);
    location.reload();
  }
}
