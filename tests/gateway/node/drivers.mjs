// The official Node SDKs as clients of the gateway, for `node_drivers.py`: one JSON line in, one out.
// {id, op: "open", sdk, url, key, model, streamed, tools, pixel} begins a conversation,
// {id, op: "ask", prompt, image} and {id, op: "give", results} go on with it.  Answers are
// {id, text, calls} or {id, error}.
import { createInterface } from "node:readline";

const textOf = (items, kind, field) => items.filter((item) => item.type === kind).map((item) => item[field]).join("");

async function chat({ url, key, model, streamed, tools, pixel }) {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const functions = tools.map((tool) => ({ type: "function", function: tool }));
  const messages = [];
  const send = async () => {
    const body = { model, messages, tools: functions };
    const answer = streamed
      ? await client.chat.completions.stream(body).finalChatCompletion()
      : await client.chat.completions.create(body);
    const { content, tool_calls: calls } = answer.choices[0].message;
    // Standard fields only, as many clients send them back.
    const kept = calls?.map(({ id, type, function: called }) => ({ id, type, function: { name: called.name, arguments: called.arguments } }));
    messages.push({ role: "assistant", content, ...(kept?.length ? { tool_calls: kept } : {}) });
    return { text: content ?? "", calls: (kept ?? []).map((call) => ({ id: call.id, name: call.function.name, arguments: JSON.parse(call.function.arguments) })) };
  };
  return {
    ask(prompt, image) {
      const content = [{ type: "text", text: prompt }, { type: "image_url", image_url: { url: `data:image/png;base64,${pixel}` } }];
      messages.push({ role: "user", content: image ? content : prompt });
      return send();
    },
    give(results) {
      messages.push(...results.map((result) => ({ role: "tool", tool_call_id: result.id, content: result.is_error ? `error: ${result.content}` : result.content })));
      return send();
    },
  };
}

async function responses({ url, key, model, streamed, tools, pixel }) {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const functions = tools.map((tool) => ({ type: "function", strict: false, ...tool }));
  const input = [];
  const send = async () => {
    const body = { model, input, tools: functions, store: false, include: ["reasoning.encrypted_content"] };
    const answer = streamed ? await client.responses.stream(body).finalResponse() : await client.responses.create(body);
    // What the SDK's helper adds is not the API's.
    input.push(...answer.output.map(({ parsed_arguments, ...item }) => (item.content ? { ...item, content: item.content.map(({ parsed, ...part }) => part) } : item)));
    const calls = answer.output.filter((item) => item.type === "function_call");
    return { text: answer.output_text, calls: calls.map((item) => ({ id: item.call_id, name: item.name, arguments: JSON.parse(item.arguments) })) };
  };
  return {
    ask(prompt, image) {
      const content = [{ type: "input_text", text: prompt }, { type: "input_image", image_url: `data:image/png;base64,${pixel}`, detail: "auto" }];
      input.push({ role: "user", content: image ? content : prompt });
      return send();
    },
    give(results) {
      input.push(...results.map((result) => ({ type: "function_call_output", call_id: result.id, output: result.is_error ? `error: ${result.content}` : result.content })));
      return send();
    },
  };
}

async function anthropic({ url, key, model, streamed, tools, pixel }) {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const own = tools.map(({ parameters, ...tool }) => ({ ...tool, input_schema: parameters }));
  const messages = [];
  const send = async () => {
    const body = { model, messages, max_tokens: 2000, tools: own };
    const answer = streamed ? await client.messages.stream(body).finalMessage() : await client.messages.create(body);
    messages.push({ role: "assistant", content: answer.content });
    const calls = answer.content.filter((block) => block.type === "tool_use");
    return { text: textOf(answer.content, "text", "text"), calls: calls.map((block) => ({ id: block.id, name: block.name, arguments: block.input })) };
  };
  return {
    ask(prompt, image) {
      const source = { type: "base64", media_type: "image/png", data: pixel };
      messages.push({ role: "user", content: image ? [{ type: "text", text: prompt }, { type: "image", source }] : prompt });
      return send();
    },
    give(results) {
      messages.push({ role: "user", content: results.map((result) => ({ type: "tool_result", tool_use_id: result.id, content: result.content, ...(result.is_error ? { is_error: true } : {}) })) });
      return send();
    },
  };
}

