// HTTP/2 requests as no gRPC library would send them: any path, repeated
// headers, trailers. A list of requests on stdin, the list of answers on stdout.
const fs = require("fs");
const http2 = require("http2");

const job = JSON.parse(fs.readFileSync(0, "utf8"));

function send(session, request) {
  return new Promise((resolve) => {
    const seen = { headers: {}, trailers: {}, body: "", error: "" };
    let stream;
    try {
      stream = session.request(request.headers, { waitForTrailers: Boolean(request.trailers) });
    } catch (error) {
      resolve({ ...seen, error: String(error.code || error) });
      return;
    }
    const chunks = [];
    stream.on("wantTrailers", () => stream.sendTrailers(request.trailers));
    stream.on("response", (headers) => Object.assign(seen.headers, headers));
    stream.on("trailers", (headers) => Object.assign(seen.trailers, headers));
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("error", (error) => (seen.error = String(error.code || error)));
    stream.on("close", () => {
      seen.body = Buffer.concat(chunks).toString("base64");
      resolve(seen);
    });
    stream.end(Buffer.from(request.body || "", "base64"));
  });
}

async function one(request) {
  const session = http2.connect(job.url);
  session.on("error", () => {});
  const start = process.hrtime.bigint();
  const answer = await send(session, request);
  answer.seconds = Number(process.hrtime.bigint() - start) / 1e9;
  session.destroy();
  return answer;
}

async function main() {
  const answers = [];
  // One connection each: a refused request must not end the others.
  for (const request of job.requests) answers.push(await one(request));
  console.log(JSON.stringify(answers));
}

main();
