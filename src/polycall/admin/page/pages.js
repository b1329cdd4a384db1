// The pages: each builds its content into `main`, and may give a function that ends it.
import { h, t, api, ask, tell, again, may, me, table, facts, field, check, select, notice, number, money, when, visible } from "/console/console.js";
import { chart, waterfall } from "/console/charts.js";
import { chat } from "/console/try.js";

const query = (fields) => "?" + Object.entries(fields).filter(([, v]) => v !== "" && v != null && v !== false).map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join("&");
const status = (words) => h("span", { class: words === "ok" || words === "active" || words === "finished" ? "ok" : words === "error" || words === "failed" || words === "revoked" ? "error" : "" }, t(words));
const JSONText = (value) => h("pre", { tabindex: "0" }, JSON.stringify(value, null, 1));

// Now

const RANGES = { "300": ["5 minutes", 5], "3600": ["1 hour", 60], "86400": ["24 hours", 900], "604800": ["7 days", 10800] };
export async function now(main) {
  const state = { range: "300", by: "", filter: "" };
  const tiles = h("dl", { class: "tiles" }), charts = h("div", { class: "charts" }), problem = h("div");
  const drawn = { requests: chart(t("Requests")), not_ok: chart(t("Errors")), tokens: chart(t("Tokens")), cost_usd: chart(t("Cost"), money), duration: chart(t("Latency (ms)")), first: chart(t("First byte (ms)")) };
  charts.append(...Object.values(drawn));
  const range = select(Object.entries(RANGES).map(([v, [words]]) => [v, t(words)]), state.range, { onchange: (e) => { state.range = e.target.value; series(); } });
  const by = select([["", t("All together")], ["key", t("Key")], ["team", t("Team")], ["model", t("Model")], ["provider", t("Provider")], ["outcome", t("Outcome")]], "", { onchange: (e) => { state.by = e.target.value; series(); } });
  const key = h("input", { onchange: (e) => { state.filter = e.target.value; series(); } });
  main.append(tiles, h("div", { class: "row" }, field(t("Time"), range), field(t("By"), by), field(t("Only the key"), key)), problem, charts);
  const live = async () => {
    const found = await api("GET", "/live");
    const cooling = Object.entries(found.cooling_down);
    tiles.replaceChildren(...[[t("Under way"), found.in_flight], [t("Requests since the start"), number(found.requests)], [t("Errors"), number(found.not_ok)], [t("Tokens"), number(found.tokens)], [t("Cost"), money(found.cost_usd)], [t("Cooling down"), cooling.length ? cooling.map(([name, s]) => `${name} ${Math.ceil(s)} s`).join(", ") : t("none")]].map(([a, b]) => h("div", { class: "tile" }, h("dt", {}, a), h("dd", {}, `${b}`))));
  };
  const series = async () => {
    const length = +state.range, every = RANGES[state.range][1];
    const until = (Math.floor(Date.now() / 1000 / every) + 1) * every, since = until - length;
    const found = await api("GET", "/usage" + query({ since, until, every_s: every, by: state.by, key: state.filter }));
    const groups = new Map();
    for (const point of found.points) {
      const name = point.group[0] || (state.by ? t("none") : t("all"));
      if (!groups.has(name)) groups.set(name, { total: 0, at: new Map() });
      groups.get(name).total += point.requests;
      groups.get(name).at.set(point.at, point);
    }
    const top = [...groups].sort((a, b) => b[1].total - a[1].total).slice(0, 6);
    const lines = (read, empty) => top.map(([name, { at }]) => ({ name, points: Array.from({ length: Math.round(length / every) }, (_, i) => { const p = at.get(since + i * every); return [since + i * every, p ? read(p) : empty]; }) }));
    drawn.requests.draw(lines((p) => p.requests, 0), since, until);
    drawn.not_ok.draw(lines((p) => p.not_ok, 0), since, until);
    drawn.tokens.draw(lines((p) => p.input_tokens + p.output_tokens, 0), since, until);
    drawn.cost_usd.draw(lines((p) => p.cost_usd, 0), since, until);
    const unpriced = found.points.reduce((sum, p) => sum + p.unpriced, 0);
    drawn.cost_usd.remark(unpriced ? `${t("Requests without a known price, which count as 0")}: ${number(unpriced)}` : "");
    const both = (name) => state.by ? lines((p) => p[name].p95, null) : [...lines((p) => p[name].p50, null).map((l) => ({ ...l, name: "p50" })), ...lines((p) => p[name].p95, null).map((l) => ({ ...l, name: "p95" }))];
    drawn.duration.draw(both("duration_ms"), since, until);
    drawn.first.draw(both("first_ms"), since, until);
  };
  let ticks = 0, busy = false;
  const tick = async () => {
    if (busy || document.hidden) return;
    busy = true;
    try { await live(); if (ticks++ % (state.range === "300" ? 1 : 5) === 0) await series(); problem.replaceChildren(); } catch (error) { problem.replaceChildren(notice(error.message, "error")); }
    busy = false;
  };
  await tick();
  const timer = setInterval(tick, 2000);
  return () => clearInterval(timer);
}

