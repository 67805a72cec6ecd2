/** The manifest: the JSON inside an exported file that says what it is and how to read a scan for it; `liquidlens.manifest`. */
import { Refusal } from "../read/refusal.ts";
import { product } from "../read/scan.ts";

const [KEY, CHECKSUM] = ["liquidlens", "liquidlens.sha256"] as const;
/** What kind of scans the model was trained on stands beside the manifest, as of `liquidlens.manifest`. */
const TRAINED_ON = "liquidlens.trained_on";

/** DICOM's codes of modality, and the part of the body. */
export interface TrainedOn {
  readonly modalities: readonly string[];
  readonly body_part: string;
}

/** As a sentence names it. */
export function trainedOn({ modalities, body_part }: TrainedOn): string {
  return modalities.join(" or ") + (body_part && ` of the ${body_part}`);
}

export interface Input {
  readonly values: "grey" | "hu" | "mask" | "relative";
  /** What the graph resizes to: (slices, rows, columns) of a volume, (rows, columns) of an image. */
  readonly size: readonly number[];
  readonly window: readonly [number, number] | null;
  readonly channels: 1 | 3;
  /** Millimetres between the voxels of `size`: the model looks at a field of view; absent or null: at all of a scan. */
  readonly spacing?: readonly number[] | null;
}

export interface Operating {
  readonly threshold: number;
  readonly rule: string;
  readonly abstain: readonly [number, number] | null;
  readonly abstain_margin: number | null;
}

export interface Wiring {
  readonly layer: string;
  readonly cell: string;
  readonly output: string;
  readonly features: number;
  /** One letter each: m(otor), c(ommand), i(nter). */
  readonly neurons: string;
}

export interface StoredRecord {
  readonly digest: string;
  readonly kind: string;
  readonly how: string;
}

export interface Manifest {
  readonly format: 1;
  readonly model: string;
  readonly paper: string;
  readonly task: "classes" | "multi-label";
  readonly labels: readonly string[];
  readonly precision: string;
  readonly profile: string | null;
  readonly input: Input;
  readonly operating: Operating;
  readonly temperature: number;
  readonly out_of_distribution: { readonly threshold: number; readonly quantile: number };
  readonly parameters: Readonly<Record<"trainable" | "effective" | "stored", number> & { published: number | null }>;
  /** The text "NaN" where a figure is not defined. */
  readonly metrics: Readonly<Partial<Record<"val" | "test", Readonly<Record<string, number | string>>>>>;
  readonly provenance: Readonly<Record<string, unknown>> & { readonly dataset: string };
  readonly wiring: readonly Wiring[];
  readonly initializers: Readonly<Record<string, StoredRecord>>;
  readonly graph_digest: string;
  readonly intended_use: string;
  readonly trained_on: TrainedOn | null;
}

/**
 * Read the manifest from an ONNX file's metadata.  Throws a Refusal if there is none, if it is damaged, or if it is not
 * the one that was exported.
 */
export async function manifestFrom(metadata: ReadonlyMap<string, string>): Promise<Manifest> {
  const text = metadata.get(KEY);
  if (text === undefined) {
    throw new Refusal(
      "the file carries no LiquidLens manifest, so what it expects is unknown; use `liquidlens export`.",
    );
  }
  const kind = metadata.get(TRAINED_ON);
  const sums = await Promise.all([text, kind ?? ""].map((part) => sha256(new TextEncoder().encode(part))));
  const sound = metadata.get(CHECKSUM) === sums[0] && (kind === undefined || metadata.get(`${TRAINED_ON}.sha256`) === sums[1]);
  if (!sound) {
    throw new Refusal("the file's manifest is not the one that was exported: its checksum differs.");
  }
  let manifest: Manifest;
  try {
    const found = JSON.parse(text);
    const trained_on = kind === undefined ? null : JSON.parse(kind);
    manifest = { ...found, task: found?.task ?? "classes", wiring: found?.wiring ?? [], trained_on };
  } catch {
    throw new Refusal("the file's manifest is damaged: it is no JSON.");
  }
  const wrong = firstFault(manifest);
  if (wrong) throw new Refusal(`the file's manifest is damaged: ${wrong}.`);
  if (manifest.profile === "step") {
    throw new Refusal("it reads one slice at a time (profile step); give the bundle's model.onnx.");
  }
  return manifest;
}

/** The field that this page cannot work with, if there is one. */
function firstFault(manifest: Manifest): string | null {
  const size = manifest.input?.size;
  const labels = manifest.labels;
  const parameters = manifest.parameters;
  const texts = (...found: unknown[]) => found.every((item) => typeof item === "string");
  const numbers = (...found: unknown[]) => found.every((item) => typeof item === "number");
  const values = (table: unknown) => (typeof table === "object" && table !== null ? Object.values(table) : [undefined]);
  const checks: [string, boolean][] = [
    ["format", manifest.format === 1],
    ["model", texts(manifest.model)],
    ["task", ["classes", "multi-label"].includes(manifest.task)],
    ["labels", Array.isArray(labels) && texts(...labels) && labels.length >= 2 && new Set(labels).size === labels.length],
    ["input.values", ["grey", "hu", "mask", "relative"].includes(manifest.input?.values)],
    ["trained_on", !manifest.trained_on || texts(...values(manifest.trained_on.modalities), manifest.trained_on.body_part)],
    ["input.size", Array.isArray(size) && [2, 3].includes(size.length) && size.every((n) => Number.isInteger(n) && n > 0)],
    ["input.spacing", !manifest.input?.spacing || (numbers(...values(manifest.input.spacing)) && manifest.input.spacing.length === 3)],
    ["operating.threshold", numbers(manifest.operating?.threshold)],
    ["temperature", numbers(manifest.temperature)],
    ["out_of_distribution.threshold", numbers(manifest.out_of_distribution?.threshold)],
    ["metrics", values(manifest.metrics).every((figures) => typeof figures === "object" && figures !== null)],
    ["initializers", values(manifest.initializers).every((stored) => texts(stored?.digest, stored?.kind, stored?.how))],
    ["provenance", texts(manifest.provenance?.dataset)],
    ["parameters", numbers(parameters?.trainable, parameters?.effective, parameters?.stored, parameters?.published ?? 0)],
    ["wiring", Array.isArray(manifest.wiring) && manifest.wiring.every((one) => texts(one?.layer, one?.output, one?.neurons))],
  ];
  const where = checks.find(([, fine]) => !fine)?.[0];
  if (where) return `${where} is not what this page knows`;
  return product(size!) > 2 ** 26 ? `input.size: ${size!.join(" x ")} are too many numbers` : null;
}

/** The SHA-256 of bytes in hexadecimal digits. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
