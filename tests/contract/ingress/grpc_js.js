// grpc-js against the echo: a job on stdin, what happened on stdout.
const fs = require("fs");
const { createRequire } = require("module");

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const packages = createRequire(job.packages + "/package.json");
const grpc = packages("@grpc/grpc-js");
const loader = packages("@grpc/proto-loader");

const contract = "headrace/inference/v2/grpc_service.proto";
const definition = loader.loadSync(contract, { includeDirs: [job.protos], keepCase: true });
const { ModelInfer } = definition["inference.GRPCInferenceService"];
const stream = { ...ModelInfer, path: job.stream, requestStream: false, responseStream: true };
const Echo = grpc.makeGenericClientConstructor({ infer: ModelInfer, stream }, "Echo");
const client = new Echo(job.address, grpc.credentials.createInsecure());

function metadata(tenant) {
  const values = new grpc.Metadata();
  values.set("x-test-tenant", tenant);
  values.set("headrace-test-bin", Buffer.from([0, 255]));
  return values;
}

function request(id, action = "echo", parameters = {}) {
  const raw = [Buffer.from(id)];
  return { id, model_name: action, parameters, raw_input_contents: raw };
}

function infer(asked, options = {}) {
  return new Promise((resolve) => {
    const seen = {};
    const call = client.infer(asked, metadata(asked.id), options, (error, answer) => {
      seen.code = error ? error.code : 0;
      seen.details = error ? error.details : "";
      if (error) seen.status = error.metadata.get("grpc-status-details-bin")[0]?.toString("base64");
      if (answer) seen.id = answer.id;
      if (answer) seen.tenant = answer.parameters.tenant.string_param;
      if (answer) seen.binary = answer.parameters.binary.string_param;
    });
    call.on("metadata", (found) => (seen.initial = found.get("headrace-test-initial")[0]));
    call.on("status", (found) => {
      seen.trailing = found.metadata.get("headrace-test-id")[0];
      setImmediate(() => resolve(seen));
    });
  });
}

function streamed(asked) {
  return new Promise((resolve) => {
    const seen = { versions: [] };
    const call = client.stream(asked, metadata(asked.id));
    call.on("data", (answer) => seen.versions.push(answer.model_version));
    call.on("error", () => {});
    call.on("status", (found) => resolve({ ...seen, code: found.code, details: found.details }));
  });
}

async function main() {
  const text = (value) => ({ reason: { string_param: value } });
  const count = (value) => ({ count: { int64_param: value } });
  const seen = {
    unary: await infer(request("one")),
    failed: await infer(request("two", "fails", text("OVERLOADED"))),
    crashed: await infer(request("three", "crashes")),
    late: await infer(request("four", "sleep", { ms: { int64_param: 20000 } }), { deadline: Date.now() + 300 }),
    stream: await streamed(request("five", "echo", count(100))),
    broken: await streamed(request("six", "fails", { ...text("FIELD_INVALID"), ...count(3) })),
  };
  const names = Array.from({ length: job.callers }, (_, index) => "caller-" + index);
  seen.many = await Promise.all(names.map((name) => infer(request(name))));
  console.log(JSON.stringify(seen));
  client.close();
}

main();