// Requests

export async function requests(main, [id]) {
  if (id) return oneRequest(main, id);
  const input = (name, props) => h("input", { name, ...props });
  const found = h("div"), state = h("p", { class: "muted", role: "status" });
  const more = h("button", { onclick: () => search(true) }, t("More"));
  let rows = [], next = null, turns = 0;
  const form = h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); search(false); } },
    field(t("Key"), input("key")), field(t("Model"), input("model")), field(t("Provider"), input("provider")),
    field(t("Status"), input("status", { inputmode: "numeric", size: 5 })),
    field(t("Outcome"), select([["", t("any")], ...["ok", "cached", "error", "truncated", "cancelled"].map((v) => [v, t(v)])], "", { name: "outcome" })),
    field(t("Words of the error"), input("text")), field(t("Cost at least ($)"), input("cost_min", { inputmode: "decimal", size: 8 })),
    field(t("Since"), select([["", t("ever")], ["-3600", t("1 hour")], ["-86400", t("24 hours")], ["-604800", t("7 days")]], "", { name: "since" })),
    check(t("with warnings"), input("warned", { type: "checkbox", value: "true" })), check(t("failed"), input("failed", { type: "checkbox", value: "true" })),
    h("button", { class: "main" }, t("Search")));
  const search = async (goesOn) => {
    try {
      const turn = ++turns, enough = (goesOn ? rows.length : 0) + 25;
      if (!goesOn) { rows = []; next = ""; }
      // A page examines a bounded number of rows, so what is rare takes several.
      for (let rounds = 0; rounds < 40 && next !== null && rows.length < enough; rounds++) {
        const page = await api("GET", "/requests" + query({ ...Object.fromEntries(new FormData(form)), after: next }));
        if (turn !== turns) return;
        rows = [...rows, ...page.requests];
        next = page.next;
        if (!page.requests.length) state.replaceChildren(`${t("Searching")}…`);
      }
      const oldest = rows.length ? when(rows[rows.length - 1].created) : "";
      state.replaceChildren(`${rows.length} ${t("requests")}${next ? ` · ${t("there may be more")}${oldest ? ` · ${t("before")} ${oldest}` : ""}` : ""}`);
      found.replaceChildren(table(t("Requests"), ["Time", "Key", "Asked for", "Answered by", "Status", "Outcome", "Tokens", "Cost", "First byte", "Duration", "Warnings", "Error"].map(t),
        rows.map((one) => [h("a", { class: "at", href: `#/requests/${encodeURIComponent(one.id)}` }, when(one.created)), one.key, one.asked, one.provider ? `${one.provider}/${one.model}` : "–", one.status, status(one.outcome), one.input_tokens == null ? "–" : `${number(one.input_tokens)} → ${number(one.output_tokens)}`, money(one.cost_usd), one.first_ms == null ? "–" : `${number(one.first_ms)} ms`, `${number(one.duration_ms)} ms`, one.warnings || "", one.error.slice(0, 120)])));
      more.hidden = !next;
    } catch (error) { found.replaceChildren(notice(error.message, "error")); }
  };
  main.append(form, state, found, more);
  await Promise.all([search(false), contents(main)]);
}

