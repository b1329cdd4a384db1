// One conversation of a stock Node client with a simulated voice: node voices.mjs KIND URL.
// Each line of the output is what happened, as JSON.
const [kind, url] = process.argv.slice(2);
const say = (event, more = {}) => console.log(JSON.stringify({ event, ...more }));

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function samples(rate, ms, loud) {
  const made = Buffer.alloc((2 * rate * ms) / 1000);
  for (let at = 0; at < made.length; at += 2) {
    made.writeInt16LE(loud ? (((at / 2 / 20) | 0) % 2 ? 8000 : -8000) : 0, at);
  }
  return made;
}

async function speak(send, rate) {
  for (const [loud, count] of [[true, 20], [false, 32]]) {
    for (let piece = 0; piece < count; piece++) {
      send(samples(rate, 20, loud));
      await sleep(20);
    }
  }
}

async function agents() {
  const { RealtimeAgent, RealtimeSession, tool } = await import('@openai/agents-realtime');
  const parameters = { type: 'object', properties: {}, required: [], additionalProperties: true };
  const weather = tool({
    name: 'weather', description: 'The weather.', parameters, strict: false,
    execute: async () => { say('call'); return 'snow'; },
  });
  const agent = new RealtimeAgent({ name: 'host', instructions: 'Be brief.', tools: [weather] });
  const session = new RealtimeSession(agent, { transport: 'websocket', model: 'gpt-realtime-2.1' });
  const send = (data) => session.sendAudio(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
  let called = false;
  let speaking;
  session.on('agent_tool_end', () => { called = true; });
  session.on('audio', () => {
    if (called && !speaking) { speaking = speak(send, 24000); }
  });
  session.on('audio_interrupted', () => { say('interrupted'); session.close(); process.exit(0); });
  session.on('error', (error) => say('error', { error: JSON.stringify(error).slice(0, 300) }));
  await session.connect({ apiKey: 'any', url });
  await speak(send, 24000);
}

async function genai() {
  const { GoogleGenAI } = await import('@google/genai');
  const client = new GoogleGenAI({ apiKey: 'any', httpOptions: { baseUrl: url } });
  let session;
  let called = false;
  let speaking;
  const send = (data) => session.sendRealtimeInput({
    audio: { data: data.toString('base64'), mimeType: 'audio/pcm;rate=16000' },
  });
  session = await client.live.connect({
    model: 'gemini-3.8-live',
    config: {
      responseModalities: ['AUDIO'], outputAudioTranscription: {},
      tools: [{ functionDeclarations: [{ name: 'weather', parametersJsonSchema: { type: 'object' } }] }],
    },
    callbacks: {
      onmessage: (message) => {
        for (const call of message.toolCall?.functionCalls ?? []) {
          say('call');
          session.sendToolResponse({ functionResponses: [{ id: call.id, name: call.name, response: { output: 'snow' } }] });
          called = true;
        }
        if (message.serverContent?.interrupted) { say('interrupted'); session.close(); process.exit(0); }
        if (called && message.data && !speaking) { speaking = speak(send, 16000); }
      },
      onerror: (error) => say('error', { error: String(error.message) }),
    },
  });
  await speak(send, 16000);
}

// A telephone that answers as OpenAI's own example does, for a caller of ours.
async function twilio() {
  const http = await import('node:http');
  const { WebSocketServer } = await import('ws');
  const { RealtimeAgent, RealtimeSession, tool } = await import('@openai/agents-realtime');
  const { TwilioRealtimeTransportLayer } = await import('@openai/agents-extensions');
  const parameters = { type: 'object', properties: {}, required: [], additionalProperties: true };
  const hours = tool({
    name: 'hours', description: 'The hours.', parameters, strict: false, execute: async () => 'from 12 to 23',
  });
  const twiml = '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
    + '<Stream url="wss://bell.example.com/media"/></Connect></Response>';
  const server = http.createServer((_, response) => {
    response.setHeader('content-type', 'text/xml');
    response.end(twiml);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', async (twilioWebSocket) => {
    const transport = new TwilioRealtimeTransportLayer({ twilioWebSocket });
    const agent = new RealtimeAgent({ name: 'host', instructions: 'Be brief.', tools: [hours] });
    const format = { type: 'audio/pcmu' };
    const config = { audio: { input: { format }, output: { format } } };
    const session = new RealtimeSession(agent, { transport, model: 'gpt-realtime-2.1', config });
    session.on('error', () => {});
    await session.connect({ apiKey: 'any', url });
  });
  server.listen(0, '127.0.0.1', () => say('listening', { port: server.address().port }));
}

await { agents, genai, twilio }[kind]();
