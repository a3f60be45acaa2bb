// grpc-js with the contract's proto file: a job on stdin, what happened on stdout.
const fs = require("fs");
const { createRequire } = require("module");

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const packages = createRequire(job.packages + "/package.json");
const grpc = packages("@grpc/grpc-js");
const loader = packages("@grpc/proto-loader");

const definition = loader.loadSync("headrace/inference/v2/grpc_service.proto", {
  includeDirs: [job.protos],
  keepCase: true,
  longs: Number,
});
const contract = grpc.loadPackageDefinition(definition).inference;
const client = new contract.GRPCInferenceService(job.address, grpc.credentials.createInsecure());

function call(method, request, token) {
  const metadata = new grpc.Metadata();
  if (token) metadata.set("authorization", "Bearer " + token);
  return new Promise((resolve) => {
    const seen = {};
    const sent = client[method](request, metadata, { deadline: Date.now() + 20000 }, (error, answer) => {
      seen.code = error ? error.code : grpc.status.OK;
      seen.details = error ? error.details : "";
      seen.answer = answer;
    });
    // The status event comes after the callback and carries the trailing metadata.
    sent.on("status", (status) => {
      seen.trailing = status.metadata.getMap();
      setImmediate(() => resolve(seen));
    });
  });
}

function linear(row) {
  const raw = Buffer.from(new Float32Array(row).buffer);
  return {
    model_name: "linear",
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 16] }],
    raw_input_contents: [raw],
  };
}

function floats(raw) {
  return Array.from(new Float32Array(new Uint8Array(raw).buffer));
}

async function main() {
  const report = {
    live: await call("ServerLive", {}, job.token),
    metadata: await call("ModelMetadata", { name: "linear" }, job.token),
    unknown: await call("ModelInfer", { model_name: "no-such-model" }, job.token),
    anonymous: await call("ServerLive", {}, ""),
  };
  const answers = await Promise.all(job.rows.map((row) => call("ModelInfer", linear(row), job.token)));
  report.codes = answers.map((one) => one.code);
  report.outputs = answers.map((one) => (one.answer ? floats(one.answer.raw_output_contents[0]) : null));
  report.trailing = answers[0].trailing;
  console.log(JSON.stringify(report));
  client.close();
}

main();