async function oneRequest(main, id) {
  const one = await api("GET", `/requests/${encodeURIComponent(id)}`);
  const details = one.details || {}, price = one.price || {};
  main.append(h("p", {}, h("a", { href: "#/requests" }, t("All requests"))),
    facts([[t("Request"), one.id], [t("Time"), when(one.created)], [t("Key"), one.key], [t("Protocol"), one.client], [t("Asked for"), one.asked], [t("Answered by"), one.provider ? `${one.provider}/${one.model}` : "–"], [t("Status"), `${one.status}`], [t("Outcome"), status(one.outcome)], [t("Attempts"), `${one.attempts}`], [t("Streamed"), t(one.streamed ? "yes" : "no")], [t("Tool calls"), `${one.calls ?? "–"}`], [t("Cost"), one.cost_usd == null ? t("unknown") : `$${one.cost_usd}`], [t("Worker"), one.worker], [t("Error"), one.error || undefined]]),
    h("h2", {}, t("What took how long")), waterfall(t("Timings"), one.timeline));
  if ((details.attempts || []).length) main.append(h("h2", {}, t("Attempts that failed")), table(t("Attempts that failed"), [t("Target"), t("Key"), t("What"), t("Error")], details.attempts.map((a) => [a.target, `#${a.key}`, a.outcome, a.error])));
  main.append(h("h2", {}, t("What was carried, adjusted, emulated or dropped")), (details.warnings || []).length ? table(t("Warnings"), [t("What"), t("Where"), t("Details")], details.warnings.map((w) => [t(w.kind), w.feature, w.detail || ""])) : h("p", {}, t("Nothing: the request went as it was written.")));
  const kinds = [["input", one.input_tokens == null ? null : one.input_tokens - one.cached_tokens - one.cache_write_tokens], ["cached", one.cached_tokens], ["cache_write", one.cache_write_tokens], ["output", one.output_tokens]];
  main.append(h("h2", {}, t("Tokens")), one.input_tokens == null ? h("p", {}, t("The provider reported none.")) : table(t("Tokens"), [t("Kind"), t("Tokens"), t("Price for a million today"), t("Cost at that price")],
    [...kinds.map(([kind, n]) => [t(kind), `${n}`, price[kind] == null ? "–" : `$${price[kind]}`, price[kind] == null ? "–" : money(n * price[kind] / 1e6)]), [t("of output: reasoning"), `${one.reasoning_tokens ?? "–"}`, "", ""]], 1),
    h("p", { class: "muted" }, one.is_estimate ? t("Counted by the gateway: the provider did not say.") : "", price.source ? ` ${t("Price from")}: ${price.source}` : ""));
  const said = h("div", { "aria-live": "polite" });
  main.append(h("h2", {}, t("What was said")), h("p", { class: "muted" }, t("Only where an owner switched it on. Each look is in the log of administrators.")),
    h("button", { onclick: async () => {
      try {
        const found = await api("GET", `/requests/${encodeURIComponent(id)}/content`);
        const cut = (is) => is ? ` (${t("its beginning")})` : "";
        said.replaceChildren(h("p", { class: "muted" }, `${t("kept until")} ${when(found.expires)}`), h("h3", {}, t("Request") + cut(found.is_request_cut)), JSONText(found.request), h("h3", {}, t("answer") + cut(found.is_answer_cut)), JSONText(found.answer));
      } catch (error) { said.replaceChildren(notice(error.message, "error")); }
    } }, t("Look")), said);
}

