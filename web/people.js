// The list of conversations, and finding people.

import { arrange, byId, drawing, element, said } from "./elements.js";
import { hueOf, initialOf, whenOf } from "./words.js";

const PAUSE_BEFORE_SEARCH = 200;
const FOUND_MAX = 50;
/** A search that takes longer says so, in milliseconds. */
const SLOW_AFTER = 500;

/** What is typed is looked for as it stands; between slashes it is a regular expression. */
export function patternOf(wanted) {
  const asked = /^\/(.+)\/$/.exec(wanted);
  // The signs that mean something to the service's regular expressions.
  return asked ? asked[1] : wanted.normalize("NFC").replace(/[\\.+*?()|[\]{}^$#&\-~]/g, "\\$&");
}

export class People {
  /** @param {{ model: import("./model.js").Model, connection: import("./connection.js").Connection, open: any, opened: any }} parts */
  constructor({ model, connection, open, opened }) {
    this.model = model;
    this.connection = connection;
    this.open = open;
    this.opened = opened;
    this.list = byId("people");
    this.find = byId("find");
    this.findSaid = byId("find-said");
    this.found = byId("found");
    this.asked = 0;
    this.soon = drawing(() => this.draw());
    model.addEventListener("people", () => this.soon());
    this.find.addEventListener("input", (event) => { if (!event.isComposing) this.#search(); });
    this.find.addEventListener("compositionend", () => this.#search());
    this.find.addEventListener("keydown", (event) => this.#searchKey(event));
    for (const list of [this.list, this.found]) list.addEventListener("keydown", (event) => this.#walk(event, list));
    addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "k") {
        event.preventDefault();
        this.find.focus();
        this.find.select();
      }
    });
  }

  draw() {
    const open = this.opened();
    const people = this.model.sorted(open);
    arrange(this.list, people.map((conversation) => this.#row(conversation, conversation === open)));
    byId("no-people").hidden = people.length > 0;
    const { unread } = this.model;
    const where = open ? `${open.name} · Trialogue` : "Trialogue";
    document.title = unread ? `(${unread > 999 ? "999+" : unread}) ${where}` : where;
  }

  #row(conversation, isOpen) {
    const letter = conversation.letters.at(-1);
    const draft = isOpen ? "" : conversation.draft;
    const mark = conversation.letters.some(({ refused }) => refused) ? "Not sent: " : draft ? "Draft: " : "";
    const shown = (conversation.letters.find(({ refused }) => refused) ?? letter)?.text;
    const preview = (mark === "Draft: " ? draft : shown ?? (conversation.last?.undeliverable ? "not delivered" : conversation.last?.text) ?? "").slice(0, 200);
    const mine = !mark && (letter || conversation.last?.from_id === this.model.me.id);
    const when = conversation.lastAt ? whenOf(conversation.lastAt) : "";
    const { unread } = conversation;
    const count = unread > 999 ? "999+" : String(unread);
    return {
      key: conversation.id,
      state: JSON.stringify([conversation.name, conversation.deleted, mark, preview, mine, when, count, isOpen]),
      make: () => {
        const button = element("button", {
          class: `person${isOpen ? " open" : ""}${unread ? " has-unread" : ""}`,
          "aria-current": isOpen ? "true" : null,
          onclick: () => this.open(conversation),
        },
          avatar(conversation.id, conversation.name),
          element("span", { class: "who" },
            element("span", { class: "name", dir: "auto" }, conversation.name),
            element("span", { class: "preview", dir: "auto" }, 
              mine ? said("You: ") : null, mark ? element("span", { class: "error" }, mark) : null, preview)),
          element("span", { class: "aside" },
            element("span", { class: "when" }, when),
            unread ? element("span", { class: "unread" }, count, said(" unread")) : null));
        return element("li", { "data-account": String(conversation.id) }, button);
      },
    };
  }

  #search() {
    clearTimeout(this.timer);
    const wanted = this.find.value.trim();
    this.asked += 1;
    if (!wanted) return this.#show(null);
    const asked = this.asked;
    this.timer = setTimeout(async () => {
      const slow = setTimeout(() => { if (asked === this.asked) this.#show([], { say: "Searching…" }); }, SLOW_AFTER);
      try {
        const { found, more } = await this.#look(patternOf(wanted), () => asked === this.asked);
        if (asked === this.asked) this.#show(found, { more });
      } catch (error) {
        // Whom an earlier search has found is no answer to this one.
        if (asked === this.asked) this.#show([], { say: error.message });
      } finally {
        clearTimeout(slow);
      }
    }, PAUSE_BEFORE_SEARCH);
  }

  /** Pages until there are as many as are shown: one may have no account, and others may follow.
   * @param {string} pattern
   * @param {() => boolean} isWanted */
  async #look(pattern, isWanted) {
    const found = [];
    let page_token = "";
    do {
      const page = await this.connection.call("list_accounts", { pattern, page_token });
      found.push(...page.accounts);
      page_token = page.next_page_token;
    } while (page_token !== "" && found.length < FOUND_MAX && isWanted());
    return { found, more: page_token !== "" };
  }

  #say(text) {
    this.findSaid.textContent = text;
  }

  #show(accounts, { more = false, say = null } = {}) {
    const isSearching = accounts !== null;
    byId("found-nav").hidden = !isSearching;
    byId("people-nav").hidden = isSearching;
    if (!isSearching) {
      this.#say("");
      return arrange(this.found, []);
    }
    const shown = accounts.slice(0, FOUND_MAX);
    const isMore = more || shown.length < accounts.length;
    this.#say(say ?? (shown.length === 0 ? "Nobody has such a name." : isMore ? `${shown.length} people and more; write on to find fewer.` : ""));
    arrange(this.found, shown.map(({ id, name }) => ({
      key: id,
      state: name,
      make: () => element("li", {}, element("button", {
        class: "person",
        onclick: () => {
          this.find.value = "";
          this.#show(null);
          this.open(this.model.conversation(id, name));
        },
      }, avatar(id, name), element("span", { class: "who" },
        element("span", { class: "name", dir: "auto" }, name, id === this.model.me.id ? " (you)" : null)))),
    })));
  }

  #searchKey(event) {
    if (event.key === "Escape") {
      this.find.value = "";
      this.#show(null);
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      const list = byId("found-nav").hidden ? this.list : this.found;
      const first = list.querySelector("button");
      if (!first) return;
      event.preventDefault();
      if (event.key === "Enter" && list === this.found) first.click();
      else first.focus();
    }
  }

  /** Up and down, to the first and to the last. */
  #walk(event, list) {
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    if (to < 0) this.find.focus();
    else buttons[Math.min(to, buttons.length - 1)].focus();
  }
}

export function avatar(account, name) {
  return element("span", { class: `avatar ${hueOf(account)}`, "aria-hidden": "true" }, initialOf(name));
}
