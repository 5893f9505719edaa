// What this page knows of the account's conversations. It changes by what the service says, and by what is typed.

/** One conversation with one other account. */
export class Conversation {
  constructor(id, name) {
    this.id = id;
    this.name = name;
    this.deleted = false;
    this.unread = 0;
    /** What came live and was not seen yet, by id: how the service said that things stand may be older than it. */
    this.live = [];
    this.last = null;
    this.readUpTo = 0;
    this.deliveredUpTo = 0;
    this.seenUpTo = 0;
    /** Messages by id, ascending; whatever is between two of them is here too. */
    this.messages = [];
    /** The newest page has come, and what comes later is added to it. */
    this.loaded = false;
    this.loading = false;
    /** Whether the service may have older ones. */
    this.more = true;
    /** Typed here and not yet acknowledged, in order. */
    this.letters = [];
    /** How far was read when the conversation was opened: where the mark of what is new stands. */
    this.newAfter = null;
    this.draft = "";
  }

  get lastAt() {
    const typed = this.letters.at(-1)?.typed_at ?? 0;
    return Math.max(this.last?.sent_at ?? 0, typed);
  }

  /** Puts a message in its place, once. */
  add(message) {
    let at = this.messages.length;
    while (at > 0 && this.messages[at - 1].id > message.id) at--;
    if (at > 0 && this.messages[at - 1].id === message.id) return;
    this.messages.splice(at, 0, message);
  }
}

export class Model extends EventTarget {
  /** Fires `people` (the list changed) and `talk` with a conversation (its messages changed). */
  constructor(me) {
    super();
    this.me = me;
    this.conversations = new Map();
    this.cursor = null;
    /** Messages acknowledged here: how many replicas have them, by id. */
    this.copies = new Map();
  }

  conversation(id, name) {
    let conversation = this.conversations.get(id);
    if (!conversation) {
      conversation = new Conversation(id, name);
      this.conversations.set(id, conversation);
    }
    if (name) conversation.name = name;
    return conversation;
  }

  get unread() {
    let sum = 0;
    for (const conversation of this.conversations.values()) sum += conversation.unread;
    return sum;
  }

  /** The newest on top. A conversation that was only looked at has no place in the list. */
  sorted(open) {
    const shown = [...this.conversations.values()].filter((conversation) =>
      conversation.last || conversation.letters.length || conversation.draft || conversation === open);
    return shown.sort((a, b) => b.lastAt - a.lastAt || (b.last?.id ?? 0) - (a.last?.id ?? 0));
  }

  /** A page of how conversations stand. */
  stand(page) {
    for (const told of page) {
      const conversation = this.conversation(told.with_id, told.with);
      conversation.deleted = told.deleted;
      conversation.readUpTo = Math.max(conversation.readUpTo, told.read_up_to);
      conversation.deliveredUpTo = Math.max(conversation.deliveredUpTo, told.delivered_up_to);
      conversation.seenUpTo = told.seen_up_to;
      const until = told.last?.id ?? 0;
      conversation.live = conversation.live.filter((id) => id > until && id > conversation.readUpTo);
      if (until >= (conversation.last?.id ?? 0)) conversation.last = told.last;
      if (told.read_up_to >= conversation.readUpTo) conversation.unread = told.unread + conversation.live.length;
      this.#changed(conversation);
    }
    this.dispatchEvent(new Event("people"));
  }

  /** A message that came by itself. Returns its conversation if it is news to the person. */
  arrived(message) {
    this.cursor = { history: this.cursor?.history ?? null, after: message.id };
    const mine = message.from_id === this.me.id;
    const conversation = mine ? this.conversation(message.to_id, message.to) : this.conversation(message.from_id, message.from);
    const isNews = !conversation.last || message.id > conversation.last.id;
    if (isNews) {
      conversation.last = message;
      if (!mine && message.id > conversation.readUpTo) {
        conversation.unread += 1;
        conversation.live.push(message.id);
      }
    }
    if (conversation.loaded || conversation.loading) conversation.add(message);
    if (mine) this.#takeBack(conversation, message);
    this.#changed(conversation);
    this.dispatchEvent(new Event("people"));
    return isNews && !mine ? conversation : null;
  }

