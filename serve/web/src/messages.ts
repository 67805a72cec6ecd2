/** What the page and its two workers say to each other; each answer has the number of its request. */
import type { Audit } from "./model/audit.ts";
import type { Prediction } from "./model/conclude.ts";
import type { FieldOfView, Place } from "./model/field-of-view.ts";
import type { NeuronTrace, SliceContribution } from "./model/explain.ts";
import type { Manifest } from "./model/manifest.ts";
import type { Scan } from "./read/scan.ts";
import type { Member } from "./read/series.ts";

export type { Member, Scan, Prediction, Manifest, Audit, FieldOfView, Place, NeuronTrace, SliceContribution };

export interface Numbered {
  readonly id: number;
  /** Instead of an answer: what is wrong, in one sentence. */
  readonly refusal?: string;
}

/** prepare: load all decoders.  read: one scan. */
export type ReadRequest =
  | { readonly id: number; readonly task: "prepare" }
  | {
      readonly id: number;
      readonly task: "read";
      readonly members: readonly Member[];
      readonly selection: string;
      readonly colour: boolean;
    };

export interface ReadAnswer extends Numbered {
  readonly scan?: Scan;
}

/**
 * load: one model, for as long as no other is loaded.  predict: judge a scan with it; centre: where in it to look, if the
 * model sees a part of it, null for the middle.
 */
export type RunRequest =
  | { readonly id: number; readonly task: "load"; readonly file: Blob; readonly sha256: string | null }
  | {
      readonly id: number;
      readonly task: "predict";
      readonly scan: Scan;
      readonly name: string;
      readonly centre: Place | null;
    };

export interface Loaded {
  readonly manifest: Manifest;
  readonly audit: Audit;
  readonly sha256: string;
  readonly bytes: number;
  readonly threads: number;
}

export interface Judged {
  readonly prediction: Prediction;
  readonly slices: SliceContribution | null;
  readonly traces: readonly NeuronTrace[];
  /** Where the model looked; null if it reads scans as wholes. */
  readonly view: FieldOfView | null;
  /** Wall time of checks and copies, and of ONNX Runtime. */
  readonly milliseconds: { readonly prepare: number; readonly run: number };
}

export interface RunAnswer extends Numbered {
  readonly loaded?: Loaded;
  readonly judged?: Judged;
}
