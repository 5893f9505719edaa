// Signing in and registering.

import { arrange, byId, element } from "./elements.js";
import { newRequestId, sessions } from "./storage.js";

export class SignIn {
  /** `done` gets the session that was opened. */
  /** @param {{ connection: import("./connection.js").Connection, done: any }} parts */
  constructor({ connection, done }) {
    this.connection = connection;
    this.done = done;
    this.error = byId("sign-in-error");
    byId("sign-in-form").addEventListener("submit", (event) => { event.preventDefault(); this.#try(false); });
    byId("register").addEventListener("click", () => {
      if (byId("sign-in-form").reportValidity()) this.#try(true);
    });
  }

  show(why) {
    this.error.textContent = why ?? "";
    byId("sign-in").hidden = false;
    this.#drawSessions();
    // Another tab may sign in or log out.
    addEventListener("storage", () => this.#drawSessions());
    byId("name").focus();
  }

  /** Who is signed in with this browser already: this tab may go on as any of them, or as another account. */
  #drawSessions() {
    const all = sessions.all();
    byId("go-on").hidden = all.length === 0;
    arrange(byId("sessions"), all.map((session) => ({
      key: session.id,
      state: JSON.stringify(session),
      make: () => element("li", {}, element("button", { type: "button", onclick: () => this.#open(session) }, "Go on as ", element("bdi", {}, session.name))),
    })));
  }

  #open(session) {
    byId("sign-in").hidden = true;
    byId("password").value = "";
    this.done(session);
  }

  async #try(registers) {
    const name = byId("name").value;
    const password = byId("password").value;
    const buttons = [byId("log-in"), byId("register")];
    for (const button of buttons) button.disabled = true;
    this.error.textContent = "";
    try {
      if (registers) await this.connection.call("create_account", { request_id: newRequestId(), name, password });
      const opened = await this.connection.call("login", { request_id: newRequestId(), name, password });
      this.#open({ id: opened.account_id, name: opened.name, token: opened.token });
    } catch (error) {
      this.error.textContent = error.message;
      const field = error.reason === "WRONG_CREDENTIALS" ? byId("password") : byId("name");
      field.focus();
      field.select();
    }
    for (const button of buttons) button.disabled = false;
  }
}
