// The TypeScript library's client at the gateway, in either version: `node mcp_clients.mjs 1|2 URL KEY`.
const [version, url, key] = process.argv.slice(2);
let Client, StreamableHTTPClientTransport;
const seen = {};
const answer = async (request) => ({
  action: "accept",
  content: request.params.mode === "url" ? undefined : { approve: true, name: "영희" },
});
const capabilities = { elicitation: { form: {}, url: {} } };
const heard = {};
const hear = (name) => () => { heard[name] = true; };
let client;
if (version === "1") {
  ({ Client } = await import("@modelcontextprotocol/sdk/client/index.js"));
  ({ StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js"));
  const { ElicitRequestSchema, LoggingMessageNotificationSchema, ResourceListChangedNotificationSchema, ResourceUpdatedNotificationSchema } = await import("@modelcontextprotocol/sdk/types.js");
  client = new Client({ name: "stock", version: "1" }, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, answer);
  client.setNotificationHandler(LoggingMessageNotificationSchema, hear("log"));
  client.setNotificationHandler(ResourceListChangedNotificationSchema, hear("lists"));
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, hear("updates"));
} else {
  ({ Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client"));
  client = new Client({ name: "stock", version: "2" }, { capabilities, versionNegotiation: { mode: "auto" } });
  client.setRequestHandler("elicitation/create", answer);
  client.setNotificationHandler("notifications/message", hear("log"));
  client.setNotificationHandler("notifications/resources/list_changed", hear("lists"));
  client.setNotificationHandler("notifications/resources/updated", hear("updates"));
}
const headers = { Authorization: `Bearer ${key}` };
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
await client.connect(transport);
seen.revision = (client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion) || "?";

async function feature(name, probe) {
  try {
    seen[name] = (await probe()) ? "yes" : "no";
  } catch (error) {
    seen[name] = `no: ${String(error.message ?? error).slice(0, 160)}`;
  }
}
const call = (name, args = {}, options) =>
  version === "1"
    ? client.callTool({ name, arguments: args }, undefined, options)
    : client.callTool({ name, arguments: args }, options);
async function soon(name) {
  for (let turn = 0; turn < 200 && !heard[name]; turn += 1) await new Promise((done) => setTimeout(done, 50));
  return heard[name] === true;
}
const watched = "polycall://stock/memo://today";
let tools = [];
await feature("tools", async () => {
  const first = await client.listTools();
  tools = first.tools;
  return tools.some((tool) => tool.name === "stock_add");
});
await feature("pages", async () => {
  const names = new Set(tools.map((tool) => tool.name));
  let { nextCursor } = await client.listTools();
  while (nextCursor) {
    const page = await client.listTools({ cursor: nextCursor });
    page.tools.forEach((tool) => names.add(tool.name));
    nextCursor = page.nextCursor;
  }
  return names.size > 300;
});
await feature("annotations", async () =>
  tools.find((tool) => tool.name === "stock_add")?.annotations?.readOnlyHint === true);
await feature("calls", async () => (await call("stock_add", { a: 2, b: 3 })).content[0].text === "5");
await feature("errors", async () => (await call("stock_fail")).isError === true);
await feature("structured content", async () =>
  (await call("stock_add", { a: 2, b: 3 })).structuredContent.result === 5);
await feature("pictures", async () => (await call("stock_picture")).content[0].type === "image");
await feature("audio", async () => (await call("stock_sound")).content[0].type === "audio");
await feature("progress", async () => {
  let reports = 0;
  await call("stock_nap", { seconds: 0.3 }, { onprogress: () => { reports += 1; } });
  return reports > 0;
});
await feature("cancellation", async () => {
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 300);
  try {
    await call("stock_nap", { seconds: 20 }, { signal: stop.signal });
    return false;
  } catch {
    return (await call("stock_add", { a: 1, b: 1 })).content[0].text === "2";
  }
});
await feature("logging", async () => {
  const asked = { name: "stock_log", arguments: {}, _meta: { "io.modelcontextprotocol/logLevel": "debug" } };
  if (version === "1") await client.setLoggingLevel("debug");
  // A program's messages are of its only call, and the one that was cancelled may not be over.
  for (let turn = 0; turn < 3 && !heard.log; turn += 1) {
    await (version === "1" ? call("stock_log") : client.callTool(asked));
    await soon("log");
  }
  return heard.log === true;
});
await feature("pages of resources", async () => {
  const uris = new Set();
  let cursor;
  do {
    const page = await client.listResources(cursor ? { cursor } : undefined);
    page.resources.forEach((each) => uris.add(each.uri));
    cursor = page.nextCursor;
  } while (cursor);
  return uris.size > 300;
});
await feature("updates of resources", async () => {
  const stream = version === "1" ? await client.subscribeResource({ uri: watched }) : await client.listen({ resourceSubscriptions: [watched] });
  await call("stock_touch", { uri: "memo://today" });
  const is = await soon("updates");
  await stream.close?.();
  return is;
});
await feature("changes of lists", async () => {
  const stream = version === "1" ? {} : await client.listen({ resourcesListChanged: true });
  await call("stock_grow", { name: `node-${version}` });
  const is = await soon("lists");
  await stream.close?.();
  return is;
});
await feature("resources", async () =>
  (await client.listResources()).resources.some((each) => each.uri === "polycall://stock/memo://today"));
await feature("templates", async () => (await client.listResourceTemplates()).resourceTemplates.some((each) => each.uriTemplate === "polycall://stock/memo://{day}/items"));
await feature("reading", async () =>
  (await client.readResource({ uri: "polycall://stock/memo://today" })).contents[0].text.includes("오늘"));
await feature("prompts", async () => {
  const { prompts } = await client.listPrompts();
  const made = await client.getPrompt({ name: "stock_review", arguments: { code: "x" } });
  return prompts.some((each) => each.name === "stock_review") && made.messages[0].content.text === "Review this: x";
});
await feature("completion", async () => {
  const ref = { type: "ref/prompt", name: "stock_review" };
  return (await client.complete({ ref, argument: { name: "code", value: "mon" } })).completion.values[0] === "monday";
});
await feature("forms", async () => (await call("stock_ask_name")).content[0].text === "accept: 영희");
await feature("approval", async () => (await call("stock_remove", { path: "/x" })).content[0].text === "removed /x");
if (seen.revision !== "2026-07-28") await feature("ping", async () => Boolean(await client.ping()));
console.log(JSON.stringify(seen));
await client.close();
process.exit(0);