// Whether content is kept, and the switch of owners.
async function contents(main) {
  const found = await api("GET", "/content");
  if (!found.configured) return;
  const state = found.windows.length ? found.windows.map((one) => `${one.key || t("all keys")} ${t("until")} ${when(one.until)}`).join("; ") : t("off");
  main.append(h("p", { class: found.windows.length ? "notice" : "muted" }, `${t("What is said is kept")}: ${state} · ${t("seen by")}: ${t(found.role)} · ${number(found.kept)} ${t("requests")}`),
    may("owner") ? h("div", { class: "row" },
      h("button", { onclick: async () => { if (await ask(t("Keep what is said"), [h("p", {}, t("Requests and answers are kept for a time, without credentials.")), field(t("Only the key"), h("input", { name: "key" })), field(`${t("Minutes")} (${t("at most")} ${found.on_s / 60})`, h("input", { name: "minutes", inputmode: "numeric", value: String(Math.min(15, found.on_s / 60)), required: true }))], t("Switch on"), (form) => api("POST", "/content", { key: form.key, for_s: whole(form.minutes) * 60 }))) again(); } }, t("Keep what is said")),
      found.windows.length || found.kept ? h("button", { class: "bad", onclick: async () => { if (await ask(t("Keep no more"), [check(t("and remove what was kept"), h("input", { type: "checkbox", name: "remove", value: "1" }))], t("Switch off"), (form) => api("POST", "/content/off", { remove: form.remove === "1" }), true)) again(); } }, t("Keep no more")) : null) : null);
}

// Keys and teams

const LIMITS = (one = {}) => [
  field(t("Models (patterns, separated by commas; empty for all)"), h("input", { name: "models", value: (one.models || []).join(", ") })),
  field(t("Requests a minute"), h("input", { name: "requests_per_minute", inputmode: "numeric", value: one.requests_per_minute ?? "" })),
  field(t("Tokens a minute"), h("input", { name: "tokens_per_minute", inputmode: "numeric", value: one.tokens_per_minute ?? "" })),
  field(t("Budget ($)"), h("input", { name: "budget_usd", inputmode: "decimal", value: one.budget_usd ?? "" })),
  field(t("Budget for a"), select(["day", "week", "month", "total"].map((per) => [per, t(per)]), one.budget_per || "month", { name: "budget_per" }))];
const whole = (text) => { if (text === "") return null; if (!/^\d+$/.test(text)) throw new Error(`${t("This is no whole number")}: ${text}`); return +text; };
const limits = (form) => ({ models: form.models.split(",").map((p) => p.trim()).filter(Boolean), requests_per_minute: whole(form.requests_per_minute), tokens_per_minute: whole(form.tokens_per_minute), budget_usd: form.budget_usd === "" ? null : form.budget_usd, budget_per: form.budget_per });
const budget = (one) => one.budget_usd == null ? "–" : `$${one.spent_usd === undefined ? "" : `${+(+one.spent_usd).toPrecision(4)} / `}${one.budget_usd} · ${t(one.budget_per)}`;
const secret = (made) => tell(t("The new key"), h("p", {}, t("This is the only time that it is shown.")), h("p", { class: "secret", "data-testid": "secret" }, made.key || made.link));
const can = (role, ...buttons) => may(role) ? h("div", { class: "actions" }, buttons) : "";

