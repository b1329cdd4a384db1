// The protocol's own TypeScript client lists tools and calls one; prints what it saw as JSON.
// Arguments: a URL, or a command and its words.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [target, ...args] = process.argv.slice(2);
const transport = target.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport({ command: target, args, env: process.env, stderr: "ignore" });
const client = new Client({ name: "node", version: "1" });
await client.connect(transport);
const { tools } = await client.listTools();
const call = (name, args) => client.callTool({ name, arguments: args });
const weather = await call("get_weather", { city: "서울 🏙️" });
const picture = await call("picture", {});
const failed = await call("fail", {});
const steps = [];
const stop = new AbortController();
const slow = client.callTool({ name: "slow", arguments: { folder: process.env.FOLDER } }, undefined, {
  signal: stop.signal,
  onprogress: (progress) => { steps.push(progress.progress); stop.abort("enough"); },
});
const cancelled = await slow.then(() => false, () => true);
await call("get_weather", { city: "부산" }); // the notice is on its way before this
console.log(JSON.stringify({
  names: tools.map((tool) => tool.name),
  weather: weather.structuredContent,
  kinds: picture.content.map((block) => block.type),
  failed: [failed.isError, failed.content[0].text],
  cancelled,
  steps,
}));
await client.close();
