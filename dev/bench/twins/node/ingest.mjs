#!/usr/bin/env node
// Ten lines of JavaScript that do what ingest does when all is well; below, what Lambda's own runtime would bring.

import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import http from "node:http";

import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const sqs = new SQSClient({});

async function handler(event) {
  const digest = createHash("sha256").update(event.rawPath.split("/").pop()).digest();
  if (!timingSafeEqual(digest, Buffer.from(process.env.WEBHOOK_TOKEN_SHA256, "hex"))) return { statusCode: 401 };
  const body = Buffer.from(event.body, event.isBase64Encoded ? "base64" : "utf8").toString();
  const envelope = { version: 1, id: randomUUID(), source: "vero", payload: JSON.parse(body) };
  await sqs.send(
    new SendMessageCommand({ QueueUrl: process.env.QUEUE_URL, MessageBody: JSON.stringify(envelope) }),
  );
  return { statusCode: 202, body: JSON.stringify({ id: envelope.id }) };
}

const agent = new http.Agent({ keepAlive: true });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const url = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/${path}`;
    const request = http.request(url, { method, agent }, async (response) => {
      const chunks = await response.toArray();
      resolve({ headers: response.headers, text: Buffer.concat(chunks).toString() });
    });
    request.on("error", reject).end(body);
  });
}

for (;;) {
  const { headers, text } = await call("GET", "next");
  const answer = JSON.stringify(await handler(JSON.parse(text)));
  await call("POST", `${headers["lambda-runtime-aws-request-id"]}/response`, answer);
}