export async function keys(main) {
  const [found, teams] = await Promise.all([api("GET", "/keys"), api("GET", "/teams")]);
  const teamField = (value) => field(t("Team"), select([["", t("none")], ...teams.teams.filter((one) => one.status === "active").map((one) => [one.name, one.name])], value || "", { name: "team" }));
  const keyFields = (form) => ({ ...limits(form), owner: form.owner, team: form.team || null, expires: form.expires || null });
  const own = (one = {}) => [teamField(one.team), field(t("Owner"), h("input", { name: "owner", value: one.owner || "" })), field(t("Expires (UTC)"), h("input", { name: "expires", type: "date", value: one.expires ? new Date(one.expires * 1000).toISOString().slice(0, 10) : "" }))];
  const done = (made) => { if (!made) return; again(); if (made.key) secret(made); };
  if (may("operator")) main.append(h("div", { class: "row" }, h("button", { class: "main", onclick: async () => done(await ask(t("A new key"), [field(t("Name"), h("input", { name: "name", required: true })), ...own(), ...LIMITS()], t("Create"), (form) => api("POST", "/keys", { name: form.name, ...keyFields(form) }))) }, t("Create a key")),
    h("button", { onclick: async () => done(await ask(t("A new team"), [field(t("Name"), h("input", { name: "name", required: true })), ...LIMITS()], t("Create"), (form) => api("POST", "/teams", { name: form.name, ...limits(form) }))) }, t("Create a team"))));
  const path = (one) => `/keys/${encodeURIComponent(one.id)}`;
  main.append(h("h2", {}, t("Keys")), table(t("Keys"), ["Name", "Status", "Team", "Owner", "Models", "Requests a minute", "Tokens a minute", "Budget", "Expires", "Key", "Change"].map(t),
    found.keys.map((one) => [h("a", { href: `#/keys` , onclick: async (event) => { event.preventDefault(); const whole = await api("GET", path(one)); tell(one.name, facts([[t("Status"), status(whole.status)], [t("Budget"), budget(whole)], [t("Created"), when(whole.created)], ...whole.secrets.map((x) => [t("Key"), `${x.prefix}… ${t("since")} ${when(x.created)}${x.expires ? `, ${t("until")} ${when(x.expires)}` : ""}`])])); } }, one.name), status(one.status), one.team || "–", one.owner || "–", one.models.join(", ") || t("all"), number(one.requests_per_minute), number(one.tokens_per_minute), budget(one), when(one.expires), `${one.secrets[0].prefix}…`,
      one.revoked ? "" : can("operator", h("button", { "aria-label": `${t("Limit")} ${one.name}`, onclick: async () => done(await ask(`${t("Limit")} ${one.name}`, [...own(one), ...LIMITS(one)], t("Save"), (form) => api("PATCH", path(one), keyFields(form)))) }, t("Limit")),
        h("button", { "aria-label": `${t("Rotate")} ${one.name}`, onclick: async () => done(await ask(`${t("Rotate")} ${one.name}`, [field(t("The old key works for so many hours more"), h("input", { name: "hours", value: "24", inputmode: "numeric" }))], t("Rotate"), (form) => api("POST", `${path(one)}/rotate`, { grace_s: whole(form.hours) * 3600 }))) }, t("Rotate")),
        h("button", { class: "bad", "aria-label": `${t("Revoke")} ${one.name}`, onclick: async () => done(await ask(`${t("Revoke")} ${one.name}`, [h("p", {}, t("It ends at once and for good."))], t("Revoke"), () => api("POST", `${path(one)}/revoke`, {}), true)) }, t("Revoke")))])));
  if (found.configured.length) main.append(h("h2", {}, t("Keys of the configuration")), table(t("Keys of the configuration"), [t("Name"), t("Models"), t("Budget")], found.configured.map((one) => [one.name, one.models.join(", ") || t("all"), budget(one)])));
  const teamPath = (one) => `/teams/${encodeURIComponent(one.id)}`;
  main.append(h("h2", {}, t("Teams")), teams.teams.length ? table(t("Teams"), ["Name", "Status", "Keys", "Models", "Requests a minute", "Tokens a minute", "Budget", "Change"].map(t),
    teams.teams.map((one) => [one.name, status(one.status), `${one.keys}`, one.models.join(", ") || t("all"), number(one.requests_per_minute), number(one.tokens_per_minute), budget(one), one.ended ? "" : can("operator", h("button", { "aria-label": `${t("Limit")} ${one.name}`, onclick: async () => done(await ask(`${t("Limit")} ${one.name}`, LIMITS(one), t("Save"), (form) => api("PATCH", teamPath(one), limits(form)))) }, t("Limit")), h("button", { class: "bad", "aria-label": `${t("End")} ${one.name}`, onclick: async () => done(await ask(`${t("End")} ${one.name}`, [h("p", {}, t("Its keys work no more."))], t("End"), () => api("POST", `${teamPath(one)}/end`, {}), true)) }, t("End")))])) : h("p", {}, t("There is no team yet. The limits of a team hold for all of its keys together.")));
}