  /** A letter's message may be here before its acknowledgement is: it is shown once. */
  #takeBack(conversation, message) {
    const letter = conversation.letters.find((letter) => !letter.shownAs && !letter.refused && letter.text === message.text);
    if (!letter) return;
    letter.shownAs = message.id;
    if (letter.kept) this.copies.set(message.id, letter.kept);
  }

  page(conversation, messages, more) {
    for (const message of messages) conversation.add(message);
    conversation.loaded = true;
    conversation.more = more;
    this.#changed(conversation);
  }

  receipt({ with_id, delivered_up_to, seen_up_to, read_up_to }) {
    const conversation = this.conversations.get(with_id);
    if (!conversation) return;
    conversation.deliveredUpTo = Math.max(conversation.deliveredUpTo, delivered_up_to, seen_up_to);
    conversation.seenUpTo = Math.max(conversation.seenUpTo, seen_up_to);
    if (read_up_to) this.read(conversation, read_up_to);
    this.#changed(conversation);
  }

  /** Everything up to here was seen, here or on another device. */
  read(conversation, upTo) {
    conversation.readUpTo = Math.max(conversation.readUpTo, upTo);
    conversation.live = conversation.live.filter((id) => id > conversation.readUpTo);
    if (conversation.last && conversation.last.id <= conversation.readUpTo) {
      conversation.unread = 0;
    } else if (conversation.loaded) {
      conversation.unread = conversation.messages.filter((message) => message.from_id === conversation.id && message.id > conversation.readUpTo).length;
    }
    this.dispatchEvent(new Event("people"));
  }

  typed(letter) {
    const conversation = this.conversation(letter.with, letter.to);
    conversation.letters.push(letter);
    this.#changed(conversation);
    this.dispatchEvent(new Event("people"));
  }

  /** A letter was acknowledged: it is a message from now on. */
  sent(letter, { message_id, sent_at, copies, replicas }) {
    const conversation = this.conversation(letter.with, letter.to);
    conversation.letters = conversation.letters.filter((other) => other.place !== letter.place);
    if (copies < replicas) this.copies.set(message_id, { copies, replicas });
    else this.copies.delete(message_id);
    const message = {
      id: message_id, from_id: this.me.id, from: this.me.name, to_id: letter.with, to: letter.to,
      text: letter.text, sent_at, delivered: false, undeliverable: false,
    };
    if (conversation.loaded || conversation.loading) conversation.add(message);
    if (!conversation.last || message_id > conversation.last.id) conversation.last = message;
    this.#changed(conversation);
    this.dispatchEvent(new Event("people"));
  }

  /** A letter has its place, on fewer replicas than were asked for, and is asked for again. */
  kept(letter, { copies, replicas }) {
    letter.kept = { copies, replicas, asked: true };
    if (letter.shownAs) this.copies.set(letter.shownAs, letter.kept);
    this.#changed(this.conversation(letter.with, letter.to));
  }

  /** A letter will not be sent as it is: it stays in sight with the reason. */
  refused(letter) {
    // What looked like its message was another one: another device of this account sent the same text.
    this.#update(letter, { refused: letter.refused, shownAs: null });
  }

  /** A letter that was refused is on its way again. */
  typedAgain(letter) {
    const { request_id, tried } = letter;
    this.#update(letter, { request_id, tried, refused: undefined, kept: undefined, strikes: undefined });
  }

  letter({ place, with: id }) {
    return this.conversations.get(id)?.letters.find((letter) => letter.place === place);
  }

  #update(told, change) {
    const conversation = this.conversation(told.with, told.to);
    const letter = this.letter(told);
    if (letter) Object.assign(letter, change);
    this.#changed(conversation);
    this.dispatchEvent(new Event("people"));
  }

  /** A letter is no longer waited for: another tab has settled it, or its owner has let it go. */
  dropped(place) {
    for (const conversation of this.conversations.values()) {
      const left = conversation.letters.filter((letter) => letter.place !== place);
      if (left.length === conversation.letters.length) continue;
      conversation.letters = left;
      this.#changed(conversation);
      this.dispatchEvent(new Event("people"));
    }
  }

  /** What was begun in a conversation, and not sent yet. */
  drafted(id, name, text) {
    this.conversation(id, name).draft = text;
    this.dispatchEvent(new Event("people"));
  }

  /** The history is another one: nothing that was read before counts. */
  forgetHistory() {
    this.cursor = null;
    for (const conversation of this.conversations.values()) {
      Object.assign(conversation, { messages: [], loaded: false, more: true, last: null, unread: 0, live: [], readUpTo: 0, deliveredUpTo: 0, seenUpTo: 0, newAfter: null });
      this.#changed(conversation);
    }
    this.dispatchEvent(new Event("people"));
  }

  #changed(conversation) {
    this.dispatchEvent(new CustomEvent("talk", { detail: conversation }));
  }
}
