/** The worker that runs models, with ONNX Runtime Web (WebAssembly). */
import * as ort from "onnxruntime-web/wasm";
import runtimeModule from "virtual:runtime-module";
import runtimeWasm from "virtual:runtime-wasm";
import { audit } from "./model/audit.ts";
import { conclude, type Output } from "./model/conclude.ts";
import { slices, traces } from "./model/explain.ts";
import { fieldOfView, type Place } from "./model/field-of-view.ts";
import { manifestFrom, sha256, type Manifest } from "./model/manifest.ts";
import { metadataOf } from "./model/onnx.ts";
import { assumptions, checkReads, presented } from "./model/present.ts";
import { checkFile } from "./read/budget.ts";
import { bytesOf } from "./read/bytes.ts";
import { Refusal } from "./read/refusal.ts";
import { product } from "./read/scan.ts";
import type { Judged, Loaded, RunAnswer, RunRequest, Scan } from "./messages.ts";

const UNKNOWN = { spacing: null, centre: null };
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
      ? { id: data.id, loaded: await load(data.file, data.sha256) }
      : { id: data.id, judged: await judge(data.scan, data.name, data.centre) };
  } catch (error) {
    const refusal = error instanceof Refusal ? error.message : `ONNX Runtime cannot run this (${firstLine(error)}).`;
    answer = { id: data.id, refusal };
  }
  self.postMessage(answer);
}

/** Unpack the runtime, which is stored packed so that a host that packs nothing sends no more than others. */
async function prepare(): Promise<void> {
  const response = await fetch(runtimeWasm);
  if (!response.ok) throw new Refusal("this site does not have its runtime; reload the page.");
  const packed = await response.blob();
  const [first, second] = await bytesOf(packed.slice(0, 2));
  const isPacked = first === 0x1f && second === 0x8b; // not so where the host has unpacked it on the way
  const stream = isPacked ? packed.stream().pipeThrough(new DecompressionStream("gzip")) : packed.stream();
  ort.env.wasm.wasmBinary = await new Response(stream).arrayBuffer();
  ort.env.wasm.wasmPaths = { mjs: runtimeModule };
  ort.env.logLevel = "error";
}

/** Load a file, see that graph and manifest agree, and warm up.  expected: its SHA-256, if the site says one. */
async function load(file: Blob, expected: string | null): Promise<Loaded> {
  checkFile(file.size);
  const bytes = await bytesOf(file);
  const found = await sha256(bytes);
  if (expected !== null && expected !== found) {
    throw new Refusal("it is not the file that was exported: its SHA-256 differs from the one that this site names.");
  }
  const manifest = await manifestFrom(metadataOf(bytes));
  const audited = await audit(bytes, manifest);
  await model?.session.release();
  model = undefined;
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  try {
    await warmUp(session, manifest);
  } catch (error) {
    await session.release();
    throw error;
  }
  model = { session, manifest };
  return { manifest, audit: audited, sha256: found, bytes: bytes.length, threads: ort.env.wasm.numThreads ?? 1 };
}

/** Run once; throws a Refusal if the outputs are not those of the manifest. */
async function warmUp(session: ort.InferenceSession, manifest: Manifest): Promise<void> {
  const colour = manifest.input.channels === 3 ? [3] : [];
  const shape = [...manifest.input.size, ...colour];
  const outputs = await run(session, new Float32Array(product(shape)), shape, manifest.input.spacing ? UNKNOWN : null);
  const wanted = { probabilities: [manifest.labels.length], ood: [] };
  for (const [name, expects] of Object.entries(wanted)) {
    const shapeFound = outputs[name]?.shape.join(" x ") ?? "missing";
    if (shapeFound !== expects.join(" x ")) {
      throw new Refusal(`the graph does not fit its manifest: output ${name} is ${shapeFound || "a number"}.`);
    }
  }
}

async function judge(scan: Scan, name: string, centre: Place | null): Promise<Judged> {
  if (!model) throw new Refusal("no model is loaded.");
  const { session, manifest } = model;
  const started = performance.now();
  checkReads(manifest, scan, name);
  const pixels = presented(manifest, scan);
  const ready = performance.now();
  const where = manifest.input.spacing ? { spacing: scan.spacing, centre } : null;
  const outputs = await run(session, pixels, scan.shape, where);
  const ended = performance.now();
  const prediction = conclude(manifest, outputs, assumptions(manifest, scan, centre));
  const view = fieldOfView(manifest.input, scan, centre);
  return {
    prediction,
    slices: slices(manifest, outputs, prediction, scan, view),
    traces: traces(manifest, outputs),
    view,
    milliseconds: { prepare: ready - started, run: ended - ready },
  };
}

/** where: of a model that sees a part of a scan, what its further inputs hold; null there is what nobody knows. */
async function run(
  session: ort.InferenceSession,
  pixels: Float32Array,
  shape: readonly number[],
  where: Record<"spacing" | "centre", readonly number[] | null> | null,
): Promise<Record<string, Output>> {
  const inputs: Record<string, ort.Tensor> = { scan: new ort.Tensor("float32", pixels, [1, ...shape]) };
  for (const [name, given] of Object.entries(where ?? {})) {
    inputs[name] = new ort.Tensor("float32", Float32Array.from(given ?? [NaN, NaN, NaN]), [1, 3]);
  }
  const results = await session.run(inputs);
  const outputs: Record<string, Output> = {};
  for (const [name, tensor] of Object.entries(results)) {
    outputs[name] = { data: tensor.data as Float32Array, shape: tensor.dims.slice(1) };
  }
  return outputs;
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n")[0]!.slice(0, 200);
}