// Providers

export async function providers(main) {
  const [found, models] = await Promise.all([api("GET", "/providers"), api("GET", "/models")]);
  main.append(table(t("Providers"), ["Name", "Protocol", "Address", "Keys", "Attempts", "First byte", "Breakers"].map(t),
    found.providers.map((one) => [one.name, one.dialect, one.base_url, `${one.keys}`, Object.entries(one.attempts).map(([kind, n]) => `${kind} ${n}`).join(", ") || "–", one.first_byte_mean_s == null ? "–" : `${number(one.first_byte_mean_s * 1000)} ms`, one.breakers.length ? h("span", { class: "warn" }, one.breakers.map((b) => `#${b.key}: ${t("cools down")} ${b.cooling_down_s} s`).join(", ")) : h("span", { class: "ok" }, t("closed"))])));
  if (found.routes.length) main.append(h("h2", {}, t("Routes")), table(t("Routes"), [t("Name"), t("Targets, in order")], found.routes.map((one) => [one.name, one.route.map((r) => r.weight == null ? r.model : `${r.model} (${r.weight})`).join(" → ")])));
  const shown = h("div", { "aria-live": "polite" }), list = h("datalist", { id: "models" }, models.models.map((name) => h("option", { value: name })));
  const name = h("input", { list: "models", name: "model", size: 30, required: true });
  main.append(h("h2", {}, t("A model's price and profile")), list, h("form", { class: "row", onsubmit: async (event) => { event.preventDefault(); try { const one = await api("GET", "/models" + query({ name: name.value })); shown.replaceChildren(h("h3", {}, t("Price for a million tokens")), one.price ? facts(Object.entries(one.price).map(([k, v]) => [t(k), v == null ? "–" : k === "source" ? v : `$${v}`])) : h("p", {}, t("The price is not known.")), h("h3", {}, t("Profile")), one.profile ? JSONText(one.profile) : h("p", {}, t("No profile is known: the model is sent what it is asked."))); } catch (error) { shown.replaceChildren(notice(error.message, "error")); } } }, field(t("Model"), name), h("button", { class: "main" }, t("Look up")), may("operator") ? h("button", { type: "button", onclick: () => name.reportValidity() && testRequest(name.value, shown) }, t("Send a test request")) : null), shown);
}

// One small request, which costs what it costs, and is in the ledger.
async function testRequest(model, shown) {
  const began = performance.now();
  shown.replaceChildren(h("p", { class: "muted" }, `${t("Sending")}…`));
  try {
    const response = await api("POST", "/try/v1/chat/completions", { model, messages: [{ role: "user", content: "Answer with the word: ok" }], max_completion_tokens: 200 }, true);
    const answer = await response.json(), warnings = JSON.parse(response.headers.get("polycall-warnings") || "[]"), id = response.headers.get("polycall-request-id");
    shown.replaceChildren(h("h3", {}, t("Test request")), facts([[t("answer"), answer.choices[0].message.content || "–"], [t("Duration"), `${number(performance.now() - began)} ms`], [t("Tokens"), answer.usage ? `${number(answer.usage.prompt_tokens)} → ${number(answer.usage.completion_tokens)}` : "–"], [t("Warnings"), warnings.map((w) => `${t(w.kind)}: ${w.feature} ${w.detail || ""}`).join("; ") || t("none")], [t("Request"), h("a", { href: `#/requests/${encodeURIComponent(id)}` }, id)]]));
  } catch (error) { shown.replaceChildren(notice(error.message, "error")); }
}

