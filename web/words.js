// Times, days and counts, in words.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const weekday = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const short = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "medium" });

export const timeOf = (ms) => clock.format(ms);
export const exactTimeOf = (ms) => exact.format(ms);

/** The same for two moments of one day, where the reader is. */
export const dayKey = (ms) => new Date(ms).toDateString();

export function dayOf(ms, now = Date.now()) {
  if (dayKey(ms) === dayKey(now)) return "Today";
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (dayKey(ms) === yesterday.toDateString()) return "Yesterday";
  return new Date(ms).getFullYear() === new Date(now).getFullYear() ? weekday.format(ms) : full.format(ms);
}

/** For the list of conversations: the time today, else the day. */
export const whenOf = (ms) => (dayKey(ms) === dayKey(Date.now()) ? clock.format(ms) : short.format(ms));

export const initialOf = (name) => [...name][0]?.toLocaleUpperCase() ?? "?";

/** One of eight colours, the same for an account wherever it is shown. */
export const hueOf = (account) => `hue-${(account * 5) % 8}`;

/** Which way a text is written: its first letter tells. */
export function directionOf(text) {
  const [letter] = /\p{L}/u.exec(text.slice(0, 1000)) ?? [];
  return letter && /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(letter) ? "rtl" : "ltr";
}

const encoder = new TextEncoder();
export const bytesOf = (text) => encoder.encode(text).length;

/** At most 16 KiB of UTF-8, as the service has it. */
export const TEXT_BYTES_MAX = 16 * 1024;

/** What the service refuses in a text and a paste may bring along is left out: control characters but newline and tab. */
export const printable = (text) => text.replaceAll("\r\n", "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
