// The vendor's JavaScript client, asked to do what an application does; prints what it got as JSON.
//
//     node client.mjs BASE_URL

import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "k", maxRetries: 0, timeout: 20_000 });
const question = { model: "m", messages: [{ role: "user", content: "Who answers in the mountains? やまびこ" }] };

async function completion() {
  const { data, response } = await client.chat.completions.create(question).withResponse();
  return { id: data.id, text: data.choices[0].message.content, from: response.headers.get("cache-status") };
}

async function streamed() {
  let text = "";
  let id = "";
  let finished = "";
  for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
    id = chunk.id;
    text += chunk.choices[0]?.delta?.content ?? "";
    finished = chunk.choices[0]?.finish_reason ?? finished;
  }
  return { id, text, finished };
}

async function response() {
  const asked = { model: "m", input: "Who answers by a response?", store: false };
  const made = await client.responses.create(asked);
  const types = [];
  let text = "";
  for await (const event of await client.responses.create({ ...asked, stream: true })) {
    types.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  return { id: made.id, text: made.output_text, streamed: text, last: types.at(-1) };
}

async function error() {
  const order = JSON.stringify({ status: 429, headers: { "retry-after": "7" }, body: '{"error":{"message":"slow"}}' });
  const asked = { model: "m", messages: [{ role: "user", content: "too often" }] };
  try {
    await client.chat.completions.create(asked, { headers: { "x-order": order } });
  } catch (raised) {
    return { name: raised.constructor.name, status: raised.status, after: raised.headers.get("retry-after") };
  }
  return {};
}

async function broken() {
  const order = JSON.stringify({ cut_after: 2 });
  const asked = { model: "m", messages: [{ role: "user", content: "a stream that breaks off" }], stream: true };
  let pieces = 0;
  try {
    for await (const _ of await client.chat.completions.create(asked, { headers: { "x-order": order } })) pieces += 1;
  } catch (raised) {
    return { raised: raised instanceof OpenAI.APIError, pieces };
  }
  return { raised: false, pieces };
}

const told = [await completion(), await completion(), await streamed(), await response(), await error(), await broken()];
const models = [];
for await (const model of client.models.list()) models.push(model.id);
console.log(JSON.stringify({ told, models }));