// Programs and durable runs

export async function runs(main, [id]) {
  if (id) return oneRun(main, id);
  const [found, programs] = await Promise.all([api("GET", "/runs").catch((error) => ({ runs: [], problem: error.message })), api("GET", "/programs")]);
  main.append(h("h2", {}, t("Durable runs")));
  if (found.problem) main.append(notice(found.problem, "error"));
  else if (!found.configured) main.append(h("p", {}, t("No database of runs is configured. Write into polycall.toml:")), h("pre", {}, '[admin]\nruns = "sqlite:///runs.db"'));
  else main.append(table(t("Durable runs"), ["Run", "State", "Agent", "Prompt", "Created", "Waits for"].map(t), found.runs.map((one) => [h("a", { href: `#/runs/${encodeURIComponent(one.id)}` }, one.id), status(one.state), one.agent, (one.prompt || "").slice(0, 100), when(one.created_at), one.approvals.map((a) => a.tool).join(", ")])));
  main.append(h("h2", {}, t("Programs of clients")), programs.programs.length ? table(t("Programs of clients"), ["Program", "State", "Key", "Waits for", "Created", "Change"].map(t), programs.programs.map((one) => [one.id, status(one.state), one.key, one.tools.join(", ") || "–", when(one.created), one.state === "waiting" ? can("operator", h("button", { class: "bad", onclick: async () => { if (await ask(`${t("Give up")} ${one.id}`, [h("p", {}, t("Its client learns it with its next request."))], t("Give up"), () => api("POST", `/programs/${encodeURIComponent(one.id)}/cancel`, {}), true)) again(); } }, t("Give up"))) : ""])) : h("p", {}, t("No program of a client is known.")));
}

async function oneRun(main, id) {
  const path = `/runs/${encodeURIComponent(id)}`, one = await api("GET", path);
  const act = (label, title, words, cls) => h("button", { class: cls, onclick: async () => { if (await ask(title, [h("p", {}, words)], label, () => api("POST", `${path}/${cls === "bad" ? "cancel" : "resume"}`, {}), cls === "bad")) again(); } }, label);
  main.append(h("p", {}, h("a", { href: "#/runs" }, t("All runs"))), facts([[t("Run"), one.id], [t("State"), status(one.state)], [t("Agent"), one.agent], [t("Prompt"), one.prompt], [t("Created"), when(one.created_at)], [t("Last at"), one.executor || undefined], [t("Error"), one.error || undefined]]));
  if (may("operator")) main.append(h("div", { class: "row" }, ["queued", "running", "waiting"].includes(one.state) ? act(t("Cancel the run"), t("Cancel the run"), t("It stops, with its tasks."), "bad") : null, ["cancelled", "failed"].includes(one.state) ? act(t("Resume"), t("Resume"), t("It continues from its last step."), "main") : null));
  main.append(h("h2", {}, t("Waits for a person")));
  if (!one.approvals.length) main.append(h("p", {}, t("Nothing waits.")));
  for (const each of one.approvals) {
    const problem = h("div", { "aria-live": "assertive" }), text = h("textarea", { rows: 6, spellcheck: "false", value: visible(JSON.stringify(each.arguments, null, 2)) });
    const reason = h("input", {}), always = h("input", { type: "checkbox" }), before = text.value;
    const decide = (what) => async () => {
      try {
        const body = { approval: each.id };
        if (what === "deny") body.reason = reason.value;
        else { body.digest = each.digest; body.always = always.checked; if (text.value !== before) body.arguments = JSON.parse(text.value); }
        await api("POST", `${path}/${what}`, body);
        again();
      } catch (error) { problem.replaceChildren(notice(error.message, "error")); }
    };
    main.append(h("section", { class: "message", "aria-label": each.tool }, h("h3", {}, `${each.agents.join(" › ")} › ${each.tool}`), each.why ? h("p", {}, each.why) : null, may("operator") ? [field(t("Arguments (they may be changed)"), text), h("div", { class: "row" }, check(t("and each further one"), always), h("button", { class: "main", onclick: decide("allow") }, t("Allow")), field(t("Reason, which the model reads"), reason), h("button", { class: "bad", onclick: decide("deny") }, t("Deny")))] : JSONText(each.arguments), problem));
  }
  main.append(h("h2", {}, t("Steps")), table(t("Steps"), [t("Step"), t("Seconds")], one.steps.map((step) => [step.name, step.seconds.toFixed(3)]), 1));
  if (one.tasks.length) main.append(h("h2", {}, t("Tasks")), table(t("Tasks"), [t("Task"), t("Tool"), t("State")], one.tasks.map((task) => [task.id, task.tool, t(task.state)])));
}

