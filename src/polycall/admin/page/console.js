// The console: signing in, the frame around the pages, and what all of them use.
// No HTML is made of text anywhere: elements are built, and text is text.
import { KO } from "/console/words.js";

const kept = (name, value) => { try { return value === undefined ? localStorage.getItem(name) : localStorage.setItem(name, value); } catch { return null; } };
let language = kept("polycall.language") || (navigator.language.startsWith("ko") ? "ko" : "en");
export const t = (words) => language === "ko" && KO[words] !== undefined ? KO[words] : words;

// What others wrote, with what turns, hides or marks text unseen as JSON escapes; JSON stays the same JSON.
const UNSAFE = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{110bd}\u{110cd}\u{13430}-\u{1343f}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|\r(?!\n)/gu;
export const visible = (text) => text.replace(UNSAFE, (one) => one.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""));

function build(element, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false).map((one) => typeof one === "string" ? visible(one) : one));
  return element;
}
export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => build(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

export const number = (v) => v == null ? "–" : Math.abs(v) >= 1e6 ? `${+(v / 1e6).toPrecision(3)}M` : Math.abs(v) >= 1e4 ? `${+(v / 1e3).toPrecision(3)}k` : `${+(+v).toPrecision(4)}`;
export const money = (v) => v == null ? "–" : `$${+(+v).toPrecision(4)}`;
export const when = (at) => at ? new Date(at * 1000).toLocaleString(language === "ko" ? "ko-KR" : "en-GB") : "–";
export const clock = (at, length = 0) => { const d = new Date(at * 1000); const two = (n) => String(n).padStart(2, "0");
  return length > 86400 * 2 ? `${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}h` : `${two(d.getHours())}:${two(d.getMinutes())}${length && length < 1800 ? `:${two(d.getSeconds())}` : ""}`; };

// Cells are text, numbers or elements; columns from `numbers` on are numbers (0: none).
export function table(title, heads, rows, numbers = 0) {
  const cls = (place, one) => numbers && place >= numbers ? { class: "n" } : typeof one === "string" && one.length > 40 ? { class: "long" } : {};
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((one, place) => h("th", { scope: "col", ...cls(place) }, one)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one, place) => h("td", cls(place, one), one ?? "–")))))));
}
export const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter((p) => p[1] !== undefined).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value ?? "–")]));
export const field = (label, input) => h("label", {}, label, input);
export const check = (label, input) => h("label", { class: "check" }, input, label);
export const select = (options, value, props) => { const made = h("select", props, options.map(([v, words]) => h("option", { value: v }, words))); made.value = value; return made; };
export const notice = (words, cls = "") => h("p", { class: `notice ${cls}`, role: cls === "error" ? "alert" : "status" }, words);

export let me = null;
export const may = (role) => me && ["reader", "operator", "owner"].indexOf(me.role) >= ["reader", "operator", "owner"].indexOf(role);

// A body that is text is JSON already.
export async function api(method, path, body, raw = false) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (me && me.csrf && method !== "GET") headers["x-polycall-csrf"] = me.csrf;
  const response = await fetch(`/admin/v1${path}`, { method, headers, body: body === undefined || typeof body === "string" ? body : JSON.stringify(body) });
  if (raw && response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 && me) { me = null; show(); }
  const error = new Error(answer.error && answer.error.message || `${response.status}`);
  error.status = response.status;
  throw error;
}

// A dialog with a form; `send` gets the fields and may throw; gives what it gave.
export function ask(title, parts, label, send, bad = false) {
  return new Promise((resolve) => {
    const problem = h("div", { "aria-live": "assertive" });
    const close = (value) => { dialog.close(); dialog.remove(); resolve(value); };
    const form = h("form", { method: "dialog", onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      try { close(await send(Object.fromEntries(new FormData(form)))); } catch (error) { problem.replaceChildren(notice(error.message, "error")); }
      button.disabled = false;
    } });
    const button = h("button", { class: bad ? "bad" : "main", type: "submit" }, label);
    form.append(h("h2", { id: "dialog-title" }, title), ...parts, problem,
      h("div", { class: "row" }, button, h("button", { type: "button", onclick: () => close(null) }, t("Cancel"))));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", oncancel: () => close(null) }, form);
    document.body.append(dialog);
    dialog.showModal();
  });
}
export function tell(title, ...parts) {
  const dialog = h("dialog", { "aria-labelledby": "told-title", onclose: () => dialog.remove() }, h("h2", { id: "told-title" }, title), ...parts,
    h("div", { class: "row" }, h("button", { class: "main", onclick: () => dialog.close() }, t("Close"))));
  document.body.append(dialog);
  dialog.showModal();
}