async function gemini({ url, key, model, streamed, tools, pixel }) {
  const { GoogleGenAI } = await import("@google/genai");
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  const functionDeclarations = tools.map(({ parameters, ...tool }) => ({ ...tool, parametersJsonSchema: parameters }));
  const config = { tools: [{ functionDeclarations }] };
  const contents = [];
  const send = async () => {
    const answers = [];
    if (streamed) {
      for await (const chunk of await client.models.generateContentStream({ model, contents, config })) answers.push(chunk);
    } else {
      answers.push(await client.models.generateContent({ model, contents, config }));
    }
    const parts = answers.flatMap((answer) => answer.candidates?.[0]?.content?.parts ?? []);
    contents.push({ role: "model", parts });
    const calls = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
    return {
      text: parts.filter((part) => part.text && !part.thought).map((part) => part.text).join(""),
      calls: calls.map((call) => ({ id: call.id, name: call.name, arguments: call.args ?? {} })),
    };
  };
  return {
    ask(prompt, image) {
      contents.push({ role: "user", parts: [{ text: prompt }, ...(image ? [{ inlineData: { mimeType: "image/png", data: pixel } }] : [])] });
      return send();
    },
    give(results) {
      contents.push({ role: "user", parts: results.map((result) => ({ functionResponse: { id: result.id, name: result.name, response: { [result.is_error ? "error" : "output"]: result.content } } })) });
      return send();
    },
  };
}

// Vercel's SDK with one of its own providers; the loop is ours, its messages go back as they came.
const vercel = (provide) => async ({ url, key, model, streamed, tools, pixel }) => {
  const { generateText, streamText, tool: define, jsonSchema } = await import("ai");
  const own = Object.fromEntries(tools.map((tool) => [tool.name, define({ description: tool.description, inputSchema: jsonSchema(tool.parameters) })]));
  const provided = await provide(url, key, model);
  const messages = [];
  const send = async () => {
    const options = { model: provided, messages, tools: own, maxRetries: 0 };
    const answer = streamed ? streamText({ ...options, onError: () => {} }) : await generateText(options);
    const [text, calls, response] = [await answer.text, await answer.toolCalls, await answer.response];
    messages.push(...response.messages);
    return { text, calls: calls.map((call) => ({ id: call.toolCallId, name: call.toolName, arguments: call.input })) };
  };
  return {
    ask(prompt, image) {
      const file = { type: "file", data: pixel, mediaType: "image/png" };
      messages.push({ role: "user", content: image ? [{ type: "text", text: prompt }, file] : prompt });
      return send();
    },
    give(results) {
      const content = results.map((result) => ({ type: "tool-result", toolCallId: result.id, toolName: result.name, output: { type: result.is_error ? "error-text" : "text", value: result.content } }));
      messages.push({ role: "tool", content });
      return send();
    },
  };
};

const SDKS = {
  chat,
  responses,
  anthropic,
  gemini,
  "ai-chat": vercel(async (url, apiKey, model) => (await import("@ai-sdk/openai")).createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat(model)),
  "ai-responses": vercel(async (url, apiKey, model) => (await import("@ai-sdk/openai")).createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses(model)),
  "ai-anthropic": vercel(async (url, apiKey, model) => (await import("@ai-sdk/anthropic")).createAnthropic({ baseURL: `${url}/v1`, apiKey })(model)),
  "ai-google": vercel(async (url, apiKey, model) => (await import("@ai-sdk/google")).createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey })(model)),
};

globalThis.AI_SDK_LOG_WARNINGS = false;
const open = new Map();

async function answer({ id, op, ...more }) {
  if (op === "open") {
    open.set(id, await SDKS[more.sdk](more));
    return {};
  }
  if (op === "close") {
    open.delete(id);
    return {};
  }
  const driver = open.get(id);
  return op === "ask" ? driver.ask(more.prompt, more.image) : driver.give(more.results);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let reply;
  try {
    reply = await answer(request);
  } catch (error) {
    reply = { error: `${error.name}: ${error.message}`.slice(0, 2000) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
