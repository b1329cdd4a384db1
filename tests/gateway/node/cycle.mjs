// One tool cycle with each official Node SDK, whole and streamed; prints what it saw as JSON.
// Arguments: the gateway's URL, a key, the SDK, the model, "whole" or "streamed".
const [url, key, sdk, model, mode] = process.argv.slice(2);
const streamed = mode === "streamed";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tool = { name: "get_weather", description: "The weather in a city", parameters };
const PROMPT = "서울과 도쿄 날씨?";
const RESULT = "3°C";

async function chat() {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const tools = [{ type: "function", function: tool }];
  const messages = [{ role: "user", content: PROMPT }];
  const ask = async () => {
    const body = { model, messages, tools };
    const answer = streamed
      ? await client.chat.completions.stream(body).finalChatCompletion()
      : await client.chat.completions.create(body);
    const message = answer.choices[0].message;
    messages.push({ role: "assistant", content: message.content, ...(message.tool_calls?.length ? { tool_calls: message.tool_calls.map(({ id, type, function: { name, arguments: args } }) => ({ id, type, function: { name, arguments: args } })) } : {}) });
    return message;
  };
  return cycle(async () => {
    const message = await ask();
    return { text: message.content ?? "", calls: (message.tool_calls ?? []).map((call) => ({ id: call.id, name: call.function.name, args: JSON.parse(call.function.arguments) })) };
  }, (calls) => messages.push(...calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: RESULT }))));
}

async function responses() {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const input = [{ role: "user", content: PROMPT }];
  return cycle(async () => {
    const body = { model, input, tools: [{ type: "function", strict: false, ...tool }], store: false, include: ["reasoning.encrypted_content"] };
    const answer = streamed ? await client.responses.stream(body).finalResponse() : await client.responses.create(body);
    input.push(...answer.output.map(({ parsed_arguments, ...item }) => item.content ? { ...item, content: item.content.map(({ parsed, ...part }) => part) } : item));
    return { text: answer.output_text, calls: answer.output.filter((item) => item.type === "function_call").map((item) => ({ id: item.call_id, name: item.name, args: JSON.parse(item.arguments) })) };
  }, (calls) => input.push(...calls.map((call) => ({ type: "function_call_output", call_id: call.id, output: RESULT }))));
}

async function anthropic() {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const messages = [{ role: "user", content: PROMPT }];
  return cycle(async () => {
    const body = { model, messages, max_tokens: 2000, tools: [{ name: tool.name, description: tool.description, input_schema: parameters }] };
    const answer = streamed ? await client.messages.stream(body).finalMessage() : await client.messages.create(body);
    messages.push({ role: "assistant", content: answer.content });
    return { text: answer.content.filter((block) => block.type === "text").map((block) => block.text).join(""), calls: answer.content.filter((block) => block.type === "tool_use").map((block) => ({ id: block.id, name: block.name, args: block.input })) };
  }, (calls) => messages.push({ role: "user", content: calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: RESULT })) }));
}

async function gemini() {
  const { GoogleGenAI } = await import("@google/genai");
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  const contents = [{ role: "user", parts: [{ text: PROMPT }] }];
  const config = { tools: [{ functionDeclarations: [{ name: tool.name, description: tool.description, parametersJsonSchema: parameters }] }] };
  return cycle(async () => {
    const parts = [];
    if (streamed) {
      for await (const chunk of await client.models.generateContentStream({ model, contents, config })) parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
    } else {
      const answer = await client.models.generateContent({ model, contents, config });
      parts.push(...(answer.candidates?.[0]?.content?.parts ?? []));
    }
    contents.push({ role: "model", parts });
    return { text: parts.filter((part) => part.text && !part.thought).map((part) => part.text).join(""), calls: parts.filter((part) => part.functionCall).map((part) => ({ id: part.functionCall.id, name: part.functionCall.name, args: part.functionCall.args ?? {} })) };
  }, (calls) => contents.push({ role: "user", parts: calls.map((call) => ({ functionResponse: { id: call.id, name: call.name, response: { output: RESULT } } })) }));
}

async function vercel() {
  const { generateText, streamText, tool: define, jsonSchema, stepCountIs } = await import("ai");
  const { createOpenAI } = await import("@ai-sdk/openai");
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  const [protocol, name] = [model.slice(0, model.indexOf("@")), model.slice(model.indexOf("@") + 1)];
  const provider = protocol === "anthropic" ? createAnthropic({ baseURL: `${url}/v1`, apiKey: key })(name) : createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat(name);
  const seen = [];
  const tools = { get_weather: define({ description: tool.description, inputSchema: jsonSchema(parameters), execute: async (args) => { seen.push(["get_weather", args]); return RESULT; } }) };
  const options = { model: provider, prompt: PROMPT, tools, stopWhen: stepCountIs(6), maxRetries: 0 };
  const text = streamed ? await streamText(options).text : (await generateText(options)).text;
  return { seen, text };
}

async function cycle(ask, give) {
  const seen = [];
  for (let step = 0; step < 6; step += 1) {
    const { text, calls } = await ask();
    if (!calls.length) return { seen, text };
    seen.push(...calls.map((call) => [call.name, call.args]));
    give(calls);
  }
  throw new Error("too many steps");
}

console.log(JSON.stringify(await { chat, responses, anthropic, gemini, vercel }[sdk]()));
