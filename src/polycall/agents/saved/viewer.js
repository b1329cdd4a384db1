"use strict";
(async () => {
  const h = (tag, props, ...children) => { const e = document.createElement(tag); for (const [k, v] of Object.entries(props || {})) if (v != null) k.startsWith("on") ? e.addEventListener(k.slice(2), v) : e.setAttribute(k, v); e.append(...children.flat().filter((c) => c != null && c !== false)); return e; };
  const main = h("main");
  document.body.append(main);
  let lines;
  try {
    const bytes = Uint8Array.from(atob(document.getElementById("trace").textContent), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
    lines = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  } catch (error) { main.append(h("p", { class: "notice", role: "alert" }, `This browser cannot unpack the run: ${error.message}`)); return; }
  const run = lines[0], groups = [{ step: null, messages: [] }], nested = new Map(), programs = [];
  for (const line of lines.slice(1)) {
    if (line.type === "step") groups.push({ step: line, messages: [] });
    else if (line.type === "message") groups[groups.length - 1].messages.push(line);
    else if (line.type === "nested") { const id = line.path[0]; if (!nested.has(id)) nested.set(id, []); nested.get(id).push(line); }
    else if (line.type === "program") programs.push(line);
  }
  const count = (n) => (n || 0).toLocaleString("en"), money = (v) => v == null ? "unknown" : `$${v}`;
  const usage = (u) => `${count(u && u.input_tokens)} → ${count(u && u.output_tokens)} tokens`;
  const short = (text, n = 160) => { const one = text.replace(/\s+/g, " ").trim(); return one.length > n ? one.slice(0, n) + "…" : one; };
  const pretty = (text) => { try { return JSON.stringify(JSON.parse(text), null, 1); } catch { return text; } };
  const partText = (part) => part.type === "tool_call" ? `${part.name}(${part.arguments_json || "{}"})` : part.type === "tool_result" ? `${part.name || part.call_id}: ${(part.content || []).map((c) => c.text || `[${c.type}]`).join(" ")}` : part.text || `[${part.type}]`;
  const say = (message) => (message.parts || []).map(partText).join(" · ");

  const part = (one) => {
    if (one.type === "tool_call") return h("div", {}, h("div", { class: "role" }, `calls ${one.name}`, one.caller && one.caller !== "direct" ? ` (from ${one.caller})` : ""), h("pre", {}, pretty(one.arguments_json || "{}")), below(one.id));
    if (one.type === "tool_result") return h("div", {}, h("div", { class: "role" + (one.is_error ? " bad" : "") }, `${one.is_error ? "error" : "result"} of ${one.name || one.call_id}`), h("pre", {}, (one.content || []).map((c) => c.text || `[${c.type}]`).join("\n")));
    if (one.type === "reasoning") return h("div", {}, h("div", { class: "role" }, "reasoning"), h("div", { class: "text muted" }, one.text || "(hidden)"));
    return h("div", { class: "text" }, one.text || `[${one.type}]`);
  };
  const message = (one) => h("div", {}, h("div", { class: "role" }, one.role), (one.parts || []).map(part));
  const below = (id) => {
    const steps = nested.get(id);
    return steps && h("details", {}, h("summary", {}, `${steps.length} steps of the agent below`), steps.map((one) => h("div", {}, h("div", { class: "role" }, `step ${one.number} · ${one.response.model} · ${usage(one.response.usage)} · ${money(one.cost)}`), message(one.response.message), (one.results || []).map(part))));
  };
  const folded = (summary, build) => {
    const details = h("details", {}, h("summary", {}, summary));
    details.addEventListener("toggle", () => { if (details.open && details.childElementCount === 1) details.append(...build()); });
    return details;
  };
  const item = (group) => {
    const step = group.step, words = short(group.messages.map(say).join(" · "));
    const title = step ? `${step.number} · ${step.agent || run.agent} · ${words}` : `before the first step: ${group.messages.length} messages`;
    const details = folded(title, () => [step && h("p", { class: "muted" }, `${step.model || ""} · ${step.finish_reason || ""} · ${usage(step.usage)} · ${money(step.cost)}`), step && (step.warnings || []).map((w) => h("p", { class: "warn" }, `${w.kind}: ${w.feature} ${w.detail || ""}`)), ...group.messages.map(message)].flat().filter(Boolean));
    if (step) details.id = `step-${step.number}`;
    return details;
  };

  const list = h("div", { role: "feed", "aria-label": "Steps" }), state = h("p", { class: "muted", role: "status" });
  let shown = groups, drawn = 0;
  const draw = (until) => { const part = document.createDocumentFragment(); for (; drawn < Math.min(until, shown.length); drawn++) part.append(item(shown[drawn])); list.append(part); state.textContent = drawn < shown.length ? `${drawn} of ${shown.length} shown; scroll for more` : `${shown.length} shown`; };
  const restart = (groups) => { shown = groups; drawn = 0; list.replaceChildren(); draw(200); };
  const find = h("input", { type: "search", name: "find" }), jump = h("input", { name: "step", size: "6", inputmode: "numeric" });
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    const sought = find.value.toLowerCase(), number = parseInt(jump.value, 10);
    restart(sought ? groups.filter((g) => JSON.stringify(g).toLowerCase().includes(sought)) : groups);
    const place = shown.findIndex((g) => g.step && g.step.number === number);
    if (place >= 0) { draw(place + 50); const found = document.getElementById(`step-${number}`); found.open = true; found.scrollIntoView(); found.firstChild.focus(); }
  } }, h("label", {}, "Words", find), h("label", {}, "Step", jump), h("button", {}, "Find"));
  const end = h("div");
  main.append(h("h1", {}, `${run.agent || "A run"}: ${run.reason}`), run.is_cut ? h("p", { class: "notice" }, "Long texts were shortened to keep this file small; JSON lines have them whole.") : null,
    h("dl", {}, [["Steps", count(groups.length - 1)], ["Tokens", usage(run.usage)], ["Cost", money(run.cost)], ["Agents", [...new Set(groups.slice(1).map((g) => g.step.agent).filter(Boolean))].join(", ") || run.agent], ["Models", [...new Set(groups.slice(1).map((g) => g.step.model).filter(Boolean))].join(", ")], ["Tools", (run.tools || []).map((t) => t.name).join(", ") || "none"]].flatMap(([a, b]) => [h("dt", {}, a), h("dd", {}, b)])),
    run.instructions ? folded("Instructions", () => [h("div", { class: "text" }, run.instructions)]) : null,
    programs.length ? h("h2", {}, "Programs") : null, programs.map((one) => folded(`${one.status} · ${one.calls.length} calls · ${one.duration_s.toFixed(2)} s · ${short(one.code, 80)}`, () => [h("div", { class: "role" }, "program"), h("pre", {}, one.code), h("div", { class: "role" }, "output"), h("pre", {}, one.output || ""), ...one.calls.map((c) => h("div", {}, part({ ...c.call, type: "tool_call" }), c.result ? part({ ...c.result, type: "tool_result" }) : h("p", { class: "muted" }, "no result")))])),
    h("h2", {}, "Steps"), form, list, state, end);
  restart(groups);
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) draw(drawn + 200); }, { rootMargin: "1200px" }).observe(end);
  document.documentElement.dataset.ready = performance.now().toFixed(0);
})();
