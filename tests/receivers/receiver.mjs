// A back end that takes the webhooks of a Tidings server, verified by the `standardwebhooks` package of npm.
//
// usage: node receiver.mjs PORT SECRET FILE
//
// Each event that verifies goes to FILE, as a line of JSON. What does not verify is answered with 400.

import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const [port, secret, file] = process.argv.slice(2);

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  let told;
  try {
    told = new Webhook(secret).verify(body, request.headers);
  } catch (error) {
    console.error("refused:", error.message);
    return response.writeHead(400).end();
  }
  for (const event of told.events) appendFileSync(file, JSON.stringify(event) + "\n");
  response.writeHead(204).end();
}).listen(Number(port), "127.0.0.1");
