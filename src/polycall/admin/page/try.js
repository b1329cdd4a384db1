// Try it: a chat with any model, streamed, with tools that the person answers; the same as code.
import { h, t, api, field, select, notice, number, money } from "/console/console.js";

const TOOLS = `[{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city.",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export async function chat(main, models) {
  const messages = [], list = h("datalist", { id: "try-models" }, models.map((name) => h("option", { value: name })));
  const model = h("input", { list: "try-models", value: models[0] || "", size: 30, required: true });
  const system = h("textarea", { rows: 2 }), tools = h("textarea", { rows: 4, spellcheck: "false" });
  const prompt = h("textarea", { rows: 3, required: true });
  const log = h("div", { role: "log", "aria-label": t("Conversation") }), code = h("pre", { tabindex: "0" });
  const language = select(Object.keys(CODE).map((name) => [name, name]), "curl", { onchange: () => write() });
  const send = h("button", { class: "main" }, t("Send")), stop = h("button", { type: "button", disabled: true, onclick: () => control && control.abort() }, t("Stop"));
  let control = null;
  const body = (extra = []) => {
    const own = { model: model.value, messages: [...(system.value ? [{ role: "system", content: system.value }] : []), ...messages, ...extra] };
    if (tools.value.trim()) own.tools = JSON.parse(tools.value);
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
    const answer = { role: "assistant", content: "" }, made = [];
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
        if (delta.content) { answer.content += delta.content; text.append(delta.content); }
        const thinking = delta.reasoning_content || delta.reasoning;
        if (typeof thinking === "string") thought.append(thinking);
        for (const call of delta.tool_calls || []) {
          const one = made[call.index] ||= { id: "", type: "function", function: { name: "", arguments: "" } };
          if (call.id) one.id = call.id;
          const { function: f = {}, id: _, index: __, type: ___, ...rest } = call;
          Object.assign(one, rest);
          if (f.name) one.function.name += f.name;
          if (f.arguments) one.function.arguments += f.arguments;
          const extra = Object.entries(f).filter(([k]) => k !== "name" && k !== "arguments");
          Object.assign(one.function, Object.fromEntries(extra));
          calls.replaceChildren(...made.filter(Boolean).map((c) => h("pre", {}, `${c.function.name}(${c.function.arguments})`)));
        }
        box.scrollIntoView({ block: "nearest" });
      }
      if (made.length) answer.tool_calls = made.filter(Boolean);
      messages.push(answer);
      if (made.length) results(box, answer.tool_calls);
    } catch (error) {
      box.append(notice(error.name === "AbortError" ? t("Stopped.") : error.message, "error"));
      if (answer.content) messages.push({ role: "assistant", content: answer.content });
    }
    send.disabled = false; stop.disabled = true;
    if (usage) foot.append(h("span", {}, `${number(usage.prompt_tokens)} → ${number(usage.completion_tokens)} ${t("tokens")}`));
    if (id) cost(id, foot);
    write();
  };

  const cost = async (id, foot) => {
    // The ledger is written behind the request.
    for (let tries = 0; tries < 6; tries++) {
      await pause(400);
      const row = await api("GET", `/requests/${id}`).catch(() => null);
      if (row) return void foot.append(` · ${row.cost_usd == null ? t("price unknown") : money(row.cost_usd)} · ${number(row.duration_ms)} ms · `, h("a", { href: `#/requests/${id}` }, t("the request")));
    }
  };

  const results = (box, calls) => {
    const inputs = calls.map((call) => h("textarea", { rows: 2, value: call.function.name === "get_weather" ? '{"weather": "snow", "celsius": -2}' : "" }));
    const go = h("button", { class: "main", onclick: () => {
      calls.forEach((call, place) => { messages.push({ role: "tool", tool_call_id: call.id, content: inputs[place].value }); inputs[place].disabled = true; say("tool", `${call.function.name}: ${inputs[place].value}`); });
      go.disabled = true;
      ask();
    } }, t("Give the results"));
    box.append(...calls.map((call, place) => field(`${t("Result of")} ${call.function.name}`, inputs[place])), h("div", { class: "row" }, go));
  };

  main.append(list, h("form", { onsubmit: (event) => {
    event.preventDefault();
    const words = prompt.value;
    try { body(); } catch (error) { log.append(notice(`${t("The tools are not JSON")}: ${error.message}`, "error")); return; }
    messages.push({ role: "user", content: words });
    say("user", words);
    prompt.value = "";
    ask();
  }, oninput: write }, h("div", { class: "row" }, field(t("Model"), model)), h("details", {}, h("summary", {}, t("Instructions and tools")), field(t("Instructions"), system), field(t("Tools, as Chat Completions has them; you give their results"), tools), h("button", { type: "button", onclick: () => { tools.value = TOOLS; write(); } }, t("A tool to try"))),
    log, field(t("Message"), prompt), h("div", { class: "row" }, send, stop, h("button", { type: "button", onclick: () => { messages.length = 0; log.replaceChildren(); write(); } }, t("Begin again")))),
  h("h2", {}, t("The same as code")), h("div", { class: "row" }, field(t("Language"), language)), code);
  write();
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = /\r?\n\r?\n/.exec(rest))) {
      const data = rest.slice(0, end.index).split(/\r?\n/).filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart()).join("\n");
      rest = rest.slice(end.index + end[0].length);
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
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
const gemini = (body) => ({ contents: plain(body).filter((m) => m.content).map((m) => ({ role: m.role === "assistant" ? "model" : "user", parts: [{ text: words(m) }] })), config: { ...(systemOf(body) ? { system_instruction: systemOf(body) } : {}), ...(body.tools ? { tools: [{ function_declarations: body.tools.map(({ function: f }) => ({ name: f.name, description: f.description, parameters_json_schema: f.parameters })) }] } : {}) } });
const CODE = {
  curl: (at, body) => `curl ${at}/v1/chat/completions \\\n  -H "authorization: Bearer $POLYCALL_KEY" \\\n  -H "content-type: application/json" \\\n  -d '${JSON.stringify(body, null, 2).replace(/'/g, "'\\''")}'`,
  "Python (openai)": (at, body) => `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${at}/v1", api_key=os.environ["POLYCALL_KEY"])\nstream = client.chat.completions.create(\n${args(body, py, "=")}    stream=True,\n)\nfor chunk in stream:\n    if chunk.choices and chunk.choices[0].delta.content:\n        print(chunk.choices[0].delta.content, end="", flush=True)`,
  "Python (anthropic)": (at, body) => `import os\nfrom anthropic import Anthropic\n\nclient = Anthropic(base_url="${at}", api_key=os.environ["POLYCALL_KEY"])\nwith client.messages.stream(\n${args(anthropic(body), py, "=")}) as stream:\n    for text in stream.text_stream:\n        print(text, end="", flush=True)`,
  "Python (google-genai)": (at, body) => `import os\nfrom google import genai\n\nclient = genai.Client(api_key=os.environ["POLYCALL_KEY"], http_options={"base_url": "${at}"})\nfor chunk in client.models.generate_content_stream(\n    model=${JSON.stringify(body.model)},\n${args(gemini(body), py, "=")}):\n    print(chunk.text or "", end="", flush=True)`,
  "Python (polycall)": (at, body) => `# polycall.toml:\n#   [providers.gateway]\n#   dialect = "openai-chat"\n#   base_url = "${at}/v1"\n#   api_key = "env:POLYCALL_KEY"\nfrom polycall import Agent\n\nagent = Agent(${JSON.stringify("gateway/" + body.model)}, instructions=${JSON.stringify(systemOf(body))})\nprint(agent.run_sync(${JSON.stringify(words(plain(body).filter((m) => m.role === "user").pop() || { content: "" }))}).text)`,
  "JavaScript (openai)": (at, body) => `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${at}/v1", apiKey: process.env.POLYCALL_KEY });\nconst stream = await client.chat.completions.create(${JSON.stringify({ ...body, stream: true }, null, 2)});\nfor await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");`,
};