// Try it

const tryIt = async (main) => {
  if (!may("operator")) return void main.append(notice(t("This takes the role operator.")));
  await chat(main, (await api("GET", "/models")).models);
};
export { tryIt as try };

// People

export async function people(main) {
  if (may("owner")) {
    const found = await api("GET", "/admins");
    main.append(h("div", { class: "row" }, h("button", { class: "main", onclick: async () => { const made = await ask(t("A new administrator"), [field(t("Name"), h("input", { name: "name", required: true })), field(t("Role"), select([["reader", t("reader")], ["operator", t("operator")], ["owner", t("owner")]], "reader", { name: "role" })), check(t("with a key for programs"), h("input", { type: "checkbox", name: "key", value: "1" }))], t("Create"), (form) => api("POST", "/admins", { name: form.name, role: form.role, key: form.key === "1" })); if (made) { again(); secret(made.key ? made : { key: `${location.origin}/console#link=${made.link}` }); } } }, t("Create an administrator"))),
      table(t("People"), ["Name", "Role", "Key", "Created", "Change"].map(t), found.admins.map((one) => [one.name, t(one.role), one.prefix ? `${one.prefix}…` : "–", when(one.created), one.revoked ? status("revoked") : one.name === me.name ? "" : h("div", { class: "actions" }, h("button", { class: "bad", "aria-label": `${t("Revoke")} ${one.name}`, onclick: async () => { if (await ask(`${t("Revoke")} ${one.name}`, [h("p", {}, t("It ends at once and for good."))], t("Revoke"), () => api("POST", `/admins/${encodeURIComponent(one.id)}/revoke`, {}), true)) again(); } }, t("Revoke")))])));
  }
  const acts = h("div"), more = h("button", { onclick: () => load() }, t("More"));
  let rows = [], before = null;
  const load = async () => {
    const page = await api("GET", "/audit" + query({ before }));
    rows = [...rows, ...page.acts];
    before = page.next;
    more.hidden = !before;
    acts.replaceChildren(table(t("What administrators did"), ["No.", "Time", "Who", "Way", "What", "Target", "Details"].map(t), rows.map((one) => [`${one.number}`, when(one.at), `${one.actor} (${t(one.role)})`, t(one.via), one.action, one.target, one.detail === "{}" ? "" : one.detail])));
  };
  const whole = h("span", { role: "status" });
  main.append(h("h2", {}, t("What administrators did")), h("div", { class: "row" }, h("button", { onclick: async () => { const found = await api("GET", "/audit/check"); whole.replaceChildren(found.whole ? t("The log is whole.") : found.problem); } }, t("Check the log")), whole), acts, more);
  await load();
}
