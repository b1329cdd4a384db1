// Try it: a chat with any model, streamed, with tools that the person answers; the same as code.
import { h, t, visible, api, me, check, field, select, notice, number, money } from "/console/console.js";

const TOOLS = `[{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city.",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const ROUNDS = 20; // of calls that nobody looks at
const CALLS = 500; // of one answer

export async function chat(main, models) {
  const servers = await api("GET", "/mcp").catch((error) => ({ servers: [], tools: [], problem: error.message }));
  const boxes = servers.servers.map((one) => h("input", { type: "checkbox", value: one.name, disabled: !one.tools, onchange: () => write() }));
  const connected = () => servers.tools.filter((tool) => boxes.some((box) => box.checked && box.value === tool.server));
  const messages = [], list = h("datalist", { id: "try-models" }, models.map((name) => h("option", { value: name })));
  const model = h("input", { list: "try-models", value: models[0] || "", size: 30, required: true });
  const system = h("textarea", { rows: 2 }), tools = h("textarea", { rows: 4, spellcheck: "false" });
  const prompt = h("textarea", { rows: 3, required: true });
  const log = h("div", { role: "log", "aria-label": t("Conversation") }), code = h("pre", { tabindex: "0" });
  const language = select(Object.keys(CODE).map((name) => [name, name]), "curl", { onchange: () => write() });
  const send = h("button", { class: "main" }, t("Send")), stop = h("button", { type: "button", disabled: true, onclick: () => control && control.abort() }, t("Stop"));
  let control = null, rounds = 0, begun = 0;
  const body = (extra = []) => {
    const own = { model: model.value, messages: [...(system.value ? [{ role: "system", content: system.value }] : []), ...messages, ...extra] };
    const all = [...(tools.value.trim() ? JSON.parse(tools.value) : []), ...connected().map((tool) => ({ type: "function", function: { name: tool.name, description: tool.description, parameters: tool.parameters } }))];
    if (all.length) own.tools = all;
    return own;
  };
  const write = () => { try { code.replaceChildren(CODE[language.value](location.origin, body(prompt.value ? [{ role: "user", content: prompt.value }] : []))); } catch (error) { code.replaceChildren(error.message); } };
  const say = (role, text) => { const words = h("div", { class: "text" }, text); log.append(h("div", { class: "message" }, h("div", { class: "role" }, t(role)), words)); return words; };

  const ask = async () => {
    control = new AbortController();
    send.disabled = true; stop.disabled = false;
    const box = h("div", { class: "message" }, h("div", { class: "role" }, t("assistant"))), text = h("div", { class: "text" }), thought = h("div", { class: "text muted" }), calls = h("div"), foot = h("div", { class: "muted" });
    box.append(thought, text, calls, foot);
    log.append(box);
    const answer = { role: "assistant", content: "" }, made = new Map(), mine = begun; // calls by their index
    let id = "", usage = null;
    try {
      const response = await fetch("/admin/v1/try/v1/chat/completions", { method: "POST", signal: control.signal, headers: { "content-type": "application/json", "x-polycall-csrf": (await api("GET", "/me")).csrf || "" }, body: JSON.stringify({ ...body(), stream: true, stream_options: { include_usage: true } }) });
      id = response.headers.get("polycall-request-id") || "";
      const warnings = JSON.parse(response.headers.get("polycall-warnings") || "[]");
      if (warnings.length) foot.append(h("ul", {}, warnings.map((w) => h("li", { class: "warn" }, `${t(w.kind)}: ${w.feature} ${w.detail}`))));
      if (!response.ok) throw new Error((await response.json()).error.message);
      for await (const part of events(response.body)) {
        if (part.error) throw new Error(part.error.message);
        usage = part.usage || usage;
        const delta = part.choices && part.choices[0] && part.choices[0].delta || {};
        if (delta.content) { answer.content += delta.content; text.append(visible(String(delta.content))); }
        const thinking = delta.reasoning_content || delta.reasoning;
        if (typeof thinking === "string") thought.append(visible(thinking));
        for (const call of delta.tool_calls || []) {
          if (!made.has(call.index)) {
            if (made.size >= CALLS) throw new Error(t("The model made too many calls."));
            const name = h("span"), given = h("span");
            made.set(call.index, { one: { id: "", type: "function", function: { name: "", arguments: "" } }, name, given });
            calls.append(h("pre", {}, name, "(", given, ")"));
          }
          const { one, name, given } = made.get(call.index);
          if (call.id) one.id = call.id;
          const { function: f = {}, id: _, index: __, type: ___, ...rest } = call;
          Object.assign(one, rest);
          if (f.name) { one.function.name += f.name; name.append(visible(String(f.name))); }
          if (f.arguments) { one.function.arguments += f.arguments; given.append(visible(String(f.arguments))); }
          const extra = Object.entries(f).filter(([k]) => k !== "name" && k !== "arguments");
          Object.assign(one.function, Object.fromEntries(extra));
        }
        box.scrollIntoView({ block: "nearest" });
      }
      if (mine !== begun) return;
      if (made.size) answer.tool_calls = [...made.values()].map((each) => each.one);
      messages.push(answer);
      if (made.size) results(box, answer.tool_calls);
    } catch (error) {
      if (mine !== begun) return;
      box.append(notice(error.name === "AbortError" ? t("Stopped.") : error.message, "error"));
      if (answer.content) messages.push({ role: "assistant", content: answer.content });
    }
    // Each call needs its result before there can be more.
    send.disabled = made.size > 0 && messages.at(-1) === answer; stop.disabled = true;
    if (usage) foot.append(h("span", {}, `${number(usage.prompt_tokens)} → ${number(usage.completion_tokens)} ${t("tokens")}`));
    if (id) cost(id, foot);
    write();
  };

  const cost = async (id, foot) => {
    // The ledger is written behind the request.
    for (let tries = 0; tries < 6; tries++) {
      await pause(400);
      const own = encodeURIComponent(`console: ${me.name}`), found = await api("GET", `/requests?since=-600&key=${own}`).catch(() => ({ requests: [] }));
      const row = found.requests.find((one) => one.id === id);
      if (row) return void foot.append(` · ${row.cost_usd == null ? t("price unknown") : money(row.cost_usd)} · ${number(row.duration_ms)} ms · `, h("a", { href: `#/requests/${id}` }, t("the request")));
    }
  };

  // Tools of servers are called at once, but for those that need a person's word; the person gives the rest.
  const results = async (box, calls) => {
    const given = new Map(), known = new Map(connected().map((tool) => [tool.name, tool]));
    const mine = begun;
    const give = (call, text) => { if (mine !== begun) return; given.set(call, text); say("tool", `${call.function.name}: ${text}`); if (given.size < calls.length) return; for (const one of calls) messages.push({ role: "tool", tool_call_id: one.id, content: given.get(one) }); ask(); };
    const run = async (call, approved) => {
      try {
        // As the model wrote them and the person saw them: numbers that are read here lose digits.
        const given = call.function.arguments || "{}";
        JSON.parse(given);
        const found = await api("POST", "/mcp/call", `{"tool":${JSON.stringify(call.function.name)},"approved":${approved},"arguments":${given}}`);
        give(call, found.text);
      } catch (error) { give(call, error.message); }
    };
    const byHand = (call) => {
      const input = h("textarea", { rows: 2, value: call.function.name === "get_weather" ? '{"weather": "snow", "celsius": -2}' : "" });
      const go = h("button", { class: "main", onclick: () => { go.disabled = input.disabled = true; give(call, input.value); } }, t("Give the result"));
      box.append(field(`${t("Result of")} ${call.function.name}`, input), h("div", { class: "row" }, go));
    };
    const asked = (call) => {
      const decide = (yes) => () => { row.remove(); if (yes) run(call, true); else give(call, "a person denied this call; nothing was run"); };
      const row = h("div", { class: "row" }, h("button", { class: "main", onclick: decide(true) }, `${t("Allow")} ${call.function.name}`), h("button", { class: "bad", onclick: decide(false) }, `${t("Deny")} ${call.function.name}`));
      box.append(row);
    };
    const looks = ++rounds > ROUNDS;
    for (const call of calls) {
      const tool = known.get(call.function.name);
      if (!tool) byHand(call); else if (tool.needs_approval || looks) asked(call); else run(call, false);
    }
  };

  main.append(list, h("form", { onsubmit: (event) => {
    event.preventDefault();
    const words = prompt.value;
    try { body(); } catch (error) { log.append(notice(`${t("The tools are not JSON")}: ${error.message}`, "error")); return; }
    rounds = 0;
    messages.push({ role: "user", content: words });
    say("user", words);
    prompt.value = "";
    ask();
  }, oninput: write }, h("div", { class: "row" }, field(t("Model"), model)), h("details", {}, h("summary", {}, t("Instructions and tools")), field(t("Instructions"), system), field(t("Tools, as Chat Completions has them; you give their results"), tools), h("button", { type: "button", onclick: () => { tools.value = TOOLS; write(); } }, t("A tool to try")),
    servers.problem ? notice(servers.problem, "error") : null, boxes.length ? h("fieldset", {}, h("legend", {}, t("Tools of MCP servers")), servers.servers.map((one, place) => [check(`${one.name} (${one.tools})`, boxes[place]), ...[one.error, ...one.notices].filter(Boolean).map((words) => h("p", { class: "warn" }, words))])) : null),
    log, field(t("Message"), prompt), h("div", { class: "row" }, send, stop, h("button", { type: "button", onclick: () => { begun++; if (control) control.abort(); messages.length = 0; log.replaceChildren(); send.disabled = false; write(); } }, t("Begin again")))),
  h("h2", {}, t("The same as code")), h("div", { class: "row" }, field(t("Language"), language)), code);
  write();
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const ends = /\r?\n\r?\n/g;
    ends.lastIndex = Math.max(0, rest.length - 3); // what was there before has none
    rest += value;
    let begin = 0, end;
    while ((end = ends.exec(rest))) {
      const data = rest.slice(begin, end.index).split(/\r?\n/).filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart()).join("\n");
      begin = ends.lastIndex;
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
    rest = rest.slice(begin);
  }
}