// The pages.  Each gets the main element and the rest of the address, and may give what ends it.
let ends = null, shown = 0;
const PAGES = [["now", "Now"], ["requests", "Requests"], ["keys", "Keys and teams"], ["providers", "Providers"], ["runs", "Programs and runs"], ["try", "Try it"], ["people", "People"]];

// An address that somebody cut in the middle of a letter is read as it stands.
function place() {
  const text = location.hash.replace(/^#\/?/, "") || "now";
  try { return decodeURI(text); } catch { return text; }
}
async function show() {
  const turn = ++shown;
  if (ends) { ends(); ends = null; }
  document.documentElement.lang = language;
  const [name, ...rest] = place().split("/");
  const known = PAGES.find((one) => one[0] === name) || PAGES[0];
  const main = h("main", { id: "main", tabindex: "-1" });
  document.body.replaceChildren(h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, t("Skip to the content")), frame(known[0]), main);
  document.title = `${t(me ? known[1] : "Sign in")} · polycall`;
  if (!me) return signIn(main);
  main.append(h("h1", {}, t(known[1])));
  try {
    const pages = await import("/console/pages.js");
    const end = await pages[known[0]](main, rest);
    if (turn === shown) ends = end || null; else if (end) end();
  } catch (error) {
    if (turn === shown) main.append(notice(error.message, "error"));
  }
}
export const again = () => show();

const FAILED = { state: "The answer belongs to no sign-in of this browser, or it came too late. Try again.", refused: "The provider refused.", token: "The provider's answer is not valid. The gateway's log says why.", provider: "The provider cannot be asked. The gateway's log says why.", role: "You have no role here." };
function signIn(main) {
  main.append(h("h1", {}, t("Sign in")), h("p", {}, t("Run this where the gateway runs; it prints a link:")), h("pre", {}, "polycall console"));
  api("GET", "/sign-in").then((ways) => { if (ways.openid && main.isConnected) main.append(h("p", {}, h("a", { class: "button main", href: "/admin/v1/openid/begin" }, `${t("Sign in with")} ${ways.openid}`))); }, () => 0);
}

function frame(current) {
  const theme = select([["", t("System")], ["light", t("Light")], ["dark", t("Dark")]], kept("polycall.theme") || "", { "aria-label": t("Colours"), onchange: (event) => { kept("polycall.theme", event.target.value); paint(); } });
  const words = select([["en", "English"], ["ko", "한국어"]], language, { "aria-label": t("Language"), onchange: (event) => { language = event.target.value; kept("polycall.language", language); show(); } });
  const nav = me ? h("nav", { "aria-label": t("Pages") }, PAGES.map(([name, title]) => h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, t(title)))) : null;
  const out = me ? h("button", { onclick: async () => { await api("POST", "/sign-out").catch(() => 0); kept("polycall.signed-in", ""); me = null; show(); } }, t("Sign out")) : null;
  return h("header", {}, h("span", { class: "name" }, "polycall"), nav, h("div", { class: "who" }, me ? h("span", {}, `${me.name} (${t(me.role)})`) : null, theme, words, out));
}
function paint() {
  const theme = kept("polycall.theme");
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
}

async function begin() {
  const link = /^#link=([\w-]+)$/.exec(location.hash);
  const failed = /^#\/failed=(\w+)$/.exec(location.hash);
  let problem = failed && new Error(t(FAILED[failed[1]] || "The provider refused."));
  if (failed || location.hash === "#/signed-in") {
    if (!failed) kept("polycall.signed-in", "1");
    history.replaceState(null, "", "/console#/now");
  }
  if (link) {
    // Out of the address bar and the history before anything else.
    history.replaceState(null, "", "/console#/now");
    await api("POST", "/sign-in", { link: link[1] }).then(() => kept("polycall.signed-in", "1"), (error) => { problem = error; });
  }
  // The session itself is a cookie that no script can read.
  me = problem || !kept("polycall.signed-in") ? null : await api("GET", "/me").catch(() => null);
  if (!me) kept("polycall.signed-in", "");
  await show();
  if (problem) document.getElementById("main").append(notice(problem.message, "error"));
}
paint();
// A link may be opened in the tab where the console is.
addEventListener("hashchange", () => location.hash.startsWith("#link=") ? begin() : show().then(() => { document.getElementById("main").focus({ preventScroll: true }); scrollTo(0, 0); }));
begin();
