// The official clients, as a browser uses them: one conversation a call, its outcome as JSON.
import { HttpAgent } from "@ag-ui/client";
import { DefaultChatTransport, readUIMessageStream } from "ai";

export async function agUi(url, { approve, words = "ship tea", chat = "t1", run = "r" }) {
  const agent = new HttpAgent({ url, threadId: chat });
  agent.addMessage({ id: "u1", role: "user", content: words });
  const types = [];
  let interrupts = [];
  const subscriber = {
    onEvent: ({ event }) => {
      types.push(event.type);
      if (event.outcome?.type === "interrupt") interrupts = event.outcome.interrupts;
    },
  };
  await agent.runAgent({ runId: `${run}1` }, subscriber);
  if (interrupts.length) {
    const resume = interrupts.map((each) => ({
      interruptId: each.id,
      status: "resolved",
      payload: { approved: approve },
    }));
    await agent.runAgent({ runId: `${run}2`, resume }, subscriber);
  }
  return { types, messages: agent.messages, interrupts };
}

export async function vercel(url, { approve, words = "ship tea", chat = "c1" }) {
  const transport = new DefaultChatTransport({ api: url });
  const user = { id: `${chat}-u1`, role: "user", parts: [{ type: "text", text: words }] };
  const errors = [];
  const ask = async (messages, message) => {
    const stream = await transport.sendMessages({
      trigger: "submit-message",
      chatId: chat,
      messages,
      abortSignal: undefined,
    });
    let last = message;
    const onError = (error) => errors.push(String(error));
    for await (const each of readUIMessageStream({ stream, message, onError })) last = each;
    return last;
  };
  let answer = await ask([user]);
  const waiting = answer.parts.filter((part) => part.state === "approval-requested");
  if (waiting.length) {
    for (const part of waiting) {
      part.state = "approval-responded";
      part.approval = { id: part.approval.id, approved: approve };
    }
    answer = await ask([user, answer], answer);
  }
  return { answer, asked: waiting.length, errors };
}

if (globalThis.process) {
  const [client, url, options] = process.argv.slice(2);
  const run = client === "ag-ui" ? agUi : vercel;
  run(url, JSON.parse(options)).then((outcome) => console.log(JSON.stringify(outcome)));
} else {
  globalThis.clients = { agUi, vercel };
}