// The same request, for each SDK.  JSON is valid Python but for three words.
const py = (value, depth = 0) => JSON.stringify(value, null, 4).replace(/("(?:[^"\\]|\\.)*")|\btrue\b|\bfalse\b|\bnull\b/g, (m, text) => text || { true: "True", false: "False", null: "None" }[m]).replace(/\n/g, "\n" + " ".repeat(depth));
const args = (body, write, sign) => Object.entries(body).map(([k, v]) => `    ${k}${sign}${write(v, 4)},\n`).join("");
const plain = (body) => body.messages.filter((m) => m.role !== "system");
const words = (m) => typeof m.content === "string" ? m.content : "";
const systemOf = (body) => body.messages.filter((m) => m.role === "system").map(words).join("\n");
const blocks = (m) => m.role === "tool" ? { role: "user", content: [{ type: "tool_result", tool_use_id: m.tool_call_id, content: words(m) }] } : m.tool_calls ? { role: "assistant", content: [...(m.content ? [{ type: "text", text: m.content }] : []), ...m.tool_calls.map((c) => ({ type: "tool_use", id: c.id, name: c.function.name, input: JSON.parse(c.function.arguments || "{}") }))] } : m;
const anthropic = (body) => ({ model: body.model, max_tokens: 1024, ...(systemOf(body) ? { system: systemOf(body) } : {}), messages: plain(body).map(blocks), ...(body.tools ? { tools: body.tools.map(({ function: f }) => ({ name: f.name, description: f.description, input_schema: f.parameters })) } : {}) });
const called = (body, id) => body.messages.flatMap((m) => m.tool_calls || []).find((c) => c.id === id)?.function.name || "unknown";
const object = (text) => { try { const value = JSON.parse(text); return value && typeof value === "object" && !Array.isArray(value) ? value : { result: value }; } catch { return { result: text }; } };
const turn = (body) => (m) => m.role === "tool" ? { role: "user", parts: [{ function_response: { name: called(body, m.tool_call_id), response: object(words(m)) } }] } : { role: m.role === "assistant" ? "model" : "user", parts: [...(m.content ? [{ text: words(m) }] : []), ...(m.tool_calls || []).map((c) => ({ function_call: { name: c.function.name, args: object(c.function.arguments || "{}") } }))] };
const gemini = (body) => ({ contents: plain(body).map(turn(body)), config: { ...(systemOf(body) ? { system_instruction: systemOf(body) } : {}), ...(body.tools ? { tools: [{ function_declarations: body.tools.map(({ function: f }) => ({ name: f.name, description: f.description, parameters_json_schema: f.parameters })) }] } : {}) } });
const CODE = {
  curl: (at, body) => `curl ${at}/v1/chat/completions \\\n  -H "authorization: Bearer $POLYCALL_KEY" \\\n  -H "content-type: application/json" \\\n  -d '${JSON.stringify(body, null, 2).replace(/'/g, "'\\''")}'`,
  "Python (openai)": (at, body) => `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${at}/v1", api_key=os.environ["POLYCALL_KEY"])\nstream = client.chat.completions.create(\n${args(body, py, "=")}    stream=True,\n)\nfor chunk in stream:\n    if chunk.choices and chunk.choices[0].delta.content:\n        print(chunk.choices[0].delta.content, end="", flush=True)`,
  "Python (anthropic)": (at, body) => `import os\nfrom anthropic import Anthropic\n\nclient = Anthropic(base_url="${at}", api_key=os.environ["POLYCALL_KEY"])\nwith client.messages.stream(\n${args(anthropic(body), py, "=")}) as stream:\n    for text in stream.text_stream:\n        print(text, end="", flush=True)`,
  "Python (google-genai)": (at, body) => `import os\nfrom google import genai\n\nclient = genai.Client(api_key=os.environ["POLYCALL_KEY"], http_options={"base_url": "${at}"})\nfor chunk in client.models.generate_content_stream(\n    model=${JSON.stringify(body.model)},\n${args(gemini(body), py, "=")}):\n    print(chunk.text or "", end="", flush=True)`,
  "Python (polycall)": (at, body) => `# polycall.toml:\n#   [providers.gateway]\n#   dialect = "openai-chat"\n#   base_url = "${at}/v1"\n#   api_key = "env:POLYCALL_KEY"\nfrom polycall import Client\n${body.tools ? "from polycall.ir import Tool\n" : ""}from polycall.openai_messages import from_openai\n\nmessages = from_openai(${py(body.messages)})\n${body.tools ? `tools = [\n${body.tools.map(({ function: f }) => `    Tool(${py(f.name)}, ${py(f.description || "")}, ${py(f.parameters || { type: "object" }, 4)}),\n`).join("")}]\n` : ""}with Client() as client, client.stream_sync(${JSON.stringify("gateway/" + body.model)}, messages${body.tools ? ", tools=tools" : ""}) as stream:\n    for text in stream.text():\n        print(text, end="", flush=True)`,
  "JavaScript (openai)": (at, body) => `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${at}/v1", apiKey: process.env.POLYCALL_KEY });\nconst stream = await client.chat.completions.create(${JSON.stringify({ ...body, stream: true }, null, 2)});\nfor await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");`,
};
