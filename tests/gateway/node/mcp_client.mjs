// The TypeScript library's client at the gateway: `node mcp_client.mjs URL KEY`.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [url, key] = process.argv.slice(2);
const client = new Client(
  { name: "stock", version: "1" },
  { capabilities: { elicitation: {} } },
);
client.setRequestHandler(ElicitRequestSchema, async () => ({
  action: "accept",
  content: { approve: true, name: "영희" },
}));
const headers = { Authorization: `Bearer ${key}` };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const { tools } = await client.listTools();
const sum = await client.callTool({ name: "stock_add", arguments: { a: 2, b: 3 } });
const picture = await client.callTool({ name: "stock_picture", arguments: {} });
const asked = await client.callTool({ name: "stock_ask_name", arguments: {} });
const { resources } = await client.listResources();
const { prompts } = await client.listPrompts();
console.log(JSON.stringify({
  tools: tools.map((tool) => tool.name),
  sum: sum.structuredContent,
  picture: picture.content[0].type,
  asked: asked.content[0].text,
  resources: resources.map((each) => each.uri),
  prompts: prompts.map((each) => each.name),
}));
await client.close();
