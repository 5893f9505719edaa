// The open conversation: its messages, what is on its way, and the field to write in.

import { arrange, byId, clear, drawing, element, isLookedAt, said } from "./elements.js";
import { notice } from "./notice.js";
import { DRAFT_MAX, newRequestId, wellFormed } from "./storage.js";
import { TEXT_BYTES_MAX, bytesOf, dayKey, dayOf, directionOf, exactTimeOf, printable, timeOf } from "./words.js";

const PAGE = 60;
/** What is said of a message that has its place on fewer replicas than were asked for. */
const keptOn = (kept) => (kept ? `kept on ${kept.copies} of ${kept.replicas}` : "");
/** Nearer than this to its end, the conversation follows what comes. */
const AT_END = 48;
/** Messages of one person within this time stand together. */
const TOGETHER = 5 * 60_000;
/** So much text is as high as the field may get: it is not measured, which takes long where it is long. */
const MEASURED_MAX = 4000;
const GROWS_BY_STYLE = CSS.supports("field-sizing", "content");
/** The count of bytes is shown when so few are left. */
const COUNT_WHEN_LEFT = 1024;

export class Talk {
  /**
   * @param {{ model: import("./model.js").Model, connection: import("./connection.js").Connection, drafts: any,
   *   letters: import("./letters.js").Letters, leave: any }} parts
   */
  constructor({ model, connection, drafts, letters, leave }) {
    this.model = model;
    this.connection = connection;
    this.drafts = drafts;
    this.letters = letters;
    this.leave = leave;
    this.scroll = byId("scroll");
    this.list = byId("messages");
    this.older = byId("older");
    this.down = byId("down");
    this.text = byId("text");
    this.open = null;
    this.atEnd = true;
    this.soon = drawing(() => this.draw());
    model.addEventListener("talk", (event) => {
      if (/** @type {CustomEvent} */ (event).detail === this.open) this.soon();
    });
    this.scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.older.addEventListener("click", () => this.loadOlder());
    this.down.addEventListener("click", () => { this.#toEnd(); this.text.focus(); });
    byId("back").addEventListener("click", () => this.leave());
    byId("composer").addEventListener("submit", (event) => { event.preventDefault(); this.#submit(); });
    this.text.addEventListener("keydown", (event) => this.#key(event));
    this.text.addEventListener("input", () => this.#typed());
    this.text.addEventListener("paste", (event) => this.#pasted(event));
    document.addEventListener("visibilitychange", () => this.#markRead());
    addEventListener("focus", () => this.#markRead());
    document.querySelector(".skip").addEventListener("click", (event) => {
      // The address names the conversation, and goes on to do so.
      event.preventDefault();
      (byId("composer").hidden ? this.scroll : this.text).focus();
    });
    new ResizeObserver(() => { if (this.atEnd) this.#toEnd(); }).observe(this.scroll);
  }

  show(conversation) {
    if (this.open === conversation) return;
    if (this.open) this.open.newAfter = null;
    this.open = conversation;
    clear(this.list);
    byId("with").textContent = conversation?.name ?? "";
    if (!conversation) return this.draw();
    conversation.newAfter = conversation.unread ? conversation.readUpTo : null;
    this.text.value = conversation.draft;
    this.atEnd = conversation.newAfter === null;
    this.draw();
    this.#measure();
    if (conversation.loaded) this.#toMark();
    else this.load(conversation, 0);
  }

  /** Asks for a page: the newest, or the one before a message. */
  async load(conversation, before) {
    if (conversation.loading) return;
    conversation.loading = true;
    this.soon();
    try {
      const { messages, more } = await this.connection.call("list_messages", { with_id: conversation.id, before, page_size: PAGE });
      conversation.loading = false;
      const fromEnd = this.scroll.scrollHeight - this.scroll.scrollTop;
      this.model.page(conversation, messages, more);
      if (conversation !== this.open) return;
      // Where the new begins comes into sight first: its end was not seen yet.
      if (!before && conversation.newAfter !== null) this.atEnd = false;
      this.draw();
      if (before) this.scroll.scrollTop = this.scroll.scrollHeight - fromEnd;
      else this.#toMark();
    } catch (error) {
      conversation.loading = false;
      if (error.reason) notice(error.message);
      // No replica served in time: one will, and a person who still looks at it wants it then.
      else if (conversation === this.open) this.load(conversation, before);
    }
  }

  loadOlder() {
    const first = this.open?.messages[0];
    if (first && this.open.more) this.load(this.open, first.id);
  }

  draw() {
    const conversation = this.open;
    const rows = conversation ? this.#rows(conversation) : [];
    arrange(this.list, rows);
    byId("composer").hidden = !conversation || conversation.deleted;
    byId("with-note").textContent = conversation?.deleted ? "This account was deleted; it can't be written to." : "";
    this.older.hidden = !conversation?.loaded || !conversation.more;
    const empty = byId("no-messages");
    empty.hidden = rows.length > 0;
    empty.textContent = !conversation
      ? "Choose a conversation, or find somebody by name."
      : !conversation.loaded ? "Loading…"
      : conversation.id === this.model.me.id ? "A place for notes to yourself." : `No messages yet. Say hello to ${conversation.name}.`;
    if (this.atEnd) this.#toEnd();
    this.down.hidden = this.atEnd || !conversation;
    this.#markRead();
  }

  #rows(conversation) {
    const rows = [];
    let before = null;
    const between = (at) => {
      if (!before || dayKey(before.at) !== dayKey(at)) {
        const key = `day ${dayKey(at)}`;
        const text = dayOf(at);
        rows.push({ key, state: text, make: () => element("li", { class: "day" }, element("span", {}, text)) });
        before = null;
      }
    };
    let isMarked = conversation.newAfter === null;
    for (const message of conversation.messages) {
      between(message.sent_at);
      const mine = message.from_id === this.model.me.id;
      if (!isMarked && !mine && message.id > conversation.newAfter) {
        isMarked = true;
        rows.push({ key: "new", state: "", make: () => element("li", { class: "new", id: "new" }, element("span", {}, "New")) });
        before = null;
      }
      const first = !before || before.mine !== mine || message.sent_at - before.at > TOGETHER;
      const mark = mine ? this.#mark(conversation, message) : null;
      rows.push({
        key: message.id,
        state: JSON.stringify([mark, first, message.undeliverable]),
        make: () => this.#message(message, mine, first, mark),
      });
      before = { at: message.sent_at, mine };
    }
    for (const letter of conversation.letters) {
      if (letter.shownAs && conversation.messages.some((message) => message.id === letter.shownAs)) continue;
      between(letter.typed_at);
      rows.push({ key: letter.place, state: letter.refused?.message ?? keptOn(letter.kept), make: () => this.#letter(letter) });
      before = { at: letter.typed_at, mine: true };
    }
    return rows;
  }

  /** How far an own message has come: its sign, and the word for it. */
  #mark(conversation, message) {
    const copies = this.model.copies.get(message.id);
    if (message.undeliverable) return null;
    if (conversation.id === this.model.me.id) return null;
    if (message.id <= conversation.seenUpTo) return ["✓✓", "read"];
    if (message.delivered || message.id <= conversation.deliveredUpTo) return ["✓✓", "arrived"];
    if (copies?.asked) return [keptOn(copies), "kept on fewer replicas than were asked for"];
    if (copies) return [`✓ ${copies.copies} of ${copies.replicas}`, "sent, with fewer copies than there should be"];
    return ["✓", "sent"];
  }

  #message(message, mine, first, mark) {
    const text = message.undeliverable
      ? element("p", { class: "text gone" }, "Not delivered: the account was deleted first.")
      : element("p", { class: "text", dir: "auto" }, message.text);
    return element("li", { class: `message ${mine ? "mine" : "theirs"}${first ? " first" : ""}`, "data-id": String(message.id) },
      said(mine ? "You: " : `${message.from}: `),
      text,
      element("span", { class: "meta" },
        element("time", { dateTime: new Date(message.sent_at).toISOString(), title: exactTimeOf(message.sent_at) }, timeOf(message.sent_at)),
        mark ? element("span", { class: `mark ${mark[1].split(",")[0]}`, title: mark[1] }, element("span", { "aria-hidden": "true" }, mark[0]), said(mark[1])) : null));
  }

  #letter(letter) {
    const does = (words, what) => element("button", { type: "button", class: "plain", onclick: what }, words);
    const refused = letter.refused
      ? element("div", { class: "refused" }, element("p", {}, `Not sent: ${whyRefused(letter.refused)}`),
        does("Send it anew", () => this.letters.again(letter)),
        does("Edit it", () => this.#edit(letter)),
        does("Let it go", () => this.letters.drop(letter)))
      : null;
    return element("li", { class: `message mine first ${letter.refused ? "failed" : "pending"}`, "data-request": letter.request_id },
      said("You: "),
      element("p", { class: "text", dir: "auto" }, letter.text),
      element("span", { class: "meta" }, letter.refused ? null : keptOn(letter.kept) || "sending…"),
      refused);
  }

  #edit(letter) {
    this.text.value = this.text.value ? `${letter.text}\n${this.text.value}` : letter.text;
    this.#typed();
    this.letters.drop(letter);
    this.text.focus();
  }

  #submit() {
    if (!this.open || bytesOf(this.text.value) > TEXT_BYTES_MAX) return this.#measure();
    const text = printable(wellFormed(this.text.value));
    if (!text.trim()) return;
    if (bytesOf(text) > TEXT_BYTES_MAX) return notice("With what stands for its broken characters the message is too long.");
    if (!this.letters.write(this.open, text)) {
      return notice("The browser has no room to keep the message until it is sent; it was not sent.");
    }
    this.text.value = "";
    this.#typed();
    this.atEnd = true;
    this.draw();
  }

  #key(event) {
    // Where there is no real keyboard, the key that ends a line ends a line.
    const sends = event.key === "Enter" && !event.shiftKey && !matchMedia("(pointer: coarse)").matches;
    if (sends) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      event.preventDefault();
      this.scroll.scrollBy({ top: (event.key === "PageUp" ? -0.8 : 0.8) * this.scroll.clientHeight });
    } else if (event.key === "Escape") {
      this.leave();
    }
  }

  /** What stands in the field is the draft of this conversation, and of no other. */
  #typed() {
    const conversation = this.open;
    if (conversation) {
      conversation.draft = wellFormed(this.text.value);
      this.isDraftKept = this.drafts.keep(conversation, conversation.draft);
    }
    this.#measure();
  }

  /** What no message can hold even in part is not put in: a browser would be busy with it for long. */
  #pasted(event) {
    const { length } = event.clipboardData?.getData("text/plain") ?? "";
    if (length <= DRAFT_MAX) return;
    event.preventDefault();
    notice(`What you pasted has ${length} characters, and a message at most ${TEXT_BYTES_MAX}; it was not put in.`);
  }

  /** Another tab has changed a draft. What is being typed here stays. */
  draftElsewhere({ id, text }) {
    const conversation = this.model.conversations.get(id);
    if (!conversation || (conversation === this.open && document.hasFocus())) return;
    this.model.drafted(id, conversation.name, text);
    if (conversation !== this.open) return;
    this.text.value = text;
    this.#measure();
  }

  #measure() {
    const { text } = this;
    const left = TEXT_BYTES_MAX - bytesOf(text.value);
    const count = byId("count");
    const unkept = this.isDraftKept === false && text.value ? "; it is not kept if you leave this page" : "";
    count.textContent = left < 0 ? `${-left} bytes too long${unkept}` : left < COUNT_WHEN_LEFT ? `${left} bytes left` : "";
    count.classList.toggle("error", left < 0);
    byId("send").disabled = left < 0;
    // The browser's own `dir="auto"` looks through all of the text for each of its lines.
    text.dir = directionOf(text.value);
    if (GROWS_BY_STYLE) return;
    // As high as the text, up to what the style allows.
    if (text.value.length > MEASURED_MAX) {
      text.style.height = "100vh";
    } else {
      text.style.height = "auto";
      text.style.height = `${text.scrollHeight + 2}px`;
    }
  }

  #scrolled() {
    this.atEnd = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < AT_END;
    this.down.hidden = this.atEnd;
    if (this.scroll.scrollTop < this.scroll.clientHeight / 2 && this.open?.loaded) this.loadOlder();
    this.#markRead();
  }

  #toEnd() {
    this.atEnd = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
    this.down.hidden = true;
  }

  /** To where the new begins, or to the end. */
  #toMark() {
    const mark = document.getElementById("new");
    this.#toEnd();
    if (!mark) return;
    const above = this.scroll.scrollTop + mark.getBoundingClientRect().top - this.scroll.getBoundingClientRect().top;
    this.scroll.scrollTop = Math.max(0, above - 40);
    this.#scrolled();
  }

  /** What is in sight to its end counts as read, if the page can be looked at. */
  async #markRead() {
    const conversation = this.open;
    if (!conversation?.loaded || !this.atEnd || !isLookedAt() || this.marking) return;
    const last = conversation.messages.findLast((message) => message.from_id === conversation.id);
    if (!last || last.id <= conversation.readUpTo || conversation.id === this.model.me.id) return;
    this.marking = true;
    try {
      await this.connection.call("mark_read", { request_id: newRequestId(), with_id: conversation.id, up_to: last.id });
      this.marking = false;
      this.model.read(conversation, last.id);
      this.#markRead();
    } catch (error) {
      // The next look marks it.
      this.marking = false;
      if (error.reason) notice(error.message);
    }
  }
}

/** Why a letter was not sent, and what its owner should know before it is sent anew. */
function whyRefused({ reason, message }) {
  return reason === "REQUEST_ID_OUT_OF_DATE"
    ? "it has waited for more than a day, and may have arrived when it was first tried. Send it anew only if it has not."
    : message;
}
