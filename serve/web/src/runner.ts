/** The worker that runs models, with ONNX Runtime Web (WebAssembly). */
import * as ort from "onnxruntime-web/wasm";
import runtimeModule from "virtual:runtime-module";
import runtimeWasm from "virtual:runtime-wasm";
import { audit } from "./model/audit.ts";
import { conclude, type Output } from "./model/conclude.ts";
import { slices, traces } from "./model/explain.ts";
import { manifestFrom, sha256, type Manifest } from "./model/manifest.ts";
import { metadataOf } from "./model/onnx.ts";
import { assumptions, checkReads, presented } from "./model/present.ts";
import { Refusal } from "./read/refusal.ts";
import type { Judged, Loaded, RunAnswer, RunRequest, Scan } from "./messages.ts";

let model: { session: ort.InferenceSession; manifest: Manifest } | undefined;

/** One request after the other: a model is not to be replaced while another one loads. */
let last: Promise<unknown> = prepare();

self.onmessage = ({ data }: MessageEvent<RunRequest>) => {
  last = Promise.allSettled([last]).then(() => answer(data));
};

async function answer(data: RunRequest): Promise<void> {
  let answer: RunAnswer;
  try {
    if (!ort.env.wasm.wasmBinary) await prepare(); // it failed before; this says why
    answer = data.task === "load"
      ? { id: data.id, loaded: await load(data.bytes, data.sha256) }
      : { id: data.id, judged: await judge(data.scan, data.name) };
  } catch (error) {
    const said = error instanceof Refusal ? error.message : `ONNX Runtime cannot run this (${firstLine(error)}).`;
    answer = { id: data.id, refusal: said };
  }
  self.postMessage(answer);
}

/** Unpack the runtime, which is stored packed so that a host that packs nothing sends no more than others. */
async function prepare(): Promise<void> {
  const bytes = new Uint8Array(await (await fetch(runtimeWasm)).arrayBuffer());
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b; // not so where the host has unpacked it on the way
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  ort.env.wasm.wasmBinary = isPacked ? await new Response(stream).arrayBuffer() : bytes.buffer;
  ort.env.wasm.wasmPaths = { mjs: runtimeModule };
  ort.env.logLevel = "error";
}

/** Load a file, see that graph and manifest agree, and warm up.  expected: its SHA-256, if the site says one. */
async function load(bytes: Uint8Array<ArrayBuffer>, expected: string | null): Promise<Loaded> {
  const found = await sha256(bytes);
  if (expected !== null && expected !== found) {
    throw new Refusal("it is not the file that was exported: its SHA-256 differs from the one that this site names.");
  }
  const manifest = await manifestFrom(metadataOf(bytes));
  const audited = await audit(bytes, manifest);
  await model?.session.release();
  model = undefined;
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const colour = manifest.input.channels === 3 ? [3] : [];
  const shape = [...manifest.input.size, ...colour];
  const zeros = new Float32Array(shape.reduce((so, axis) => so * axis, 1));
  const outputs = await run(session, zeros, shape);
  const wanted = { probabilities: [manifest.labels.length], ood: [] };
  for (const [name, expects] of Object.entries(wanted)) {
    const shapeFound = outputs[name]?.shape.join(" x ") ?? "missing";
    if (shapeFound !== expects.join(" x ")) {
      throw new Refusal(`the graph does not fit its manifest: output ${name} is ${shapeFound || "a number"}.`);
    }
  }
  model = { session, manifest };
  return { manifest, audit: audited, sha256: found, bytes: bytes.length, threads: ort.env.wasm.numThreads ?? 1 };
}

async function judge(scan: Scan, name: string): Promise<Judged> {
  if (!model) throw new Refusal("no model is loaded.");
  const { session, manifest } = model;
  const started = performance.now();
  checkReads(manifest, scan, name);
  const pixels = presented(manifest, scan);
  const ready = performance.now();
  const outputs = await run(session, pixels, scan.shape);
  const ended = performance.now();
  const prediction = conclude(manifest, outputs, assumptions(manifest, scan));
  return {
    prediction,
    slices: slices(manifest, outputs, prediction, scan.shape[0]!),
    traces: traces(manifest, outputs, scan.shape[0]!),
    milliseconds: { prepare: ready - started, run: ended - ready },
  };
}

async function run(
  session: ort.InferenceSession,
  pixels: Float32Array,
  shape: readonly number[],
): Promise<Record<string, Output>> {
  const results = await session.run({ scan: new ort.Tensor("float32", pixels, [1, ...shape]) });
  const outputs: Record<string, Output> = {};
  for (const [name, tensor] of Object.entries(results)) {
    outputs[name] = { data: tensor.data as Float32Array, shape: tensor.dims.slice(1) };
  }
  return outputs;
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n")[0]!.slice(0, 200);
}
