// The account's own affairs: read marks, password, log-out, deletion.

import { byId } from "./elements.js";
import { newRequestId } from "./storage.js";

export class Account {
  /**
   * `sent` waits for what is on its way, `waiting` says how much that is, `over` ends the session here.
   * @param {{ connection: import("./connection.js").Connection, me: any, sent: () => Promise<void>, waiting: () => number, over: any }} parts
   */
  constructor({ connection, me, sent, waiting, over }) {
    this.connection = connection;
    this.me = me;
    this.sent = sent;
    this.waiting = waiting;
    this.over = over;
    this.dialog = byId("account-dialog");
    byId("account").addEventListener("click", () => this.#open());
    byId("account-close").addEventListener("click", () => this.dialog.close());
    // A click beside the dialog closes it, as Escape does.
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    byId("marks").addEventListener("change", (event) => this.#marks(event.target));
    this.#form("password-form", "password-said", () => this.#changePassword());
    this.#form("logout-form", "logout-said", () => this.#logOut());
    this.#form("delete-form", "delete-said", () => this.#delete());
  }

  async #open() {
    for (const form of this.dialog.querySelectorAll("form")) form.reset();
    byId("password-user").value = this.me.name;
    byId("delete-user").value = this.me.name;
    for (const line of this.dialog.querySelectorAll("[role=status]")) line.textContent = "";
    this.dialog.showModal();
    byId("marks").disabled = true;
    try {
      const account = await this.connection.call("identify", { token: this.me.token });
      byId("marks").checked = account.shows_reads;
      byId("marks").disabled = false;
    } catch (error) {
      byId("password-said").textContent = error.message;
    }
  }

  #form(id, said, submit) {
    byId(id).addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = byId(id).querySelector("button[type=submit]");
      const line = byId(said);
      button.disabled = true;
      line.classList.remove("error");
      line.textContent = "…";
      try {
        line.textContent = await submit();
      } catch (error) {
        line.classList.add("error");
        line.textContent = error.message;
      }
      button.disabled = false;
    });
  }

  async #marks(box) {
    box.disabled = true;
    try {
      await this.connection.call("set_read_marks", { request_id: newRequestId(), shown: box.checked });
    } catch (error) {
      box.checked = !box.checked;
      byId("password-said").textContent = error.message;
    }
    box.disabled = false;
  }

  async #changePassword() {
    await this.connection.call("change_password", {
      request_id: newRequestId(), password: byId("old-password").value, new_password: byId("new-password").value,
    });
    byId("password-form").reset();
    byId("password-user").value = this.me.name;
    return "The password is changed; your other sessions have ended.";
  }

  async #logOut() {
    await this.sent();
    const waiting = this.waiting();
    if (waiting && !this.warned) {
      this.warned = true;
      return `${waiting} of your messages are not sent. Log out again to drop them.`;
    }
    await this.#leave("logout", {}, `${this.me.name} is logged out.`);
    return "";
  }

  async #delete() {
    await this.#leave("delete_account", { password: byId("delete-password").value }, `The account ${this.me.name} is deleted.`);
    return "";
  }

  /** Makes the call that ends the session, and says so once it has. */
  async #leave(call, parameters, why) {
    this.connection.leaving = true;
    try {
      await this.connection.call(call, { request_id: newRequestId(), ...parameters });
    } catch (error) {
      this.connection.leaving = false;
      throw error;
    }
    this.over(why);
  }
}
